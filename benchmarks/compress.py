"""The steps of ``kd compress`` against their parts: the step of a student, and the teacher's forward pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch.nn import functional as F

from kd_plugin import Distiller, GeneratorSpec
from kd_plugin.compression.settings import DEFAULT_TERMS
from kd_plugin.distillation.teacher_pass import TeacherPass
from kd_plugin.networks.generator import build_generator
from kd_plugin.students import parse_budget, student_within
from kd_plugin.training.trainer import StudentTrainer

TITLE = "a kd compress step with a ResNet-9 of ngf 64 at 256x256 and"
_BUDGETS = ("4x", "7x", "16x")


class CompressStep:
    """A step of students of several sizes.

    Args:
        device: to run on.
        tiny: small sizes, for a smoke test.
        budgets: MACs of the students.
        terms: the terms, with weights or without.
    """

    def __init__(
        self,
        device: torch.device,
        tiny: bool,
        budgets: Sequence[str] = ("7x",),
        terms: Mapping[str, str | None] | Iterable[str] = DEFAULT_TERMS,
    ) -> None:
        size = 32 if tiny else 256
        spec = GeneratorSpec("resnet", 3, 3, 16 if tiny else 64, 2 if tiny else 9, "instance", False, True)
        torch.manual_seed(0)
        self.image = torch.rand(1, 3, size, size, device=device) * 2 - 1
        self.teacher = build_generator(spec).requires_grad_(False).eval().to(device)
        specs = [student_within(parse_budget(b), spec, spec, size) for b in (("2x",) if tiny else budgets)]
        students = [build_generator(small).to(device) for small in specs]
        self._trainers = [StudentTrainer(Distiller(s, self.teacher, terms), 10**9) for s in students]
        taps = set().union(*(trainer.distiller.teacher_taps for trainer in self._trainers))
        self._teach = TeacherPass(self.teacher, taps)
        self._plain = copy.deepcopy(students[0])
        self._optimizer = torch.optim.Adam(self._plain.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self._target = torch.rand_like(self.image)

    def step(self) -> None:
        """Train all students."""
        taught = self._teach(self.image)
        for trainer in self._trainers:
            trainer.step(self.image, taught)

    def student(self) -> None:
        """Train the first student on an L1 loss, without teacher, guard and average."""
        self._optimizer.zero_grad()
        F.l1_loss(self._plain(self.image), self._target).backward()
        self._optimizer.step()

    def teach(self) -> None:
        """Run the teacher."""
        with torch.no_grad():
            self.teacher(self.image)


def measured(
    device: torch.device, tiny: bool, repeats: int, medians: Callable[..., list[float]]
) -> list[tuple[str, float, str, float, str]]:
    """Return the rows of the table: what, seconds, its parts, the ratio to their sum, and the target."""
    one, several = CompressStep(device, tiny), CompressStep(device, tiny, _BUDGETS)
    dear, cheap = (CompressStep(device, tiny, terms=names) for names in (("wavelet", "srp", "pixel"), ("pixel",)))
    student, teacher, step, related, plain, three = medians(
        device, max(repeats // 2, 1), one.student, one.teach, one.step, dear.step, cheap.step, several.step
    )
    parts = f"{student * 1e3:.1f} ms + {teacher * 1e3:.1f} ms"
    target = (lambda text: text) if device.type == "cpu" else (lambda text: "")
    return [
        ("a 7x student, default terms", step, parts, step / (student + teacher), target("at most 1.1")),
        ("a 7x student, wavelet,srp,pixel", related, parts, related / (student + teacher), ""),
        ("a 7x student, pixel", plain, parts, plain / (student + teacher), ""),
        ("4x, 7x and 16x students", three, f"{step * 1e3:.1f} ms (7x alone)", three / step, target("at most 1.8")),
    ]
