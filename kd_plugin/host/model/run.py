"""A distillation in a host's training, from ``setup`` to the last save."""

from __future__ import annotations

import functools
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from ...distillation.attach import Attachment, attach
from ...distillation.balance import Balance
from ...distillation.distiller import Distiller
from ...distillation.shares import GradientShares
from ...errors import HostError, OptionError
from ...networks.taps import Call, Recorder
from ...processes import is_main_process, say
from ...students import RECORD_NAME
from ...training.adapter_training import load_adapters, save_adapters, train_adapters
from ...training.average import WeightAverage, save_averages
from ...training.guard import Guard
from ...training.interrupt import Interruption
from ...training.networks import find_network
from ...training.resume import Checkpointer
from ...training.rng import kept_rng_state
from ...training.scaler import find_loss_scale
from ...training.steps import Moment
from ..options.distill import DistillConfig, loaded_epoch
from ..options.names import naming_options
from ..repository.family import family_of
from ..repository.usual_options import usual_options
from .distilled_pair import DistilledPair, prepare_pair, record_of
from .forward_watch import Place, watch_forward
from .how_to_test import HowToTest, model_name, training_script
from .pair import find_pairs, is_watched, network_of
from .student import Built
from .summary import Summary, is_script
from .teachers import check_not_overwritten, find_teachers
from .validation import Validation, check_validation
from .watch import Watch

Host = Callable[[], Any]  # method of the host's model with its arguments bound


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
        self.guard: Guard | None = None  # skips steps that are not finite; None before setup
        self._distillers: dict[str, Distiller] = {}
        self._attached: list[Attachment] = []
        self._balancing: list[tuple[Balance, GradientShares]] = []  # of the current step
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
        if config.val_images and any(map(is_watched, self._teachers)):
            named = " and ".join(pair.net for pair in self._teachers if is_watched(pair))
            raise OptionError(
                f"--val_images {config.val_images}: the inputs of {named} are known to the host alone: remove the "
                f"option, or declare distill_pairs"
            )
        if config.val_images and self._teachers:
            check_validation(Path(config.val_images).expanduser(), self._several)
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
        self.guard = Guard(model.optimizers, students.values(), networks, config.max_bad_steps, half)
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
        validating = torch.is_grad_enabled() and not training
        self._steps_in_optimize = self._steps_in_optimize or self._in_step
        if training and self.guard is None:
            self._passed_early = not self._apart
        elif training:
            self._begin_step()
        for distilled in self.pairs:
            distilled.follow(network_of(self._model, distilled.pair))
        if training and self.guard is not None:
            self._find_places(host)
        with ExitStack() as stack:
            recorders = [stack.enter_context(distilled.distiller.record()) for distilled in self.pairs]
            if training:
                for distilled, recorder in zip(self.pairs, recorders, strict=True):
                    if distilled.place:
                        stack.enter_context(self._attaching(distilled, distilled.place, recorder))
            returned = host()
        attached: dict[int, torch.Tensor] = {}  # images with terms by id of the images without
        for distilled, recorder in zip(self.pairs, recorders, strict=True):
            pair = distilled.pair
            if distilled.place or is_watched(pair):  # found by watching a training step
                place = distilled.place
                if validating and place and place.call < len(recorder.calls):
                    self._teach(distilled, replace(recorder.calls[place.call], element=place.element), terms=True)
                continue
            output = getattr(self._model, pair.output, None)
            call = recorder.find(output) if isinstance(output, torch.Tensor) else None
            if call is None:
                raise HostError(
                    f"forward() of {type(self._model).__name__} stores no output of net{pair.net} in "
                    f"'{pair.output}': declare the attribute that holds its output, "
                    f'distill_pairs = [("{pair.net}", "...")]'
                )
            with naming_options():
                if training:
                    attached[id(output)] = self._distill(distilled, call)
                else:
                    self._teach(distilled, call, terms=validating)
        if not attached:
            return returned
        return tree_map(lambda value: attached.get(id(value), value), returned)  # hosts may compute losses from it

    def _find_places(self, host: Host) -> None:
        """Watch a forward pass for the outputs of generators whose place is not known yet.

        Raises:
            HostError: a generator with a teacher does not run in it, or its output is not where it is declared.
        """
        watched = [distilled for distilled in self.pairs if is_watched(distilled.pair) and not distilled.place]
        if not watched:
            return
        pairs = find_pairs(self._model)
        generators = {pair.net: network_of(self._model, pair) for pair in pairs}
        places = watch_forward(self._model, host, generators, {pair.net: pair.output for pair in pairs})
        for distilled in watched:
            net, output = distilled.pair
            distilled.place = places.get(net)
            if distilled.place:
                say(f"{net}: {distilled.place}")
            elif output:
                raise HostError(
                    f"forward() of {type(self._model).__name__} stores no output of net{net} in '{output}': declare "
                    f'the attribute that holds its output, distill_pairs = [("{net}", "...")]'
                )
            else:
                say(
                    f"note: {net} returns no images with gradients in forward(), and trains on the host's losses only"
                )
                self._drop(distilled)

    def _drop(self, distilled: DistilledPair) -> None:
        """Leave a generator out of the distillation."""
        self.pairs.remove(distilled)
        gone = {f"{name}{distilled.pair.suffix}" for name in distilled.distiller.terms}
        self._model.loss_names = [name for name in self._model.loss_names if name not in gone]

    @contextmanager
    def _attaching(self, distilled: DistilledPair, place: Place, recorder: Recorder) -> Iterator[None]:
        """Context manager in which a generator returns its images with the terms attached, where its place is.

        Other networks, and sums, may read the images before the forward pass ends.
        """

        attached: list[torch.Tensor] = []

        def attach_terms(network: nn.Module, arguments: Any, output: Any) -> Any:
            if len(recorder.calls) - 1 != place.call or not torch.is_grad_enabled():
                return None
            call = replace(recorder.calls[-1], element=place.element)
            before = call.images
            # The host may run its forward pass under autocast; terms are computed outside, as after it.
            with naming_options(), torch.autocast(before.device.type, enabled=False):
                after = self._distill(distilled, call)
            attached.append(after)
            return tree_map(lambda value: after if value is before else value, output)

        handle = distilled.distiller.student.register_forward_hook(attach_terms)
        try:
            yield
        finally:
            handle.remove()
        if not attached:
            net = distilled.pair.net
            raise HostError(
                f"net{net} ran {len(recorder.calls)} times in this step, and in the first at least {place.call + 1} "
                f"times, with gradients: distil only the generators that run in every step, --distill TERM:NAME"
            )

    def _distill(self, distilled: DistilledPair, call: Call) -> torch.Tensor:
        """Compute the terms of a generator, and return its images with the terms attached."""
        assert self.guard is not None
        model, pair = self._model, distilled.pair
        result = distilled.distiller.distill(call)
        scale = self._scale(find_loss_scale(model, pair.net, result.output))
        images, attachment = attach(result.output, result.total, scale)
        self._attached.append(attachment)
        if distilled.place is None:
            setattr(model, pair.output, images)
        if pair.output.isidentifier():
            setattr(model, f"teacher_{pair.output}", result.teacher_output)
        for name, value in result.losses.items():
            setattr(model, f"loss_{name}{pair.suffix}", value.detach())
        self.guard.observe(pair.suffix, result.losses, (result.output, *call.features.values()))
        student, balance = distilled.distiller.student, distilled.distiller.balance
        begun = self.summary.look(pair.net, student, result.losses, scale)
        if balance is not None and not balance.is_due(self.checkpointer.steps.iteration):
            balance = None
        if self._watch.measures or balance is not None:
            shares = begun or GradientShares()
            if begun is None:
                shares.begin(student, result.losses, scale)
            if self._watch.measures:
                self._watch.look(pair.suffix, shares, result.output, result.teacher_output)
            if balance is not None:
                self._balancing.append((balance, shares))
        return images

    def _end_step(self) -> None:
        """End the measurements of a step, after its backward passes, and adjust the weights to the shares."""
        self._watch.finish()
        self.summary.end_step()
        for balance, shares in self._balancing:
            shares.end()
            balance.update(shares.last)
        self._balancing.clear()

    def _teach(self, distilled: DistilledPair, call: Call, terms: bool) -> None:
        """Run the teacher outside a training step, and compute the terms if asked for; nothing else changes."""
        pair, distiller = distilled.pair, distilled.distiller
        with torch.no_grad(), kept_rng_state():
            if terms:
                result = distiller.distill(call)
                for name, value in result.losses.items():
                    setattr(self._model, f"loss_{name}{pair.suffix}", value)
            images = result.teacher_output if terms else distiller.teach(call)
        if pair.output.isidentifier():
            setattr(self._model, f"teacher_{pair.output}", images)

    def _scale(self, scale: Callable[[], float] | None) -> Callable[[], float] | None:
        """Return the factor of the host's loss: of its scaler, and of the batches that it sums gradients of."""
        batches = getattr(self._opt, "iter_size", 1)
        return scale if batches == 1 else lambda: (scale() if scale else 1.0) / batches

    def _begin_step(self) -> None:
        assert self.guard is not None
        if not self._in_step:  # the host does not train in optimize_parameters
            self._stop_if_asked()
        if any(attachment.passes == 0 for attachment in self._attached):
            images = ", ".join(d.pair.output or d.pair.net for d in self.pairs)
            warnings.warn(
                "the distillation terms of the last step received no gradient: the images they are attached to "
                f"({images}) do not contribute to the generator's loss",
                stacklevel=3,
            )
        self._attached.clear()
        self._end_step()  # of a host that does not train in optimize_parameters
        steps = self.checkpointer.steps
        steps.step(getattr(self._opt, "epoch_count", 1))
        self.guard.begin(steps.epoch, steps.iteration)
        self.summary.step(steps.epoch, steps.iteration)
        self._watch.step()
        for distilled in self.pairs:
            distilled.distiller.epoch = steps.epoch

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
