"""A distillation in a host's training, from ``setup`` to the last save."""

from __future__ import annotations

import functools
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from ...distillation.distiller import Distiller
from ...processes import is_main_process, say
from ...students import RECORD_NAME
from ...training.adapter_training import load_adapters, save_adapters, train_adapters
from ...training.average import WeightAverage, save_averages
from ...training.guard import Guard
from ...training.interrupt import Interruption
from ...training.networks import find_network
from ...training.resume import Checkpointer
from ...training.steps import Moment
from ..options.distill import DistillConfig, loaded_epoch
from ..options.names import naming_options
from ..repository.family import family_of
from ..repository.usual_options import usual_options
from .distilled_pair import DistilledPair, prepare_pair, record_of
from .forward import DistilledForward, Host
from .how_to_test import HowToTest, model_name, training_script
from .pair import find_pairs, network_of
from .student import Built
from .summary import Summary, is_script
from .teachers import check_not_overwritten, find_teachers
from .validation import Validation, check_validation
from .watch import Watch


class DistillationRun:
    """The state of a distilled training; the mixin calls its methods from those of the host's model.

    Constructed once the model has built its networks; ``host_class`` is its class without the mixin.

    Raises:
        OptionError: the teachers do not fit the model's generators.
    """

    def __init__(self, model: Any, host_class: type, config: DistillConfig, built: Built) -> None:
        self._model, self._host_class, self._config, self._built = model, host_class, config, built
        opt = self._opt = usual_options(model.opt)
        self._folder = Path(opt.checkpoints_dir) / opt.name
        self._continues = bool(getattr(opt, "continue_train", False))
        self.pairs: list[DistilledPair] = []  # with a teacher; empty before setup
        self._distillers: dict[str, Distiller] = {}
        self._forward: DistilledForward | None = None  # None before setup
        self._in_step = False
        self._steps_in_optimize = False  # whether the host trains in optimize_parameters
        self._passed_early = False
        self._skip_learning_rate = False
        self._interruption = Interruption()
        loads = loaded_epoch(opt) if self._continues else ""
        self.checkpointer = Checkpointer(model, opt, self._folder, loads, RECORD_NAME, self._distillers)
        check_not_overwritten(config, self._folder)
        pairs = find_pairs(model)
        config.check_nets([pair.net for pair in pairs])
        wanted = [pair for pair in pairs if config.names_for(pair.net)]
        self._teachers = find_teachers(config, wanted, getattr(opt, "direction", "AtoB"), Path(opt.checkpoints_dir))
        config.check_files([pair.net for pair in self._teachers])
        self._validation: Validation | None = None  # in the main process, if asked for
        self._several = any(pair.swaps for pair in pairs)  # translates both ways
        if config.val_images and self._teachers:
            check_validation(Path(config.val_images).expanduser(), self._teachers, self._several)
        self._watch = Watch(model, config.kd_watch)
        for pair in self._teachers:
            model.loss_names = [*model.loss_names, *(f"{name}{pair.suffix}" for name in config.names_for(pair.net))]
            self._watch.declare(pair.suffix, config.names_for(pair.net))
            if pair.output in model.visual_names:  # colorization displays a converted output
                model.visual_names = [*model.visual_names, f"teacher_{pair.output}"]
        family = family_of(opt)
        self._apart = family is not None and family.initialises_apart
        if hasattr(host_class, "data_dependent_initialize") and not self._apart:  # it draws a batch before setup
            self.checkpointer.before_data()

    def setup(self, host: Host, update_learning_rate: Host) -> Any:
        """Let the host set up its networks, then load the teachers and restore the state of a continued run."""
        model, config, checkpointer = self._model, self._config, self.checkpointer
        checkpointer.before_setup()
        returned = host()
        for note in config.notes():
            say(f"note: {note}")
        half, cache = config.cost.half(model.device), config.cost.cache()
        with naming_options():
            for pair, file in self._teachers.items():
                self.pairs.append(prepare_pair(model, config, pair, file, self._built, half, cache))
        students = {pair: network_of(model, pair) for pair in find_pairs(model)}
        for pair in (pair for pair in students if pair not in self._teachers):
            start = ", from random weights" if config.student.student_init == "teacher" else ""
            say(f"note: {pair.net} has no teacher or no term, and trains on the host's losses only{start}")
        for distilled in self.pairs:
            self._distillers[distilled.pair.net] = distilled.distiller
            train_adapters(distilled.distiller, model.optimizers, distilled.pair.net)
        held = {name: find_network(model, name) for name in model.model_names}
        networks = {name: network for name, network in held.items() if network is not None}
        checkpointer.half = half
        if half:
            for network in networks.values():
                half.run(network)
        guard = Guard(model.optimizers, students.values(), networks, config.max_bad_steps, half)
        if config.student_ema:
            checkpointer.averages = {pair.net: WeightAverage(network) for pair, network in students.items()}
        if config.val_images and self.pairs and is_main_process():
            images = Path(config.val_images).expanduser()
            self._validation = Validation(images, self._opt, self.pairs, self._several, self._folder)
            checkpointer.bests = self._validation.bests
        if self._continues:
            load_adapters(checkpointer.adapters, self._folder, loaded_epoch(self._opt))
        self._record = record_of(model, config, self._built.student, self.pairs) if is_main_process() else None
        self._skip_learning_rate = checkpointer.after_setup(update_learning_rate, self._passed_early)
        self._interruption.watch(model)
        self.summary = Summary(self._opt, self._folder, self.pairs, [p.net for p in students], self._how_to_test())
        if is_script():
            self.summary.print_at_exit()
        batches = getattr(self._opt, "iter_size", 1)
        self._forward = DistilledForward(model, self.pairs, guard, self.summary, self._watch, batches)
        return returned

    def _how_to_test(self) -> HowToTest:
        opt, by_host = self._opt, all(call.by_host for call in self._built.calls)
        plain = model_name(self._host_class, opt.model) if by_host else ""
        return HowToTest(training_script(), opt, self._model._host_defaults, plain)

    def initialize(self, host: Host) -> Any:
        """Let the host create networks that depend on a first batch; its passes are not training steps."""
        with self.checkpointer.initialising():
            return host()

    def take_batch(self, batch: Any) -> None:
        """Register the batch that the host trains on next."""
        self.checkpointer.drew(batch)

    def optimize(self, host: Host) -> Any:
        """Let the host train on its batch, unless it was trained before the save that the run continues."""
        checkpointer = self.checkpointer
        if checkpointer.steps.moment is Moment.NOT_STARTED:  # nothing to save
            self._stop_if_asked()
        if checkpointer.replaying:
            self._steps_in_optimize = True  # else the run would not have counted its batches
            if checkpointer.skip_batch():
                self.summary.resume(checkpointer.steps.epoch)
            return None
        self._in_step = True
        with naming_options():
            returned = host()
        self._in_step = False
        self._end_step()  # backward passes of a validation are none of the step
        for average in checkpointer.averages.values():
            average.update()
        checkpointer.trained()
        self._stop_if_asked()  # before the host draws the next batch and random numbers for it
        return returned

    def show(self, host: Host) -> Any:
        """Return what the host displays of a batch; empty for a skipped batch."""
        self._watch.finish()
        return OrderedDict() if self.checkpointer.has_trained_nothing else host()

    def forward(self, host: Host) -> Any:
        """Run the host's forward pass; in training, compute the terms and attach them to the outputs.

        In a validation with gradients, in which the host computes its losses, the terms are computed as well.

        Raises:
            HostError: the output of a generator is not in the declared attribute.
        """
        # Some hosts validate between epochs, with or without gradients.
        training = torch.is_grad_enabled() and (self._in_step or not self._steps_in_optimize)
        self._steps_in_optimize = self._steps_in_optimize or self._in_step
        if self._forward is None:  # a pass before setup
            if training:
                self._passed_early = not self._apart
            return host()
        if training:
            if not self._in_step:  # the host does not train in optimize_parameters
                self._stop_if_asked()
            steps = self.checkpointer.steps
            steps.step(getattr(self._opt, "epoch_count", 1))
            self._forward.begin_step(steps.epoch, steps.iteration)
        return self._forward.run(host, training, validating=torch.is_grad_enabled() and not training)

    def _end_step(self) -> None:
        assert self._forward is not None  # hosts call setup before they train or save
        self._forward.end_step()

    def set_learning_rate(self, host: Host) -> Any:
        """Let the host end (in some years, begin) an epoch, unless a continued run has already made this call."""
        returned = None if self._skip_learning_rate else host()
        self._skip_learning_rate = False
        self._validate()
        self.checkpointer.set_learning_rate()
        return returned

    def save(self, epoch: int | str, host: Host) -> Any:
        """Let the host save its networks, and save the record, the adapters and the state of the run."""
        replaying = self.checkpointer.replaying
        self._end_step()
        if str(epoch).isdecimal():  # hosts save under its number when an epoch has ended
            self._validate()
        returned = self.checkpointer.save(epoch, host, functools.partial(self._save_extras, epoch))
        if epoch == "latest" and not replaying:
            self.summary.saved()
        return returned

    def _save_extras(self, epoch: int | str, folder: Path) -> None:
        """Save the adapters and the record of an epoch."""
        save_adapters(self.checkpointer.adapters, folder, epoch)
        if epoch == "latest":  # which the state belongs to
            save_averages(self.checkpointer.averages, folder)
        if self._record is not None:
            self._record.write(folder)

    def _validate(self) -> None:
        """Measure the students at the end of an epoch, once, before it is saved as complete."""
        steps = self.checkpointer.steps
        ended = steps.moment in (Moment.STEPPED, Moment.SAVED, Moment.SAVED_END)
        if self._validation and ended and not self.checkpointer.replaying:
            networks = {d.pair.net: network_of(self._model, d.pair) for d in self.pairs}
            self._validation.measure(steps.epoch, networks)

    def _stop_if_asked(self) -> None:
        """Save and exit if the run was interrupted by Ctrl-C."""
        number, steps = self._interruption.asked, self.checkpointer.steps
        if number is None:
            return
        self.summary.drop()
        if steps.moment is not Moment.NOT_STARTED:
            self._model.save_networks("latest")
            say(f"stopped in epoch {steps.epoch} after {steps.iteration} steps and saved: --continue_train resumes")
        else:
            say("stopped before the first step; earlier checkpoints are unchanged")
        sys.exit(128 + number)
