"""Train small students of a generator on a folder of images, without a host: ``kd compress``."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import KDError
from ..metrics.cost import count_parameters
from ..networks.teacher import load_teacher
from ..processes import is_main_process, say
from ..progress import Phase
from ..report.build import phases_of
from ..report.experiments import dropout_of
from ..report.networks import LoadedFile, Loader
from ..report.results import Problem
from ..training.saving import clear_save_errors
from .facts import fixed, kind, losses_of
from .finish import finish
from .folder import check_output, delete_results
from .loop import Outcome, Step, train_students
from .observation import Observation
from .prepare import Prepared, prepare
from .selection import Selection
from .settings import CompressSettings
from .state import Plan
from .students import Student
from .watcher import Watcher

_FEW = 8  # held-out images
_LISTED = 3  # problems before the training
_CHOOSING = 0.4  # seconds for an image and student, for the first estimate
_LIBRARIES = ("skimage", "scipy")  # of the measures


@dataclass(frozen=True)
class Result:
    """The result of a compression.

    Attributes:
        folders: of the students by name.
        selections: by name; empty without held-out images, or if the training is not complete.
        failed: why students were dropped, by name.
        done: number of completed steps.
        steps: number of steps of the training; None if it is not known yet.
        page: the page.
        problems: what was left out.
        students: by name.
        size: side of the images in pixels.
        trained: options of the teacher's training by name, as text, if they lie next to it.
        signal: number of the signal that interrupted the training, or None.
    """

    folders: dict[str, Path]
    selections: dict[str, Selection]
    failed: dict[str, str]
    done: int
    steps: int | None
    page: Path
    problems: list[Problem] = field(default_factory=list)
    students: dict[str, Student] = field(default_factory=dict)
    size: int = 0
    trained: Mapping[str, str] = field(default_factory=dict)
    signal: int | None = None

    @property
    def complete(self) -> bool:
        """Whether all steps are done."""
        return self.done == self.steps


def load_of_family(file: Path) -> LoadedFile:
    """Load a generator of the family; a host's loader also reads those of a record."""
    network = load_teacher(file, dropout=dropout_of(file))
    return LoadedFile(network, network.spec)


def check_libraries() -> None:
    """Raise a :class:`KDError` if a library of the measures is not installed."""
    for name in _LIBRARIES:
        if importlib.util.find_spec(name) is None:
            raise KDError('the measures need SciPy and scikit-image: pip install "kd_plugin[report]"')


def compress(settings: CompressSettings, load: Loader = load_of_family, watcher: Watcher | None = None) -> Result:
    """Train students of a teacher on a folder of images, choose their weights, and write them with a page.

    A training that was interrupted continues exactly; the folder of the results holds its state.

    Args:
        settings: what to compress, and how.
        load: loads a checkpoint.
        watcher: follows the training.

    Raises:
        KDError: If a setting is not valid, or the training cannot continue.
    """
    watcher = watcher or Watcher()
    check_libraries()
    check_output(settings)
    try:
        prepared = prepare(settings, load)
        if settings.fresh:
            delete_results(settings.output)
        return _Compression(prepared, watcher).run()
    finally:
        watcher.end()


class _Compression:
    """A training and what follows it: the choice of the weights, and the report."""

    def __init__(self, prepared: Prepared, watcher: Watcher) -> None:
        self._prepared, self._watcher = prepared, watcher
        self._observation = Observation(prepared, watcher)
        self._begun = time.monotonic()

    def run(self) -> Result:
        """Train, choose, and write the results."""
        prepared, settings = self._prepared, self._prepared.settings
        with clear_save_errors(settings.output, "the results"):
            settings.output.mkdir(parents=True, exist_ok=True)
        seconds = None if settings.minutes is None else settings.minutes * 60
        planned = prepared.length is not None
        whole = prepared.images_of_step
        outcome = train_students(
            prepared.trainers,
            prepared.teach,
            prepared.samples,
            Plan(prepared.length, None if planned else seconds, settings.batch, settings.seed, fixed(prepared)),
            settings.output,
            device=prepared.device,
            others=prepared.others,
            parts=self._observation.bests,
            workers=settings.workers,
            save_every=max(1, settings.save_freq // whole),
            shares_every=max(1, settings.print_freq // whole),
            stop_after=seconds if planned and seconds is not None else math.inf,
            fresh=settings.fresh,
            begin=self._begin,
            report=self._after_step,
        )
        selections: dict[str, Selection] = {}
        if is_main_process():
            self._note(outcome)
            with clear_save_errors(settings.output, "the results"):
                if outcome.done == outcome.steps:
                    selections = self._finish(outcome)
                else:
                    self._observation.write_page(outcome.done, outcome.steps)
        return self._result(outcome, selections)

    def _begin(self, done: int, steps: int | None) -> None:
        """Create the students' folders and print what is trained, once the saved state is known to fit."""
        prepared = self._prepared
        with clear_save_errors(prepared.settings.output, "the results"):
            for folder in prepared.folders.values():
                folder.mkdir(exist_ok=True)
        large = 0 if prepared.teacher.finished else count_parameters(prepared.teacher.network)
        for name, student in prepared.students.items():
            small = count_parameters(student.network)
            ratio = f", {large / small:.2f}x fewer than the teacher" if large > small else ""
            start = "the teacher's channels" if student.inherited else "random weights"
            label = f"student {name}" if name else "student"
            say(f"{label}: {kind(student)}, {small / 1e6:.3f} M parameters{ratio}; starts from {start}")
            if 0 < large <= small:
                say(f"note: {label} is not smaller than the teacher, of {large / 1e6:.3f} M parameters")
        data = prepared.data
        length = "" if steps is None else f"; {steps} steps"
        say(f"{losses_of(prepared)}; {len(data.training)} images to train on, {len(data.held_out)} held out{length}")
        if 0 < len(data.held_out) < _FEW:
            say(
                "note: the weights are chosen on few images, so the choice is uncertain: hold out more, or add images"
            )
        for note in prepared.notes:
            say(f"note: {note}")
        for problem in data.problems[:_LISTED]:
            say(f"note: {problem.what}: {problem.reason}")
        if len(data.problems) > _LISTED:
            say(f"note: and {len(data.problems) - _LISTED} more images, which the page lists")
        say(f"page: {prepared.settings.output / 'index.html'}")
        if done:
            say(f"continuing after step {done}")
        self._watcher.begin(prepared.folders, self._phases(0.0))

    def _after_step(self, step: Step) -> None:
        if is_main_process():
            with clear_save_errors(self._prepared.settings.output, "the results"):
                self._observation.after(step)

    def _note(self, outcome: Outcome) -> None:
        prepared = self._prepared
        for name, samples in {"": prepared.samples, **prepared.others}.items():
            for number in sorted(outcome.unusable.get(name, ())):
                reason = f"{samples.problem(number)}: the next image took its place"
                self._observation.problems.append(Problem(str(samples.items[number].file), reason))
        for name, reason in outcome.failed.items():
            self._observation.problems.append(Problem(name or "the student", reason))

    def _finish(self, outcome: Outcome) -> dict[str, Selection]:
        prepared, observed = self._prepared, self._observation
        return finish(
            prepared,
            [name for name in prepared.trainers if name not in outcome.failed],
            observed.bests,
            observed.held_out.items if prepared.data.held_out else [],
            observed.teacher,
            outcome.done,
            observed.problems,
            self._phases(time.monotonic() - self._begun)[:2],
            self._choosing,
        )

    def _choosing(self, done: float) -> None:
        self._watcher.choosing(done)
        if done == 1:
            self._watcher.end()  # the report has a progress line of its own

    def _phases(self, seconds: float) -> list[Phase]:
        """Return the phases of the progress line, given the duration of the training."""
        images = len(self._prepared.data.held_out)
        choosing = Phase("choosing the weights", _CHOOSING * images * len(self._prepared.students))
        return [Phase("training", seconds), choosing, *phases_of(self._prepared.direction, images)]

    def _result(self, outcome: Outcome, selections: dict[str, Selection]) -> Result:
        prepared, settings = self._prepared, self._prepared.settings
        return Result(
            dict(prepared.folders),
            selections,
            dict(outcome.failed),
            outcome.done,
            outcome.steps,
            settings.output / "index.html",
            list(self._observation.problems),
            prepared.students,
            prepared.preprocessing.crop_size,
            prepared.teacher.trained,
            outcome.signal,
        )
