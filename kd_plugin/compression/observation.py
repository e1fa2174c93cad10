"""What happens beside the steps of a training: log, validation on the held-out images, samples and page."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping

import numpy as np
import torch

from ..networks.checkpoint import save_weights
from ..networks.translator import Translator, to_array, to_tensor
from ..report.inputs import load_item
from ..report.networks import open_translator
from .facts import facts_of, kind
from .loop import Step
from .outputs import Log, checkpoint, save_samples
from .page import Entry, Page
from .prepare import Prepared
from .samples import check_unusable
from .teachers import KEY
from .validation import Best, HeldOut, translator_of
from .watcher import Watcher

_VALIDATIONS = 50  # at most during a training, besides the last
_FEWEST_VALIDATIONS = 10
_PAGE_SECONDS = 20  # between two pages without a validation


class Observation:
    """Observes the training of students, in the main process.

    Args:
        prepared: the training.
        watcher: is called after each step.

    Attributes:
        bests: the best weights of each student on the held-out images, and their history.
        problems: what was left out; others may be added.
    """

    def __init__(self, prepared: Prepared, watcher: Watcher) -> None:
        self._prepared, self._watcher = prepared, watcher
        settings = prepared.settings
        self.bests = {name: Best() for name in prepared.students}
        self.problems = list(prepared.data.problems)
        title = settings.output.resolve().name
        facts = facts_of(prepared)
        self._page = Page(settings.output, title, prepared.direction, settings.command, facts, self.problems)
        self._page_time = 0.0
        self._logs = {
            name: Log(folder, settings.print_freq, prepared.samples.epoch_length)
            for name, folder in prepared.folders.items()
        }

    def after(self, step: Step) -> None:
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
            self.write_page(step.number, step.steps)
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
        prepared, held_out, translators = self._prepared, self.held_out, self._translators()
        for name in step.losses:
            network, best = prepared.trainers[name].distiller.student, self.bests[name]
            if best.add(step.number, held_out.psnr(translators[self._keys[name]]), network):
                save_weights(best.weights, checkpoint(prepared.folders[name], "best"))
        self._page.draw_samples(translators, held_out.items, prepared.preprocessing)
        self._save_samples(translators, step.number)
        self.write_page(step.number, step.steps)

    @functools.cached_property
    def held_out(self) -> HeldOut:
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
            self.problems += held_out.problems
        return held_out

    @functools.cached_property
    def teacher(self) -> Translator | None:
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
        translators: dict[str, Translator] = {KEY: self.teacher} if self.teacher else {}
        for name, key in self._keys.items():
            network, mode = prepared.trainers[name].distiller.student, prepared.settings.student_mode
            translators[key] = translator_of(network, prepared.teacher.channels, mode, prepared.device)
        return translators

    def write_page(self, step: int, steps: int | None) -> None:
        """Write the page of a training after a step; of how many may not be known yet."""
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
                    self.bests[name].over_images(prepared.images_of_step),
                    prepared.samples.epoch_length,
                )
            )
        self._page.write(entries, f"Step {step}{f' of {steps}' if steps else ''}.", step == steps)
        self._page_time = time.monotonic()

    def _save_samples(self, translators: Mapping[str, Translator], step: int) -> None:
        """Write the first held-out image of each student where ``kd watch`` finds it."""
        prepared = self._prepared
        loaded = load_item(self.held_out.items[0], prepared.preprocessing, prepared.teacher.channels, 1)
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
