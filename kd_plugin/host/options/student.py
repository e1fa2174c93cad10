"""Options of the student: its size, the initial weights, and its discriminator."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ...errors import ArgumentError, OptionError
from ...flags import option
from ...imports import is_function
from ...networks.architecture import Conv
from ...networks.generator import GeneratorSpec, get_architecture, parse_netG
from ...processes import say
from ...students import Keep, StudentRequest, is_registered, parse_budget, student_spec, student_within
from ...students.budget import check_latency

Init = Literal["scratch", "teacher"]
_USUAL_SIZE = 256  # side of an image if the host's options do not define it


@dataclass(frozen=True)
class StudentOptions:
    """Options of the student; each field is an option of the same name."""

    student_ngf: int | None = option(
        None,
        "width of the student generator instead of --ngf; three eighths of the teacher's by default",
        type=int,
    )
    student_netG: str | None = option(
        None,
        "architecture of the student generator instead of the teacher's: resnet_Nblocks with any N, unet_SIDE with "
        "a power of two of at least 32, one of the host's, or a registered builder",
    )
    student_widths: str = option(
        "", "channels of each stage instead of --student_ngf, comma-separated; three for a ResNet, such as 24,40,96"
    )
    student_conv: Conv | None = option(
        None,
        "separable: depthwise and pointwise convolutions in the residual blocks; standard by default",
        choices=get_args(Conv),
    )
    student_dropout: Literal["yes", "no"] | None = option(
        None, "whether the student has dropout layers; as the teacher by default", choices=("yes", "no")
    )
    student_factory: str = option(
        "", "package.module:function that builds the student, given a kd_plugin.students.StudentRequest"
    )
    student_budget: str = option(
        "",
        "choose the width by a budget instead: 7x (at most a seventh of the teacher's MACs), params=1.6M, "
        "file_size=4MB, latency=30ms@device.json (of the students that kd plan --web measured), or several",
    )
    student_init: Init = option(
        "scratch", "teacher: start from the teacher's most important channels", choices=get_args(Init)
    )
    student_keep: Keep = option(
        "l1",
        "channels that --student_init teacher keeps: those with the largest filters by L1 norm, or the first",
        choices=get_args(Keep),
    )
    student_ndf: int | None = option(None, "width of the discriminator instead of --ndf", type=int)
    student_netD: str | None = option(None, "architecture of the discriminator instead of --netD")
    discriminator_init: Init = option(
        "scratch", "teacher: start from the *_net_D*.pth next to the teacher", choices=get_args(Init)
    )

    @property
    def request(self) -> StudentRequest:
        """The student's settings beyond the host's options."""
        conv = self.student_conv or "standard"
        return StudentRequest(widths=self._widths(), conv=conv, factory=self.student_factory)

    def check(self) -> None:
        """Raise an :class:`OptionError` for an invalid option, before anything is built."""
        for name in ("student_ngf", "student_ndf"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"--{name} {value}: give a width of 1 or more, e.g. 24")
        self._widths()
        sizes = [name for name in ("student_ngf", "student_widths", "student_budget") if getattr(self, name)]
        if len(sizes) > 1:
            raise OptionError(f"--{sizes[0]} and --{sizes[1]} both set the width of the student: give one")
        if self.student_budget:
            try:
                budget = parse_budget(self.student_budget)
            except ArgumentError as error:
                raise OptionError(f"--student_budget {self.student_budget}: {error}") from None
            try:
                check_latency(budget)
            except ArgumentError as error:
                raise OptionError(
                    f"--student_budget {self.student_budget}: {error}, which kd plan TEACHER --web FOLDER writes; or "
                    f"list students with kd plan TEACHER --latency {budget['latency'].text}"
                ) from None
        if self.student_factory:
            factory = f"--student_factory {self.student_factory}"
            if not is_function(self.student_factory):
                raise OptionError(f"{factory}: name a function as package.module:function")
            unused = [name for name in ("student_widths", "student_netG", "student_budget") if getattr(self, name)]
            unused += ["student_conv"] if self.student_conv == "separable" else []
            if unused:
                raise OptionError(f"--{unused[0]} has no effect with {factory}: remove it")

    def notes(self) -> list[str]:
        """Return notes on options that have no effect."""
        idle = self.student_keep != "l1" and self.student_init == "scratch"
        return ["--student_keep has no effect without --student_init teacher"] if idle else []

    def apply(self, opt: Namespace, teacher: GeneratorSpec | None, recorded: bool) -> None:
        """Apply the student's options to the host's options from which networks are built; idempotent.

        Args:
            opt: options of the host, modified in place.
            teacher: spec that ratios in ``--student_budget`` refer to; the image size must fit it too.
            recorded: whether the student has a record, in which case its width is not searched.

        Raises:
            OptionError: no width meets the budget, or the image size does not fit the networks.
        """
        netG = getattr(opt, "netG", "")
        named = [self.student_netG] if self.student_netG else netG if isinstance(netG, list) else [netG]
        for name in [""] if self.student_factory else dict.fromkeys(map(str, named)):
            _check_size(name, teacher, opt)
        for name in ("ngf", "netG", "ndf", "netD"):
            value = getattr(self, f"student_{name}")
            if value is not None:
                several = getattr(opt, name, None)
                setattr(opt, name, [value] * len(several) if isinstance(several, list) else value)
        if widths := self._widths():
            opt.ngf = widths[0]
        if self.student_dropout:
            opt.no_dropout = self.student_dropout == "no"
        if self.student_budget and not recorded:
            if isinstance(opt.netG, list):
                raise OptionError(
                    f"--student_budget {self.student_budget}: this host has several generators, whose cost is "
                    f"unknown: use --student_ngf"
                )
            if is_registered(opt.netG):
                raise OptionError(
                    f"--student_budget {self.student_budget}: the cost of a registered {opt.netG} is unknown: use "
                    f"--student_ngf"
                )
            if teacher is None:
                raise OptionError(
                    f"--student_budget {self.student_budget}: the cost of the teacher is unknown, as its "
                    f"architecture is not of the family, or its file is missing: use --student_ngf"
                )
            opt.ngf = self._within_budget(opt, teacher)

    def _within_budget(self, opt: Namespace, teacher: GeneratorSpec) -> int:
        size = _training_size(opt) or _USUAL_SIZE
        try:
            asked = StudentRequest(
                opt.input_nc, opt.output_nc, teacher.ngf, opt.netG, teacher.norm, conv=self.request.conv
            )
            budget = parse_budget(self.student_budget)
            found = student_within(budget, student_spec(asked), teacher, size)
        except ArgumentError as error:
            raise OptionError(f"--student_budget {self.student_budget}: {error}") from None
        if opt.ngf != found.ngf:
            widest = "widest measured" if "latency" in budget else "widest"
            blocks = ", in blocks of 8 channels," if "latency" not in budget and found.ngf % 8 == 0 else ""
            say(f"ngf {found.ngf} is the {widest} {found.netG}{blocks} within {self.student_budget} at {size}x{size}")
        return found.ngf

    def _widths(self) -> tuple[int, ...] | None:
        if not self.student_widths:
            return None
        parts = [part.strip() for part in self.student_widths.split(",")]
        if not all(part.isdecimal() and int(part) for part in parts):
            raise OptionError(f"--student_widths {self.student_widths}: give whole numbers such as 24,40,96")
        return tuple(map(int, parts))


def not_in_options(request: StudentRequest, netG: object) -> OptionError:
    """Return the error for a student that a host with options of its own for its generators has no options for."""
    separable = "separable convolutions" if request.conv == "separable" else ""
    what = request.factory or ("stage widths" if request.widths else separable) or f"the generator {netG}"
    return OptionError(
        f"this host builds its generators again from its options when it saves and tests, and has no options for "
        f"{what}: use --student_ngf, or --student_netG with a generator of the host"
    )


def _check_size(netG: str, teacher: GeneratorSpec | None, opt: Any) -> None:
    """Raise an :class:`OptionError` if the image size is not divisible by the strides of teacher and student."""
    side = _training_size(opt)
    if side is None:
        return
    try:
        name, depth = parse_netG(netG)
    except ArgumentError:  # defined by the host or the user
        name, depth = "resnet", 1
    architecture = get_architecture(name)
    multiple = architecture.multiple(depth)
    if teacher is not None and side % teacher.multiple:
        both = max(multiple, teacher.multiple)  # powers of two
        enough = -(-side // both) * both
        raise OptionError(
            f"the teacher, a {teacher.netG}, takes images whose sides are multiples of {teacher.multiple}, but "
            f"these are {side}: add {_size_options(opt, enough)}"
        )
    if side % multiple:
        shallower = {architecture.netG(d): architecture.multiple(d) for d in range(depth - 1, 0, -1)}
        fitting = (n for n, each in shallower.items() if side % each == 0 and architecture.parse(n) is not None)
        raise OptionError(
            f"a {netG} halves its images {multiple.bit_length() - 1} times, so their sides must be multiples of "
            f"{multiple}, but these are {side}: use {next(fitting, 'a ResNet')}, or --crop_size {multiple}"
        )


def _size_options(opt: Any, side: int) -> str:
    """Return the options that make training images ``side`` x ``side`` pixels."""
    crops = "crop" in opt.preprocess  # a text: it gave the size
    loads = opt.preprocess != "crop" and (not crops or opt.load_size < side)
    return " ".join([*([f"--load_size {side}"] if loads else []), *([f"--crop_size {side}"] if crops else [])])


def _training_size(opt: Any) -> int | None:
    """Return the side of the square training images; None if they are not square or the size is unknown."""
    preprocess = getattr(opt, "preprocess", "") or ""
    option = "crop_size" if "crop" in preprocess else "load_size" if "resize" in preprocess else ""
    return getattr(opt, option, None) if option else None
