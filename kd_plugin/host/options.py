"""The plugin's command line options: one table gives names, defaults, help and validation.

The options that belong to a term come from the term itself (:mod:`kd_plugin.losses.registry`).
"""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from ..errors import ArgumentError, HostError, OptionError
from ..losses import WeightedTerm, build_terms, get_term, term_names
from ..taps import Tap, parse_taps
from ..teacher import TeacherMode

__all__ = ["DistillConfig", "add_options", "apply_student_options"]


def _flag(default: Any, help: str, type: type = str, choices: tuple[str, ...] | None = None) -> Any:
    return field(default=default, metadata={"help": help, "type": type, "choices": choices})


@dataclass(frozen=True)
class DistillConfig:
    """The settings of a distillation; a field is an option of the same name."""

    distill: str = _flag("", f"terms to distil with, comma-separated: {', '.join(term_names())}; off if empty")
    teacher: str = _flag("", "teacher: a folder with <epoch>_net_G*.pth, such as checkpoints/NAME, or one .pth file")
    teacher_epoch: str = _flag("latest", "which epoch of a teacher folder to load")
    teacher_G_A: str = _flag("", "CycleGAN: .pth file of the teacher of G_A alone (A to B)")
    teacher_G_B: str = _flag("", "CycleGAN: .pth file of the teacher of G_B alone (B to A)")
    teacher_mode: TeacherMode = _flag(
        "eval",
        "train: batch statistics and dropout, for teachers tested without --eval",
        choices=get_args(TeacherMode),
    )
    student_ngf: int | None = _flag(None, "width of the student generator instead of --ngf", int)
    student_netG: str | None = _flag(None, "architecture of the student generator instead of --netG")
    student_ndf: int | None = _flag(None, "width of the discriminator instead of --ndf", int)
    srp_layers: str = _flag(
        "", "modules srp reads, comma-separated, NAME or STUDENT=TEACHER; end of the encoder if empty"
    )
    lambdas: tuple[tuple[str, float], ...] = ()
    term_options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def from_namespace(cls, opt: Namespace) -> DistillConfig | None:
        """Read and check the options; None if nothing is to be distilled.

        Raises:
            OptionError: one line that says what is wrong and what to do instead.
        """
        values = {f.name: getattr(opt, f.name) for f in _table() if hasattr(opt, f.name)}
        if not values.get("distill"):
            stray = [f.name for f in _table() if f.name in values and values[f.name] != f.default]
            if stray:
                raise OptionError(f"--{stray[0]} has no effect without --distill: add e.g. --distill wavelet,srp")
            return None
        config = cls(
            **values,
            lambdas=tuple((name, getattr(opt, f"lambda_{name}")) for name in term_names()),
            term_options=tuple((o.flag, getattr(opt, o.flag)) for n in term_names() for o in get_term(n).options),
        )
        config._check()
        return config

    @property
    def names(self) -> list[str]:
        """The terms asked for, in the order given."""
        return [name.strip() for name in self.distill.split(",")]

    def build_terms(self) -> dict[str, WeightedTerm]:
        """Construct the terms with their weights and settings.

        Raises:
            OptionError: an unknown name, or a value a term refuses.
        """
        names = self.names
        if len(set(names)) < len(names):
            raise OptionError(f"--distill {self.distill} names a term twice")
        try:
            flags = {option.flag for name in names for option in get_term(name).options}
            weights = dict(self.lambdas)
            return build_terms(
                {name: weights[name] for name in names}, {k: v for k, v in self.term_options if k in flags}
            )
        except ArgumentError as error:
            raise OptionError(f"--distill {self.distill}: {error}") from error

    def taps(self) -> list[Tap] | None:
        """Return the taps that were named, or None for the default."""
        return parse_taps(self.srp_layers) if self.srp_layers else None

    def idle(self) -> list[str]:
        """Return the options that were set for terms that are not asked for."""
        defaults = {f"lambda_{name}": get_term(name).default_weight for name in term_names()}
        defaults |= {option.flag: option.default for name in term_names() for option in get_term(name).options}
        owner = {f"lambda_{name}": name for name in term_names()}
        owner |= {option.flag: name for name in term_names() for option in get_term(name).options}
        given = {**{f"lambda_{name}": weight for name, weight in self.lambdas}, **dict(self.term_options)}
        return [flag for flag, value in given.items() if value != defaults[flag] and owner[flag] not in self.names]

    def to_dict(self) -> dict[str, Any]:
        """Return terms with their weights and settings, for JSON."""
        terms = self.build_terms()
        chosen = {option.flag for name in terms for option in get_term(name).options}
        return {
            "terms": {name: weighted.weight for name, weighted in terms.items()},
            "options": {flag: value for flag, value in self.term_options if flag in chosen},
            "srp_layers": self.srp_layers or None,
            "teacher_mode": self.teacher_mode,
        }

    def _check(self) -> None:
        self.build_terms()
        self.taps()
        if not (self.teacher or self.teacher_G_A or self.teacher_G_B):
            raise OptionError(
                f"--distill {self.distill} needs a teacher: add --teacher checkpoints/NAME, or a .pth file"
            )
        for name in ("student_ngf", "student_ndf"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"--{name} {value}: give a width of 1 or more, e.g. 24")


def _table() -> Iterator[Any]:
    """Yield the dataclass fields that are options."""
    return (f for f in fields(DistillConfig) if f.metadata)


def add_options(parser: ArgumentParser) -> None:
    """Add the plugin's options to a host's training parser, in a group of their own; once only.

    Raises:
        HostError: the host has an option of the same name.
    """
    if any(group.title == _TITLE for group in parser._action_groups):
        return
    group = parser.add_argument_group(_TITLE, "train a small student generator from a large teacher")
    try:
        for f in _table():
            group.add_argument(
                f"--{f.name}",
                type=f.metadata["type"],
                default=f.default,
                choices=f.metadata["choices"],
                help=f.metadata["help"],
            )
        for name in term_names():
            term = get_term(name)
            group.add_argument(
                f"--lambda_{name}", type=float, default=term.default_weight, help=f"weight of {name}: {term.summary}"
            )
            for option in term.options:
                group.add_argument(
                    f"--{option.flag}",
                    type=option.type,
                    default=option.default,
                    choices=option.choices,
                    help=option.help,
                )
    except argparse.ArgumentError as error:
        raise HostError(f"this host has an option of its own that the plugin needs ({error})") from error


_TITLE = "distillation (kd_plugin)"


def apply_student_options(opt: Namespace, config: DistillConfig) -> None:
    """Give the student's options to the host under the names it builds networks from."""
    for name in ("ngf", "netG", "ndf"):
        value = getattr(config, f"student_{name}")
        if value is not None:
            setattr(opt, name, value)
