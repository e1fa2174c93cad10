"""What is measured: the losses with their alternatives, and a training step with and without distillation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from kd_plugin import Distiller, GeneratorSpec
from kd_plugin.distillation.attach import attach
from kd_plugin.host.options.cost import CostOptions
from kd_plugin.losses import semantic_relation_loss, wavelet_loss
from kd_plugin.networks.generator import Generator, build_generator

Step = Callable[[], object]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Case:
    """A loss and what it is compared with.

    Attributes:
        title, against: what the two are called.
        shapes: of the student's tensor and the teacher's.
        ours, other: make the loss on a device; importing what only the benchmark needs may fail there.
        target: the ratio of times aimed at on two CPU cores.
        memory: the aim for the memory, if that is measured.
        needs: what the other side takes, in bytes, if that is much.
        timed: whether the time is measured.
    """

    title: str
    against: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    ours: Callable[[torch.device], Loss]
    other: Callable[[torch.device], Loss]
    target: float = 0
    memory: str = ""
    needs: int = 0
    timed: bool = True

    def step(self, side: str, device: torch.device) -> Step:
        """Return one pass of a side, forward and backward to the student."""
        loss = getattr(self, side)(device)
        generator = torch.Generator().manual_seed(0)
        student, teacher = (torch.randn(shape, generator=generator).to(device) for shape in self.shapes)
        student.requires_grad_()

        def step() -> torch.Tensor:
            student.grad = None
            value: torch.Tensor = loss(student, teacher)
            value.backward()
            return value.detach()

        return step


def losses(tiny: bool) -> list[Case]:
    """Return the cases, in the sizes people train with or in ones that only show that they run."""
    images = (1, 3, 32, 32) if tiny else (8, 3, 256, 256)
    middle, large = (8, 12) if tiny else (64, 128)
    cases = []
    for wavelet, levels, other, against, target in (
        ("haar", 4, _two_pytorch_wavelets, "two pytorch_wavelets transforms", 10),
        ("haar", 4, _two_ptwt, "ptwt.wavedec2 of both", 4),
        ("db4", 3, _two_ptwt, "ptwt.wavedec2 of both", 2.5),
    ):
        title = f"wavelet, {'x'.join(map(str, images))}, {wavelet}, {levels} levels"
        cases.append(
            Case(title, against, (images, images), _wavelet(wavelet, levels), other(wavelet, levels), target=target)
        )
    for batch, own, side, aim, timed in (
        (4, 96, middle, "a fifth", True),
        (1, 24, large, "under 600 MB", False),
    ):
        cases.append(
            Case(
                f"srp, {batch}x({own}, 256)x{side}x{side}",
                "dense formula",
                ((batch, own, side, side), (batch, 256, side, side)),
                lambda device: semantic_relation_loss,
                lambda device: _dense_relations,
                target=2.5,
                memory=aim,
                needs=8 * batch * side**4 * 4,
                timed=timed,
            )
        )
    return cases


def _wavelet(wavelet: str, levels: int) -> Callable[[torch.device], Loss]:
    return lambda device: lambda student, teacher: wavelet_loss(student, teacher, levels, wavelet)


def _two_pytorch_wavelets(wavelet: str, levels: int) -> Callable[[torch.device], Loss]:
    """What the paper's code does: transform both images, sum the mean differences of the levels."""

    def make(device: torch.device) -> Loss:
        from pytorch_wavelets import DWTForward

        transform = DWTForward(J=levels, wave=wavelet, mode="zero").to(device)

        def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
            own, other = transform(student)[1], transform(teacher)[1]
            return torch.stack([F.l1_loss(a, b) for a, b in zip(own, other, strict=True)]).sum()

        return loss

    return make


def _two_ptwt(wavelet: str, levels: int) -> Callable[[torch.device], Loss]:
    def make(device: torch.device) -> Loss:
        import ptwt

        def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
            own, other = (ptwt.wavedec2(x, wavelet, mode="zero", level=levels)[1:] for x in (student, teacher))
            bands = [pair for a, b in zip(own, other, strict=True) for pair in zip(a, b, strict=True)]
            return torch.stack([F.l1_loss(a, b) for a, b in bands]).sum() / 3

        return loss

    return make


def _dense_relations(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The papers' equation as one writes it down."""

    def relations(features: torch.Tensor) -> torch.Tensor:
        pixels = features.flatten(2).transpose(1, 2)
        return F.normalize(pixels @ pixels.transpose(1, 2), dim=2)

    return (relations(student) - relations(teacher)).abs().mean()


STEP = "a pix2pix step with ResNet-9 64 -> 24 at 256x256 and"  # what TrainingStep is, in a table's head


class TrainingStep:
    """A pix2pix step at batch size 1: ResNet-9 of 24 channels under a teacher of 64, PatchGAN, two Adams."""

    def __init__(
        self,
        device: torch.device,
        tiny: bool = False,
        compiled: bool = False,
        terms: str = "wavelet,srp",
        cost: CostOptions = CostOptions(),  # noqa: B008 - it is frozen
    ) -> None:
        depth, side = (2, 64) if tiny else (9, 256)
        torch.manual_seed(0)
        self.student, self.teacher = (_generator(ngf, depth).to(device) for ngf in ((4, 8) if tiny else (24, 64)))
        self.teacher.requires_grad_(False).eval()
        self.judge = _patch_gan(8 if tiny else 64).to(device)
        self.image, self.target, self.other = (torch.rand(1, 3, side, side, device=device) * 2 - 1 for _ in range(3))
        self.optimizers = [torch.optim.Adam(n.parameters(), lr=2e-4) for n in (self.student, self.judge)]
        if compiled:
            for network in (self.student, self.teacher, self.judge):
                network.compile()
        half = cost.half(device)
        teacher = cost.prepare_teacher(self.teacher, half)
        self.distiller = Distiller(self.student, teacher, terms, cache=cost.cache(), half=half)
        if half:
            half.run(self.student)
            half.run(self.judge)

    def plain(self) -> None:
        """Train the student alone."""
        self._train(self.student(self.image))

    def teach(self) -> None:
        """Run the teacher."""
        with torch.no_grad():
            self.teacher(self.image)

    def both(self) -> None:
        """Run the teacher while the student's step waits, as distillation does, and distil nothing."""
        fake = self.student(self.image)
        self.teach()
        self._train(fake)

    def distilling(self) -> None:
        """Train the student with distillation, as the plugin does it in a host."""
        with self.distiller.record() as recorder:
            self.student(self.image)
        result = self.distiller.distill(recorder.calls[-1])
        self._train(attach(result.output, result.total)[0])

    def _train(self, fake: torch.Tensor) -> None:
        generator, discriminator = self.optimizers
        discriminator.zero_grad()
        real, judged = (self.judge(torch.cat((self.image, x), 1)) for x in (self.target, fake.detach()))
        (((real - 1) ** 2).mean() + (judged**2).mean()).mul(0.5).backward()
        discriminator.step()
        generator.zero_grad()
        self.judge.requires_grad_(False)
        judged = self.judge(torch.cat((self.image, fake), 1))
        (((judged - 1) ** 2).mean() + 100 * (fake - self.target).abs().mean()).backward()
        self.judge.requires_grad_(True)
        generator.step()

    def distillers(self, costs: dict[str, CostOptions]) -> dict[str, Distiller]:
        """Return distillers whose teacher runs as options say, and with its weights in channels_last."""
        terms = "wavelet,srp"
        last = copy.deepcopy(self.teacher).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found = {
            "float32": Distiller(self.student, self.teacher, terms),
            "channels_last": Distiller(self.student, last, terms),
        }
        for name, cost in costs.items():
            teacher = cost.prepare_teacher(copy.deepcopy(self.teacher), cost.half(self.image.device))
            found[name] = Distiller(self.student, teacher, terms, cache=cost.cache())
        return found

    def gradient(self, distiller: Distiller, image: torch.Tensor | None = None) -> torch.Tensor:
        """Return the gradient that the terms give the student, as one vector."""
        self.student.zero_grad()
        distiller(self.image if image is None else image).total.backward()
        return torch.cat([p.grad.flatten() for p in self.student.parameters() if p.grad is not None])


def _generator(ngf: int, depth: int) -> Generator:
    return build_generator(GeneratorSpec("resnet", 3, 3, ngf, depth, "instance", False, True))


def _patch_gan(ndf: int) -> nn.Sequential:
    widths = [6, ndf, 2 * ndf, 4 * ndf, 8 * ndf]
    layers: list[nn.Module] = []
    for n, (before, width) in enumerate(pairwise(widths)):
        layers.append(nn.Conv2d(before, width, 4, 2 if n < 3 else 1, 1))
        layers += [nn.InstanceNorm2d(width)] if n else []
        layers.append(nn.LeakyReLU(0.2, True))
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))
