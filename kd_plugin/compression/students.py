"""The students of a training: built as the user asks, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ArgumentError, first_line
from ..losses import build_terms
from ..metrics.limits import Budget
from ..networks.generator import GeneratorSpec, build_generator
from ..report.experiments import Experiment
from ..students import StudentRequest, build_student, inherit_weights, is_registered, student_spec
from ..students import student_within as widest_within
from .teachers import Teacher, probe
from .wishes import Wish

_OTHER_NGF, _OTHER_NETG = 24, "resnet_9blocks"  # of the student of a teacher outside the family
_STD = 0.02  # of initial weights, as in the hosts


@dataclass(frozen=True)
class Student:
    """A student.

    Attributes:
        wish: what was asked for.
        request: what it was built from.
        network: the network.
        inherited: whether its initial weights are the teacher's.
    """

    wish: Wish
    request: StudentRequest
    network: nn.Module
    inherited: bool


def build(wish: Wish, teacher: Teacher, out_channels: int, size: int, seed: int) -> Student:
    """Build a student with its initial weights.

    Args:
        wish: what is asked for.
        teacher: its teacher.
        out_channels: of the teacher's images.
        size: side of the images in pixels, for limits on MACs.
        seed: of random initial weights.

    Raises:
        ArgumentError: If there is no such student, or the teacher's weights do not fit.
    """
    request = _request(wish, teacher, out_channels, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_student(request)
        if not request.factory and not is_registered(request.netG):
            _initialise(network)
    inherited = False
    if wish.init != "scratch":
        try:
            inherit_weights(network, teacher.network, wish.keep)
            inherited = True
        except ArgumentError:
            if wish.init == "teacher":
                raise
    return Student(wish, request, network, inherited)


def _request(wish: Wish, teacher: Teacher, out_channels: int, size: int) -> StudentRequest:
    spec = teacher.spec
    request = StudentRequest(
        input_nc=teacher.channels,
        output_nc=out_channels,
        ngf=_OTHER_NGF if spec is None else max(1, spec.ngf * 3 // 8),  # 24 of 64, as in the wavelet paper
        netG=wish.netG or (_OTHER_NETG if spec is None else spec.netG),
        norm="instance" if spec is None else spec.norm,
        dropout=wish.dropout,
        conv=wish.conv,
        factory=wish.factory,
        padding="reflect" if spec is None else spec.padding,
    )
    if wish.widths:
        return replace(request, widths=wish.widths, ngf=wish.widths[0])
    if wish.ngf:
        return replace(request, ngf=wish.ngf)
    if wish.limits:
        if is_registered(request.netG):
            raise ArgumentError(f"the cost of a registered {request.netG} is not known: name its ngf")
        return replace(request, ngf=_within(wish.limits, request, spec, size).ngf)
    return request


def _within(limits: Budget, request: StudentRequest, teacher: GeneratorSpec | None, size: int) -> GeneratorSpec:
    needing = next((limit.text for limit in limits.values() if limit.relative or limit.device), "")
    if teacher is None and needing:
        raise ArgumentError(
            f"a student of {needing}: the cost of the teacher is not known, as it is no generator of the family: "
            "give an amount, such as macs=7G, or a width, such as ngf=24"
        )
    # Amounts need no teacher: that of the hosts' width is the widest.
    large = teacher or student_spec(replace(request, ngf=64))
    return widest_within(limits, student_spec(replace(request, ngf=large.ngf)), large, size)


def check_student(student: Student, size: int, out_channels: int) -> None:
    """Raise an :class:`ArgumentError` if a student does not take images of a size, or returns others.

    Args:
        student: the student, which is on the CPU.
        size: side of the images in pixels.
        out_channels: of the teacher's images.
    """
    request, name = student.request, student.request.factory or student.request.netG
    if not request.factory and not is_registered(request.netG):
        multiple = student_spec(request).multiple
        if size % multiple:
            raise ArgumentError(
                f"a {name} takes images whose sides are multiples of {multiple}, not {size}: choose another size or "
                "student"
            )
    training = student.network.training
    try:
        with torch.inference_mode():
            output: Any = student.network.eval()(torch.zeros(1, request.input_nc, size, size))
    except Exception as error:  # of a user's network
        raise ArgumentError(
            f"the student {name} does not take images of {size}x{size} pixels ({first_line(error, 120)})"
        ) from error
    student.network.train(training)
    found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if found != (1, out_channels, size, size):
        raise ArgumentError(
            f"the student {name} returns {found} for images of {size}x{size} pixels, the teacher "
            f"{(1, out_channels, size, size)}: choose another size, such as a multiple of 4, or student"
        )


def try_wishes(wishes: Sequence[Wish], teacher: GeneratorSpec, name: str, size: int) -> list[StudentRequest]:
    """Return the networks of the students that a generator would have, before it is trained.

    Args:
        wishes: the students.
        teacher: the generator.
        name: of the generator, for messages.
        size: side of the images in pixels.

    Raises:
        KDError: If it cannot be compressed, or there is no such student, or one has terms that need settings.
    """
    requests = []
    with torch.random.fork_rng(devices=[]):
        network = build_generator(teacher).eval()
        untrained = Teacher(network, teacher, Experiment(Path(name), "teacher", name, {}), "", teacher.input_nc)
        channels = probe(untrained, 1, size)
        for wish in wishes:
            if wish.terms is not None:
                build_terms(wish.terms)
            request = _request(wish, untrained, channels, size)
            student = Student(wish, request, build_student(request), wish.init == "teacher")
            if student.inherited:
                inherit_weights(student.network, network, wish.keep)
            check_student(student, size, channels)
            requests.append(request)
    return requests


def _initialise(network: nn.Module) -> None:
    """Draw initial weights as the hosts: normal with a standard deviation of 0.02."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, _STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, _STD)
            nn.init.zeros_(module.bias)
