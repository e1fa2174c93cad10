"""Command-line options of the plugin, defined with defaults and help texts by the fields of dataclasses.

Each term defines its own options (:mod:`kd_plugin.losses.registry`).
"""

from __future__ import annotations

import functools
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from ...distillation.balance import EVERY, Balance, parse_shares
from ...errors import ArgumentError, OptionError
from ...flags import Flag, add_flags, check_value, flags_of, is_ours, option
from ...losses import NO_TERMS, WeightedTerm, build_terms, get_term, split_names, term_names
from ...losses.flags import term_flags
from ...losses.registry import option_flags
from ...networks.taps import Tap, parse_taps
from ...networks.teacher import TeacherMode
from ..repository.option_names import OptionName
from ..repository.usual_options import host_options, names_in, reworded
from .compress import CompressOptions
from .cost import CostOptions
from .student import StudentOptions


@dataclass(frozen=True)
class DistillConfig:
    """Settings of a distillation; each field is an option of the same name."""

    distill: str = option(
        "",
        f"terms to distil with, comma-separated: {', '.join(term_names())}; off if empty; NAME:G_A applies to one "
        f"direction of a CycleGAN; {NO_TERMS}: train the student alone",
    )
    teacher: str = option("", "teacher: a folder with <epoch>_net_G*.pth, such as checkpoints/NAME, or one .pth file")
    teacher_epoch: str = option("latest", "epoch to load from a teacher folder")
    teacher_G_A: str = option("", "CycleGAN: .pth file of the teacher of G_A only (A to B)")
    teacher_G_B: str = option("", "CycleGAN: .pth file of the teacher of G_B only (B to A)")
    teacher_mode: TeacherMode = option(
        "eval",
        "train: use batch statistics and dropout, for teachers tested without --eval; batch: batch statistics alone, "
        "for those of DeepLIIF",
        choices=get_args(TeacherMode),
    )
    distill_taps: str = option(
        "",
        "modules whose features the terms read, comma-separated, NAME or STUDENT=TEACHER, with patterns such as "
        "model.1?.conv_block; encoder, middle and decoder by default",
    )
    srp_layers: str = option(
        "",
        "modules that srp reads, as for --distill_taps; by default the middle, the end of the encoder in its paper",
        term="srp",
    )
    distill_share: str = option(
        "",
        "shares of the generator's gradient that terms keep, such as wavelet=20%,srp=10%: their weights are adjusted "
        "to them, starting from --lambda_TERM",
    )
    share_every: int = option(
        EVERY,
        "measure the shares of --distill_share in the first step of an epoch and every N steps",
        type=int,
    )
    max_bad_steps: int = option(
        10,
        "abort after this many consecutive steps are skipped because a value is not finite",
        type=int,
    )
    kd_watch: int = option(
        0,
        "every N steps, measure the share of each term in the generator's gradient (share_NAME) and the error of the "
        "student's images per wavelet band (band_LL to band_HH, compared with the teacher's), and display them with "
        "the losses; 0: never",
        type=int,
    )
    student_ema: bool = option(
        False,
        "also average the student's weights over the training, and save the average as ema_net_G*.pth, for a test of "
        "the epoch ema",
        type=bool,
    )
    val_images: str = option(
        "",
        "folder of images (of a CycleGAN, with A/ and B/) on which the student is measured against its teacher after "
        "every epoch: the best weights are kept as best_net_G*.pth, for a test of the epoch best",
    )
    student: StudentOptions = StudentOptions()
    cost: CostOptions = CostOptions()
    of_terms: tuple[tuple[Flag, Any], ...] = ()  # weights and settings of all terms

    @classmethod
    def from_namespace(cls, opt: Namespace) -> DistillConfig | None:
        """Read and check the options; return None without ``--distill``.

        Raises:
            OptionError: an option is invalid; the message gives the value and a remedy.
        """
        given = {flag: getattr(opt, flag.name) for flag in flags() if is_ours(flag, opt)}
        if not getattr(opt, "distill", ""):
            others = {flag.name for flag in flags_of(CompressOptions)}
            stray = [f.name for f, value in given.items() if value != f.default and f.name not in others]
            if stray:
                raise OptionError(f"--{stray[0]} has no effect without --distill: add e.g. --distill wavelet,srp")
            return None
        for flag, value in given.items():
            check_value(flag, value)
        general, student, cost = (
            {flag.name: given[flag] for flag in flags_of(kind) if flag in given}
            for kind in (cls, StudentOptions, CostOptions)
        )
        of_terms = tuple((flag, value) for flag, value in given.items() if flag.term)
        config = cls(**general, student=StudentOptions(**student), cost=CostOptions(**cost), of_terms=of_terms)
        config._check()
        config.cost.check(opt, config.teacher_mode)
        return config

    @property
    def names(self) -> list[str]:
        """The requested terms, in the order given."""
        return self.names_for(None)

    def names_for(self, net: str | None) -> list[str]:
        """The terms that apply to a generator; all terms if None."""
        return [name for name, only in self._nets().items() if net is None or only in ("", net)]

    def check_nets(self, nets: Sequence[str]) -> None:
        """Raise an :class:`OptionError` if a generator named in ``--distill`` does not exist in the model."""
        for name, net in self._nets().items():
            if net and net not in nets:
                raise OptionError(
                    f"--distill {name}:{net}: this model has the generators {', '.join(nets)}, not {net}"
                )

    def check_files(self, nets: Sequence[str]) -> None:
        """Raise an :class:`OptionError` if a file of one teacher is given for several generators."""
        for name in self.names:
            served = [net for net in nets if name in self.names_for(net)]
            for flag in get_term(name).implied_options(Path("latest_net_G.pth")):
                if len(served) > 1 and self._value(flag):
                    raise OptionError(
                        f"--{flag} is one file for {' and '.join(served)}: remove it to use the files next to the "
                        f"teachers, or distil with {name}:{served[0]}"
                    )

    @functools.cached_property
    def terms(self) -> dict[str, WeightedTerm]:
        """All terms with their weights and settings, shared by the generators.

        Raises:
            OptionError: a name is unknown, or a term rejects a value.
        """
        return self._build(self.names, {})

    def terms_for(self, net: str, teacher: Path) -> dict[str, WeightedTerm]:
        """Return the terms of a generator, with the settings that its teacher's file implies unless given."""
        terms = {}
        for name in self.names_for(net):
            implied = get_term(name).implied_options(teacher)
            missing = {flag: value for flag, value in implied.items() if not self._value(flag)}
            terms[name] = self._build([name], missing)[name] if missing else self.terms[name]
        return terms

    @functools.cached_property
    def shares(self) -> dict[str, float]:
        """The shares of ``--distill_share`` as fractions, by term.

        Raises:
            OptionError: they are not valid, or not of constant weights of ``--distill``.
        """
        try:
            shares = parse_shares(self.distill_share)
            if shares:
                Balance(shares, self.share_every)
        except ArgumentError as error:
            raise OptionError(f"--distill_share {self.distill_share}: {error}") from error
        for name in shares:
            if name not in self.names:
                raise OptionError(
                    f"--distill_share {self.distill_share}: {name} is not in --distill {self.distill}: add it there, "
                    f"or remove its share"
                )
            weight = self.terms[name].weight
            if len(weight.points) > 1 or not weight(1):
                raise OptionError(
                    f"--lambda_{name} {weight} beside --distill_share, which sets the weight: remove one of the two"
                )
        return shares

    def balance(self, net: str) -> Balance | None:
        """Return what keeps the shares of the terms of a generator, if they have any."""
        shares = {name: share for name, share in self.shares.items() if name in self.names_for(net)}
        return Balance(shares, self.share_every) if shares else None

    def taps(self, net: str | None = None) -> dict[str, list[Tap]]:
        """Return the specified taps by term, for the terms of a generator or, if ``net`` is None, all terms."""
        given = dict.fromkeys(self._readers(net), self.distill_taps)
        if "srp" in given:
            given["srp"] = self.srp_layers or self.distill_taps
        return {name: parse_taps(text) for name, text in given.items() if text}

    def notes(self) -> list[str]:
        """Return notes on options that have no effect."""
        idle = [f.name for f, value in self.of_terms if f.term not in self.names and value != f.default]
        readers = self._readers(None)
        if self.distill_taps and (not readers or (readers == ["srp"] and self.srp_layers)):
            idle.append("distill_taps")
        reason = f"its term is not in --distill {self.distill}"
        notes = [f"--{f} has no effect: {reason}" for f in idle]
        if self.share_every != EVERY and not self.distill_share:
            notes.append("--share_every has no effect without --distill_share")
        if self.kd_watch and not self.names:
            notes.append("--kd_watch has no effect without a teacher")
        if self.val_images and not self.names:
            notes.append("--val_images has no effect without a teacher")
        return [*notes, *self.student.notes(), *self.cost.notes()]

    def to_dict(self) -> dict[str, Any]:
        """Return the terms with their weights and settings as a dictionary for JSON."""
        return {
            "distill": self.distill,
            "terms": {name: str(weighted.weight) for name, weighted in self.terms.items()},
            "options": self._settings(self.names),
            "distill_taps": self.distill_taps or None,
            "srp_layers": self.srp_layers or None,
            "teacher_mode": self.teacher_mode,
            "distill_share": self.distill_share or None,
            "share_every": self.share_every,
            "max_bad_steps": self.max_bad_steps,
            "kd_watch": self.kd_watch,
            "student_ema": self.student_ema,
            "val_images": self.val_images or None,
            "student_init": self.student.student_init,
            "discriminator_init": self.student.discriminator_init,
            **asdict(self.cost),
        }

    def _value(self, name: str) -> Any:
        return next((value for flag, value in self.of_terms if flag.name == name), None)

    def _nets(self) -> dict[str, str]:
        """Parse ``--distill``: each term with the generator it applies to, "" for all."""
        nets: dict[str, str] = {}
        entries = split_names(self.distill)
        if entries == [NO_TERMS]:
            return {}
        if NO_TERMS in entries:
            raise OptionError(
                f"--distill {self.distill}: {NO_TERMS} cannot be combined with terms: give it alone or remove it"
            )
        for entry in entries:
            name, colon, net = entry.partition(":")
            if name in nets:
                raise OptionError(
                    f"--distill {self.distill} names {name} twice: give {name} for all generators, or {name}:G_A"
                )
            if colon and not net:
                raise OptionError(f"--distill {entry}: name a generator after the colon, such as {name}:G_A")
            nets[name] = net
        return nets

    def _readers(self, net: str | None) -> list[str]:
        """Return the terms of a generator that read features."""
        return [name for name in self.names_for(net) if get_term(name).reads == "features"]

    def _settings(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the settings of terms, without the weights."""
        settings = option_flags(names)
        return {flag.name: value for flag, value in self.of_terms if flag.name in settings}

    def _build(self, names: Sequence[str], implied: Mapping[str, Any]) -> dict[str, WeightedTerm]:
        weights = {name: self._value(f"lambda_{name}") for name in names}
        try:
            return build_terms(weights, {**self._settings(names), **implied}) if names else {}
        except ArgumentError as error:
            raise OptionError(f"--distill {self.distill}: {error}") from error

    def _check(self) -> None:
        _ = self.terms, self.shares
        self.taps()
        teacher = self.teacher or self.teacher_G_A or self.teacher_G_B
        if not self.names and teacher:
            raise OptionError(
                f"--distill {self.distill} trains without a teacher, so {teacher} has no effect: remove it"
            )
        if self.names and not teacher:
            raise OptionError(
                f"--distill {self.distill} needs a teacher: add --teacher checkpoints/NAME, or a .pth file"
            )
        if self.max_bad_steps < 0:
            raise OptionError(f"--max_bad_steps {self.max_bad_steps}: give 0 or more")
        if self.kd_watch < 0:
            raise OptionError(f"--kd_watch {self.kd_watch}: give a number of steps, or 0 for never")
        self.student.check()


def flags() -> list[Flag]:
    """Return all options: of distillation, student and compression, then the weight and settings of each term.

    A weight is a string, as it may be a schedule.
    """
    general = flags_of(DistillConfig)
    before = next(i for i, flag in enumerate(general) if flag.name == "distill_taps")
    listed = [*general[:before], *flags_of(StudentOptions), *general[before:], *flags_of(CostOptions)]
    return [*listed, *flags_of(CompressOptions), *term_flags()]


def are_in(arguments: Sequence[str]) -> bool:
    """Return whether a command line has an option of the plugin, or asks for help."""
    ours = (flag for flag in flags() if not flag.yields)  # others may be options of the host
    names = {"-h", "--help", *(f"--{flag.name}" for flag in ours)}
    return any(argument.partition("=")[0] in names for argument in arguments)


def add_options(parser: ArgumentParser, names: Mapping[str, OptionName] | None = None) -> None:
    """Add the plugin's options to a host's training parser in a separate group, unless already added.

    Their help has the host's other ``names`` of its options, by default those in the parser.

    Raises:
        HostError: the host has an option of the same name.
    """
    description = (
        "train a small student generator from a large teacher; a weight is a number, or "
        "points WEIGHT@EPOCH that are interpolated linearly, such as 0@1,100@10"
    )
    names = names_in(parser) if names is None else names
    ours = [replace(flag, help=reworded(flag.help, names)) for flag in flags()]
    add_flags(parser, "distillation (kd_plugin)", description, ours)


def experiment_folder(opt: Namespace) -> Path:
    """Return the checkpoint folder of the run, including ``--suffix``, before the host resolves it."""
    suffix: str = getattr(opt, "suffix", "")
    name: str = opt.name + (f"_{suffix.format(**vars(host_options(opt)))}" if suffix else "")
    return Path(opt.checkpoints_dir, name)


def early_folder(opt: Namespace) -> Path | None:
    """Return the same before the model's options are added; None if ``--suffix`` refers to one of them."""
    try:
        return experiment_folder(opt)
    except KeyError:
        return None


def loaded_epoch(opt: Namespace) -> str:
    """Return the prefix of the checkpoints that a run loads: an epoch, ``latest``, or ``iter_N``."""
    return f"iter_{opt.load_iter}" if getattr(opt, "load_iter", 0) > 0 else getattr(opt, "epoch", "latest")
