"""Distillation inside a host's own model class.

``class DistillPix2PixModel(DistillMixin, Pix2PixModel)`` is all it takes. The mixin runs the teacher and
computes the terms after the host's own ``forward`` and attaches them to the student's images; it knows
nothing of how the host computes its losses and steps its optimizers.
"""

from __future__ import annotations

import functools
import sys
import warnings
from argparse import ArgumentParser
from collections import OrderedDict
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils._pytree import tree_map

from ...distillation.attach import Attachment, attach
from ...distillation.distiller import Distiller
from ...distillation.precision import HalfPrecision
from ...distillation.teacher_cache import TeacherCache
from ...errors import HostError, KDError, OptionError
from ...processes import is_main_process, say
from ...students import RECORD_NAME, StudentRequest
from ...training.adapter_training import load_adapters, save_adapters, train_adapters
from ...training.guard import Guard
from ...training.interrupt import Interruption
from ...training.resume import Keeper
from ...training.scaler import find_loss_scale
from ..options.command_line import check_commas, end, explain_errors, given_options, misspelt
from ..options.default_student import check_smaller, complete_student
from ..options.distill import DistillConfig, add_options, are_in, experiment_folder, loaded_epoch
from ..options.excepthook import report_in_one_line
from ..options.forgotten_model import check_model
from ..options.record import check_student, current_record, recorded_model, recorded_student, student_of, use_record
from ..options.resume import check_not_distilled, check_saved, continue_epochs, finish_last_save, resume_distillation
from ..options.student import keep_from_teacher
from .building import building_students
from .distilled import Distilled, record_of, refuse_replicas
from .how_to_test import DEFAULTS, HowToTest, model_name, training_script
from .pair import Pair, find_pairs, network_of
from .start import note_large_discriminator, start_from_teacher
from .summary import Summary, is_script
from .teacher_network import load_teacher_of
from .teachers import check_channels, check_not_overwritten, check_teacher_paths, find_teachers, peek_teacher
from .unreadable import explain_unreadable

__all__ = ["DistillMixin"]


class DistillMixin:
    """Put before a host's model class to distil its generators from a teacher.

    The class may declare ``distill_pairs``, a list of (network, attribute that holds its images); without it,
    the pairs of pix2pix (``G`` -> ``fake_B``) and CycleGAN (``G_A`` -> ``fake_B``, ``G_B`` -> ``fake_A``) are
    found.
    """

    distill_optional: ClassVar[bool] = False  # the runner's classes also serve runs without --distill
    _host_defaults: ClassVar[dict[str, Any]] = {}

    # What the mixin uses of the host's BaseModel.
    loss_names: list[str]
    model_names: list[str]
    visual_names: list[str]
    optimizers: list[torch.optim.Optimizer]
    device: torch.device
    opt: Any

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        ahead = cls.__mro__[: cls.__mro__.index(DistillMixin)]
        if other := next((base for base in ahead if not issubclass(base, DistillMixin)), None):
            raise HostError(
                f"{cls.__name__} names DistillMixin after {other.__name__}, where it has no effect: "
                f"class {cls.__name__}(DistillMixin, {other.__name__})"
            )

    @classmethod
    def modify_commandline_options(cls, parser: ArgumentParser, is_train: bool = True) -> ArgumentParser:
        """Add the plugin's options, or at test time take the student's from its record, and check them."""
        report_in_one_line()
        try:
            opt = parser.parse_known_args()[0]
            if is_train and getattr(opt, "continue_train", False):
                finish_last_save(opt)
            if other := recorded_model(cls, parser, is_train):
                return other.modify_commandline_options(parser, is_train)  # type: ignore[no-any-return]
            explain_errors(parser, is_train)
            parser = super().modify_commandline_options(parser, is_train)  # type: ignore[misc]
            cls._host_defaults = {name: parser.get_default(name) for name in DEFAULTS}
            cls._add_options(parser, is_train)
        except KDError as error:
            end(parser, (misspelt(parser) if is_train else "") or error)
        return parser

    @classmethod
    def _add_options(cls, parser: ArgumentParser, is_train: bool) -> None:
        opt = parser.parse_known_args()[0]
        continued = is_train and getattr(opt, "continue_train", False)
        record = use_record(parser) if continued or not is_train else None
        named = are_in(sys.argv[1:])
        if continued and record is None and not named:
            check_not_distilled(opt)
        if not is_train or (cls.distill_optional and record is None and not named):
            return
        if not named:
            explain_errors(parser, is_train, resuming=True)
        add_options(parser)
        check_commas(parser)
        if continued:
            check_saved(opt)
            continue_epochs(parser)
        if record is not None:
            resume_distillation(parser, record)
        opt = parser.parse_known_args()[0]
        config = DistillConfig.from_namespace(opt)
        if config is not None:
            check_not_overwritten(config, experiment_folder(opt))
            check_teacher_paths(config, Path(opt.checkpoints_dir))
            nets = [net for net, _ in getattr(cls, "distill_pairs", ())]
            check_model(opt, nets, "model" in given_options(parser))
            teacher = peek_teacher(config)
            if teacher and record is None:
                keep_from_teacher(parser, teacher)
            complete_student(parser, teacher, continued, record is not None)
        elif not cls.distill_optional:
            raise OptionError("this model distils: add --distill wavelet,srp and --teacher checkpoints/NAME")

    def __init__(self, opt: Any) -> None:
        self._distilled: list[Distilled] = []
        self._attached: list[Attachment] = []
        self._epoch: int | None = None
        self._between_epochs = False
        self._iteration = 0
        self._in_step = False
        self._skip_learning_rate = False
        self._guard: Guard | None = None  # until the networks are set up
        self._interruption = Interruption()
        self._folder = Path(opt.checkpoints_dir) / opt.name
        self._config = DistillConfig.from_namespace(opt) if opt.isTrain else None
        if self._config is None:
            with building_students(type(self), recorded_student(opt) or StudentRequest()):
                super().__init__(opt)  # type: ignore[call-arg]
            return
        explain_unreadable(getattr(opt, "dataroot", ""))
        self._netG = getattr(opt, "netG", "")
        student = self._config.student
        self._request = student.request
        record = current_record(opt, self._folder) if getattr(opt, "continue_train", False) else None
        if record:
            self._request = student_of(record, opt)
            check_student(student, self._request, self._folder)
        student.apply(opt, peek_teacher(self._config), record is not None)
        if record:
            record.check(opt, self._folder)
        try:
            with building_students(type(self), self._request) as self._calls:
                super().__init__(opt)  # type: ignore[call-arg]
        except NotImplementedError as error:  # what the family raises for a name it does not know
            raise OptionError(f"the host cannot build its networks: {error}") from error
        loads = loaded_epoch(opt) if getattr(opt, "continue_train", False) else ""
        self._keeper = Keeper(self, self._folder, loads, RECORD_NAME, self._adapters)
        check_not_overwritten(self._config, self._folder)
        pairs = find_pairs(self)
        self._config.check_nets([pair.net for pair in pairs])
        direction, beside = getattr(opt, "direction", "AtoB"), Path(opt.checkpoints_dir)
        wanted = [pair for pair in pairs if self._config.names_for(pair.net)]
        self._teacher_files = find_teachers(self._config, wanted, direction, beside)
        self._config.check_files([pair.net for pair in self._teacher_files])
        for pair in self._teacher_files:
            self.loss_names = [*self.loss_names, *(f"{n}{pair.suffix}" for n in self._config.names_for(pair.net))]
            if pair.output in self.visual_names:  # colorization shows another form of its output
                self.visual_names = [*self.visual_names, f"teacher_{pair.output}"]
        if hasattr(super(), "data_dependent_initialize"):
            self._keeper.before_data()

    def setup(self, opt: Any, *arguments: Any, **named: Any) -> Any:
        """Let the host set up its networks, then load the teachers and describe the student in a record."""
        if self._config is None:
            return super().setup(opt, *arguments, **named)  # type: ignore[misc]
        self._keeper.before_setup()
        returned = super().setup(opt, *arguments, **named)  # type: ignore[misc]
        for flag in self._config.idle():
            say(f"note: --{flag} has no effect, its term is not in --distill {self._config.distill}")
        cost = self._config.cost
        for note in (*self._config.student.notes(), *cost.notes()):
            say(f"note: {note}")
        half, cache = cost.half(self.device), cost.cache()
        for pair, file in self._teacher_files.items():
            self._distilled.append(self._distil(opt, self._config, pair, file, half, cache))
        for pair in find_pairs(self):
            if pair not in self._teacher_files:
                start = ", from random weights" if self._config.student.student_init == "teacher" else ""
                say(f"note: {pair.net} has no teacher, or no term, and trains on the host's losses alone{start}")
        for distilled in self._distilled:
            train_adapters(distilled.distiller, self.optimizers, distilled.pair.net)
        held = {name: getattr(self, f"net{name}", None) for name in self.model_names}
        networks = {name: network for name, network in held.items() if isinstance(network, nn.Module)}
        self._keeper.half = half
        if half:
            for network in networks.values():
                half.run(network)
        students = [network_of(self, pair) for pair in find_pairs(self)]
        self._guard = Guard(self.optimizers, students, networks, self._config.max_bad_steps, half)
        if getattr(opt, "continue_train", False):
            load_adapters(self._adapters(), self._folder, loaded_epoch(opt))
        self._record = (
            record_of(self, opt, self._config, self._request, self._distilled) if is_main_process() else None
        )
        late = self._epoch is not None  # a pass before this one, as CUT makes it, is no step
        self._epoch, self._iteration, self._between_epochs = None, 0, False
        update = super().update_learning_rate  # type: ignore[misc]
        self._skip_learning_rate = self._keeper.after_setup(update, late)
        self._interruption.watch(self)
        host_class = type(self).__mro__[type(self).__mro__.index(DistillMixin) + 1]
        plain = model_name(host_class, opt.model) if all(call.by_host for call in self._calls) else ""
        commands = HowToTest(training_script(), opt, self._host_defaults, plain)
        self._summary = Summary(opt, self._folder, self._distilled, [p.net for p in find_pairs(self)], commands)
        if is_script():
            self._summary.print_at_exit()
        return returned

    def _distil(
        self,
        opt: Any,
        config: DistillConfig,
        pair: Pair,
        file: Path,
        half: HalfPrecision | None,
        cache: TeacherCache | None,
    ) -> Distilled:
        """Load the teacher of a pair, and prepare all that is needed to compare the student with it."""
        student = network_of(self, pair)  # only now: the host may have wrapped it for several GPUs in its setup
        teacher = load_teacher_of(student, file, config.teacher_mode, opt, self._netG, self._calls)
        teacher.to(self.device)
        check_channels(pair, file, teacher, student)
        if not getattr(opt, "continue_train", False):
            start_from_teacher(self, pair, student, teacher, file, config.student)
        terms, taps = config.build_terms(pair.net, file), config.taps(pair.net)
        runs = config.cost.prepare_teacher(teacher, half)
        distiller = Distiller(student, runs, terms, taps=taps, cache=cache, half=half)
        refuse_replicas(distiller)
        distilled = Distilled(pair, file, teacher, distiller)
        say(str(distilled))
        smaller = check_smaller(opt, pair.net, student, teacher)
        if smaller and not config.student.student_ndf and not config.student.student_netD:
            note_large_discriminator(self, pair, student)
        return distilled

    def data_dependent_initialize(self, *arguments: Any, **named: Any) -> Any:
        """Let a host that has this (CUT) make networks that depend on a first batch, in a pass that is no step."""
        with self._keeper.initialising() if self._config else nullcontext():
            return super().data_dependent_initialize(*arguments, **named)  # type: ignore[misc]

    def update_learning_rate(self, *arguments: Any, **named: Any) -> Any:
        """Let the host end (or, in some years, begin) an epoch, and the schedules of the weights with it."""
        returned = None
        if self._skip_learning_rate:  # a continued run has made this one already
            self._skip_learning_rate = False
        else:
            returned = super().update_learning_rate(*arguments, **named)  # type: ignore[misc]
        self._between_epochs = True
        if self._config is not None and (place := self._keeper.lr_updated()):
            self._epoch, self._iteration = place
        return returned

    def save_networks(self, epoch: int | str, *arguments: Any, **named: Any) -> Any:
        """Let the host save its networks, with the student's record, the adapters and the state of the run."""
        if self._config is None:
            return super().save_networks(epoch, *arguments, **named)  # type: ignore[misc]
        host_saves = functools.partial(super().save_networks, epoch, *arguments, **named)  # type: ignore[misc]
        replaying = self._keeper.replaying
        returned = self._keeper.save(epoch, host_saves, functools.partial(self._save_beside, epoch))
        if epoch == "latest" and not replaying:
            self._summary.saved()
        return returned

    def _save_beside(self, epoch: int | str, folder: Path) -> None:
        """Save what belongs to the networks of an epoch."""
        save_adapters(self._adapters(), folder, epoch)
        if self._record is not None:
            self._record.write(folder)

    def set_input(self, *arguments: Any, **named: Any) -> Any:
        """Let the host take a batch."""
        if self._config is not None:
            self._keeper.drew(next(iter((*arguments, *named.values())), None))
        return super().set_input(*arguments, **named)  # type: ignore[misc]

    def optimize_parameters(self, *arguments: Any, **named: Any) -> Any:
        """Let the host train on its batch; in a continued run not on those that were trained before the save."""
        if self._config is None:
            return super().optimize_parameters(*arguments, **named)  # type: ignore[misc]
        if not self._keeper.stepped_once:  # and so there is nothing to save
            self._stop_if_asked()
        if self._keeper.replaying:
            if place := self._keeper.pass_over():
                (self._epoch, self._iteration), self._between_epochs = place, False
                self._summary.resume(self._epoch)
            return None
        self._in_step = True
        result = super().optimize_parameters(*arguments, **named)  # type: ignore[misc]
        self._in_step = False
        self._keeper.trained()
        self._stop_if_asked()  # here, since the host then draws the next batch, and random numbers for it
        return result

    def get_current_losses(self, *arguments: Any, **named: Any) -> Any:
        """Return the host's losses; none for a batch that was passed over."""
        if self._config is not None and self._keeper.has_trained_nothing:
            return OrderedDict()
        return super().get_current_losses(*arguments, **named)  # type: ignore[misc]

    def get_current_visuals(self, *arguments: Any, **named: Any) -> Any:
        """Return the images that the host shows; none for a batch that was passed over."""
        if self._config is not None and self._keeper.has_trained_nothing:
            return OrderedDict()
        return super().get_current_visuals(*arguments, **named)  # type: ignore[misc]

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Run the host's forward pass; in training, compute the terms and attach them to the outputs."""
        training = torch.is_grad_enabled()  # not in a validation, which some hosts run between epochs
        if training:
            if not self._in_step:  # a host that trains elsewhere than in optimize_parameters
                self._stop_if_asked()
            self._warn_if_unused()
            self._count_step()
        for distilled in self._distilled:
            distilled.follow(network_of(self, distilled.pair))
        with ExitStack() as stack:
            recorders = [stack.enter_context(distilled.distiller.record()) for distilled in self._distilled]
            returned = super().forward(*arguments, **named)  # type: ignore[misc]
        carrying: dict[int, torch.Tensor] = {}  # by the images without terms
        for distilled, recorder in zip(self._distilled, recorders, strict=True):
            pair = distilled.pair
            output = getattr(self, pair.output, None)
            call = recorder.find(output) if isinstance(output, torch.Tensor) else None
            if call is None:
                raise HostError(
                    f"forward() of {type(self).__name__} leaves no output of net{pair.net} in '{pair.output}': "
                    f'declare the attribute that holds its output, distill_pairs = [("{pair.net}", "...")]'
                )
            if not training:
                setattr(self, f"teacher_{pair.output}", distilled.distiller.teach(call))
                continue
            result = distilled.distiller.distill(call)
            scale = find_loss_scale(self, pair.net, result.output)
            attached, attachment = attach(result.output, result.total, scale)
            setattr(self, pair.output, attached)
            carrying[id(output)] = attached
            setattr(self, f"teacher_{pair.output}", result.teacher_output)
            self._attached.append(attachment)
            assert self._guard is not None
            self._guard.observe(pair.suffix, result.losses, (result.output, *call.features.values()))
            self._summary.look(pair.net, distilled.distiller.student, result.losses, scale)
            for name, value in result.losses.items():
                setattr(self, f"loss_{name}{pair.suffix}", value.detach())
        if not carrying:
            return returned
        return tree_map(lambda value: carrying.get(id(value), value), returned)  # hosts may compute losses from it

    def _adapters(self) -> dict[str, nn.ModuleDict]:
        return {d.pair.net: d.distiller.adapters for d in self._distilled if len(d.distiller.adapters)}

    def drawn_networks(self) -> dict[str, nn.Module]:
        """Return the networks that terms have drawn at random, by generator and term; part of the run's state."""
        return {
            f"{distilled.pair.net}.{name}": network
            for distilled in self._distilled
            for name, weighted in distilled.distiller.terms.items()
            if (network := weighted.term.drawn()) is not None
        }

    def _stop_if_asked(self) -> None:
        """Save and end, between two steps, if somebody has pressed Ctrl-C."""
        number = self._interruption.asked
        if number is None:
            return
        self._summary.drop()
        if self._keeper.stepped_once:
            self.save_networks("latest")
            say(f"stopped in epoch {self._epoch} after {self._iteration} steps, all saved: --continue_train goes on")
        else:
            say("stopped before the first step; what was saved before is as it was")
        sys.exit(128 + number)

    def _count_step(self) -> None:
        """Count a step, and go on to the next epoch with the first step after the host's call that lies between two.

        Hosts of some years make that call before the first epoch too, where it counts for nothing.
        """
        if self._epoch is None:
            self._epoch = getattr(self.opt, "epoch_count", 1)
        elif self._between_epochs:
            self._epoch += 1
            self._iteration = 0
        self._between_epochs = False
        self._iteration += 1
        if self._guard is not None:
            self._guard.begin(self._epoch, self._iteration)
            self._keeper.stepped(self._epoch, self._iteration)
            self._summary.step(self._epoch, self._iteration)
        for distilled in self._distilled:
            distilled.distiller.epoch = self._epoch

    def _warn_if_unused(self) -> None:
        if any(attachment.passes == 0 for attachment in self._attached):
            warnings.warn(
                "the distillation terms of the last step got no gradient: the images they are attached to "
                f"({', '.join(d.pair.output for d in self._distilled)}) take no part in the generator's loss",
                stacklevel=3,
            )
        self._attached.clear()
