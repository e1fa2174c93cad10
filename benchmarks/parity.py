"""Compare the ONNX files of all students that ``kd plan`` lists with their generators, at the size of the training.

``python benchmarks/parity.py`` prints a Markdown table. It takes some 15 minutes on two cores. Weights are PyTorch's
initial ones; batch norms have the statistics of images.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from kd_plugin import GeneratorSpec
from kd_plugin.export.export import export
from kd_plugin.export.images import batch_of, draw_images
from kd_plugin.export.network import Statistics
from kd_plugin.export.settings import ExportSettings
from kd_plugin.networks.generator import Generator, build_generator
from kd_plugin.students.plan import list_students

SIZE = 256
TEACHERS = {
    "ResNet-9, instance norm": GeneratorSpec("resnet", 3, 3, 64, 9, "instance", False, True),
    "ResNet-6, batch norm, dropout": GeneratorSpec("resnet", 3, 3, 64, 6, "batch", True, False),
    "U-Net-256, batch norm, dropout": GeneratorSpec("unet", 3, 3, 64, 8, "batch", True, False),
    "U-Net-128, instance norm": GeneratorSpec("unet", 3, 3, 64, 7, "instance", False, True),
}


def drawn_generator(spec: GeneratorSpec) -> Generator:
    """Return a generator with random weights, and running statistics of images."""
    torch.manual_seed(0)
    network = build_generator(spec).train()
    with torch.no_grad():
        network(batch_of(draw_images(2), SIZE, SIZE, spec.input_nc, False))
    return network.eval()


def main() -> int:
    """Print the table; return the exit status."""
    print(
        "| students of | number | statistics | largest difference | mean | lowest PSNR |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    for title, teacher in TEACHERS.items():
        kinds: list[Statistics] = ["picture", "running"] if teacher.norm == "batch" else ["picture"]
        students = list_students(teacher, SIZE)
        for statistics in kinds:
            parities = []
            for number, spec in enumerate([teacher, *students]):
                print(f"\r{title}, {statistics}: {number} of {len(students)} ", end="", file=sys.stderr, flush=True)
                with tempfile.TemporaryDirectory() as folder:
                    settings = ExportSettings(
                        Path(folder) / "network.onnx", height=SIZE, width=SIZE, statistics=statistics
                    )
                    parities.append(export(drawn_generator(spec), settings, spec).parity)
            print(file=sys.stderr)
            largest, mean = max(p.largest for p in parities), max(p.mean for p in parities)
            lowest = min(p.psnr for p in parities)
            measured = f"{largest:.2g} of 255 steps | {mean:.1g} | {lowest:.0f} dB"
            print(f"| {title} | {len(students)} | {statistics} | {measured} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
