"""Train small students of a generator on a folder of images, without a host: ``kd compress``."""

from __future__ import annotations

import functools
import importlib.util
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..errors import KDError
from ..metrics.cost import count_parameters
from ..networks.checkpoint import save_weights
from ..networks.teacher import load_teacher
from ..networks.translator import Translator, to_array, to_tensor
from ..processes import is_main_process, say
from ..progress import Phase
from ..report.build import phases_of
from ..report.experiments import dropout_of
from ..report.inputs import load_item
from ..report.networks import LoadedFile, Loader, open_translator
from ..report.results import Problem
from ..training.saving import clear_save_errors
from .facts import facts_of, fixed, kind, losses_of
from .finish import finish
from .folder import check_output, delete_results
from .loop import Outcome, Step, train_students
from .outputs import Log, checkpoint, save_samples
from .page import Entry, Page
from .prepare import Prepared, prepare
from .samples import check_unusable
from .selection import Selection
from .settings import CompressSettings
from .state import Plan
from .students import Student
from .teachers import KEY
from .validation import Best, HeldOut, translator_of

_VALIDATIONS = 50  # at most during a training, besides the last
_FEWEST_VALIDATIONS = 10
_FEW = 8  # held-out images
_LISTED = 3  # problems before the training
_PAGE_SECONDS = 20  # between two pages without a validation
_CHOOSING = 0.4  # seconds for an image and student, for the first estimate
_LIBRARIES = ("skimage", "scipy")  # of the measures


class Watcher:
    """Follows a training, such as a progress line; the methods of this class do nothing."""

    def begin(self, folders: Mapping[str, Path], phases: Sequence[Phase]) -> None:
        """Called before the first step.

        Args:
            folders: of the students by name.
            phases: of the progress line: the training, the choice of the weights, and those of the report.
        """

    def step(self, step: Step) -> None:
        """Called after each step."""

    def logged(self) -> None:
        """Called when logs or sample images were written."""

    def choosing(self, done: float) -> None:
        """Called while the weights are chosen, with the completed fraction."""

    def end(self) -> None:
        """Called before the report, which has a progress line of its own, and at the end, also after an error."""


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
    """A training with what happens beside its steps: log, validation, page."""

    def __init__(self, prepared: Prepared, watcher: Watcher) -> None:
        self._prepared, self._watcher = prepared, watcher
        settings = prepared.settings
        self._bests = {name: Best() for name in prepared.students}
        self._problems = list(prepared.data.problems)
        self._begun = time.monotonic()
        title = settings.output.resolve().name
        facts = facts_of(prepared)
        self._page = Page(settings.output, title, prepared.direction, settings.command, facts, self._problems)
        self._page_time = 0.0
        self._logs = {
            name: Log(folder, settings.print_freq, prepared.samples.epoch_length)
            for name, folder in prepared.folders.items()
        }

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
            parts=self._bests,
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
                    self._write_page(outcome.done, outcome.steps)
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
                self._write_after(step)

    def _write_after(self, step: Step) -> None:
        """Write the log, and validate and write the page if they are due."""
        prepared, written = self._prepared, False
        for name, losses in step.losses.items():
            shares = {f"share_{key}": value for key, value in step.shares.get(name, {}).items() if key}
            written |= self._logs[name].add(step.images, losses, shares, step.seconds, step.waited)
        self._watcher.step(step)
        if prepared.data.held_out and self._is_due(step.number, step.steps):
            self._validate(step)
            written = True
        elif written and time.monotonic() - self._page_time > _PAGE_SECONDS:
            self._write_page(step.number, step.steps)
        if written:
            self._watcher.logged()

    def _is_due(self, step: int, steps: int | None) -> bool:
        """Return whether to validate: each epoch, but not too often in a long training, nor too seldom in a short."""
        every = self._prepared.steps_of_epoch
        if steps:
            every *= max(1, steps // _VALIDATIONS // every)
            every = min(every, math.ceil(steps / _FEWEST_VALIDATIONS))
        return step % every == 0 or step == steps

    def _validate(self, step: Step) -> None:
        prepared, held_out, translators = self._prepared, self._held_out, self._translators()
        for name in step.losses:
            network, best = prepared.trainers[name].distiller.student, self._bests[name]
            if best.add(step.number, held_out.psnr(translators[self._keys[name]]), network):
                save_weights(best.weights, checkpoint(prepared.folders[name], "best"))
        self._page.draw_samples(translators, held_out.items, prepared.preprocessing)
        self._save_samples(translators, step.number)
        self._write_page(step.number, step.steps)

    @functools.cached_property
    def _held_out(self) -> HeldOut:
        """The held-out images, with the teacher's: computed for the first validation, not before the first step."""
        prepared = self._prepared
        teacher = prepared.teacher

        def teach(images: torch.Tensor) -> torch.Tensor:
            # In float32, also if it teaches in another precision: the choice of the weights compares with this, too.
            with torch.no_grad():
                output: torch.Tensor = teacher.network(images.to(prepared.device))
            return output

        given = None if teacher.finished else teach
        held_out = HeldOut(prepared.data.held_out, prepared.preprocessing, given, KEY, teacher.channels)
        if held_out.problems:
            names, count = [problem.what for problem in held_out.problems], len(prepared.data.held_out)
            check_unusable(names, count + len(prepared.data.training), held_out.problems[0].reason)
            self._problems += held_out.problems
        return held_out

    @functools.cached_property
    def _teacher(self) -> Translator | None:
        """The translator of the teacher; None for finished images."""
        prepared = self._prepared
        for file in prepared.teacher.experiment.files.values():
            return open_translator(file, prepared.load, prepared.settings.teacher_mode, prepared.device)
        return None

    @functools.cached_property
    def _keys(self) -> dict[str, str]:
        """The keys of the students on the page, by name."""
        return {name: f"student{number + 1}" for number, name in enumerate(self._prepared.students)}

    def _translators(self) -> dict[str, Translator]:
        """Return the translators of the students as they are now, and of the teacher unless its images are given."""
        prepared = self._prepared
        translators: dict[str, Translator] = {KEY: self._teacher} if self._teacher else {}
        for name, key in self._keys.items():
            network, mode = prepared.trainers[name].distiller.student, prepared.settings.student_mode
            translators[key] = translator_of(network, prepared.teacher.channels, mode, prepared.device)
        return translators

    def _write_page(self, step: int, steps: int | None) -> None:
        prepared = self._prepared
        entries = [Entry(KEY, prepared.teacher.experiment.label, "teacher")]
        for name, student in prepared.students.items():
            entries.append(
                Entry(
                    self._keys[name],
                    name or self._page.title,
                    "student",
                    kind(student),
                    prepared.folders[name],
                    self._bests[name].over_images(prepared.images_of_step),
                    prepared.samples.epoch_length,
                )
            )
        self._page.write(entries, f"Step {step}{f' of {steps}' if steps else ''}.", step == steps)
        self._page_time = time.monotonic()

    def _save_samples(self, translators: Mapping[str, Translator], step: int) -> None:
        """Write the first held-out image of each student where ``kd watch`` finds it."""
        prepared = self._prepared
        loaded = load_item(self._held_out.items[0], prepared.preprocessing, prepared.teacher.channels, 1)
        shown = np.repeat(loaded.input, 3, axis=2) if loaded.input.shape[2] == 1 else loaded.input
        outputs = {
            key: to_array(translator.translate(to_tensor([loaded.input]), [0])[0])
            for key, translator in translators.items()
        }
        taught = loaded.finished.get(KEY, outputs.get(KEY))
        if taught is None:
            return
        for name, key in self._keys.items():
            images = {"real_A": shown, "fake_B": outputs[key], "teacher_fake_B": taught}
            save_samples(prepared.folders[name], 1 + (step - 1) // prepared.steps_of_epoch, images)

    def _note(self, outcome: Outcome) -> None:
        prepared = self._prepared
        for name, samples in {"": prepared.samples, **prepared.others}.items():
            for number in sorted(outcome.unusable.get(name, ())):
                reason = f"{samples.problem(number)}: the next image took its place"
                self._problems.append(Problem(str(samples.items[number].file), reason))
        for name, reason in outcome.failed.items():
            self._problems.append(Problem(name or "the student", reason))

    def _finish(self, outcome: Outcome) -> dict[str, Selection]:
        prepared = self._prepared
        return finish(
            prepared,
            [name for name in prepared.trainers if name not in outcome.failed],
            self._bests,
            self._held_out.items if prepared.data.held_out else [],
            self._teacher,
            outcome.done,
            self._problems,
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
            list(self._problems),
            prepared.students,
            prepared.preprocessing.crop_size,
            prepared.teacher.trained,
            outcome.signal,
        )
