"""Distil in your own training loop, without a host repository: python examples/own_loop.py TEACHER.pth

The data are random, so that the example runs anywhere; replace them with yours.
"""

import sys

import torch

from kd_plugin import Distiller, load_teacher
from kd_plugin.networks.generator import GeneratorSpec, build_generator


def main(checkpoint: str, steps: int = 5) -> None:
    """Train a student with a quarter of the teacher's width for a few steps."""
    teacher = load_teacher(checkpoint)
    spec = teacher.spec
    student = build_generator(
        GeneratorSpec("resnet", spec.input_nc, spec.output_nc, max(spec.ngf // 4, 4), 6, "instance", False, True)
    )
    distiller = Distiller(student, teacher, {"wavelet": 100.0, "pixel": 10.0}, options={"wavelet_levels": 3})
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-4)
    size = max(spec.multiple, 64)  # a U-Net takes multiples of 2 to the power of its depth
    for step in range(steps):
        images = torch.rand(2, spec.input_nc, size, size) * 2 - 1
        result = distiller(images)  # runs the student and the teacher
        loss = result.total  # + your losses of result.output
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        terms = ", ".join(f"{name} {value.item():.3f}" for name, value in result.losses.items())
        print(f"step {step}: total {loss.item():.3f} ({terms})")


if __name__ == "__main__":
    main(*sys.argv[1:2] or sys.exit(__doc__))
