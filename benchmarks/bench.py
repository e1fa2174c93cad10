"""Compare the losses with common alternatives: ``make bench``, or ``python benchmarks/bench.py --help``.

Every row runs both sides in turns in one process, forward and backward, and prints the medians and their ratio.
Memory is the peak of PyTorch's allocator.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import cases
import compress
import compress_runs
import torch
from torch.profiler import ProfilerActivity, profile

from kd_plugin import GeneratorSpec
from kd_plugin.export.bench import time_generators
from kd_plugin.host.options.cost import CostOptions
from kd_plugin.metrics.latency import device_name
from kd_plugin.networks.generator import build_generator
from kd_plugin.networks.taps import Call

Step = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of a table, its cells as text."""

    cells: tuple[str, ...]

    def __str__(self) -> str:
        return "| " + " | ".join(self.cells) + " |"


def medians(device: torch.device, repeats: int, *steps: Step) -> list[float]:
    """Return the median time of each step in seconds; the steps take turns, so that other load affects all."""
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times: list[list[float]] = [[] for _ in steps]
    for repeat in range(repeats + 2):  # the first two warm up
        for step, measured in zip(steps, times, strict=True):
            synchronize()
            start = time.perf_counter()
            step()
            synchronize()
            if repeat >= 2:
                measured.append(time.perf_counter() - start)
    return [statistics.median(measured) for measured in times]


def milliseconds(seconds: float) -> str:
    """Format a time for a table."""
    return f"{seconds * 1e3:.1f} ms"


def megabytes(size: int) -> str:
    """Format a size for a table."""
    return f"{size / 1e6:.0f} MB"


def losses(device: torch.device, tiny: bool, repeats: int) -> list[Row]:
    """Time the losses against their alternatives."""
    rows = []
    for case in cases.losses(tiny):
        if not case.timed:
            continue
        try:
            ours, other = case.step("ours", device), case.step("other", device)
        except ImportError as error:
            print(f"bench: {case.title} skipped, {error.name} is missing: pip install 'kd_plugin[bench]'")
            continue
        assert torch.allclose(ours(), other(), rtol=1e-3), f"{case.title}: the two sides do not agree"
        a, b = medians(device, max(repeats // 4, 1) if case.memory else repeats, ours, other)
        target = f"{case.target:g}x" if case.target and device.type == "cpu" else ""
        rows.append(Row((case.title, milliseconds(a), case.against, milliseconds(b), f"{b / a:.1f}x", target)))
    return rows


def memory(device: torch.device, tiny: bool) -> list[Row]:
    """Measure the peak memory of the losses beyond their inputs."""
    rows = []
    for case in cases.losses(tiny):
        if not case.memory:
            continue
        ours = peak(case.step("ours", device), device)
        if case.needs > free_memory(device):
            rows.append(Row((case.title, megabytes(ours), case.against, "not run, too large here", "", case.memory)))
            continue
        other = peak(case.step("other", device), device)
        ratio = f"{other / ours:.0f}x"
        rows.append(Row((case.title, megabytes(ours), case.against, megabytes(other), ratio, case.memory)))
    return rows


def free_memory(device: torch.device) -> int:
    """Return the free memory of a device in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def peak(step: Step, device: torch.device) -> int:
    """Return the peak memory of PyTorch's allocator during a step in bytes, minus what was allocated before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(accumulate(changes))


def cost_options(device: torch.device, tiny: bool, folder: str) -> dict[str, CostOptions]:
    """Return the options that reduce the cost of the teacher and that the machine supports."""
    found = {
        "--amp bf16": CostOptions(amp="bf16"),
        "--teacher_dtype bf16": CostOptions(teacher_dtype="bf16"),
        "--teacher_compile": CostOptions(teacher_compile=True),
        "--teacher_cache DIR": CostOptions(teacher_cache=folder),
    }
    if device.type == "cuda":
        found["--teacher_dtype fp16"] = CostOptions(teacher_dtype="fp16")
    if tiny or not compiles(device):
        del found["--teacher_compile"]
    return found


def compiles(device: torch.device) -> bool:
    """Return whether the compiler that torch.compile needs exists: a C compiler (for Triton) on GPUs, else C++."""
    return any(shutil.which(name) for name in (("cc", "gcc", "clang") if device.type == "cuda" else ("g++",)))


def whole_step(device: torch.device, tiny: bool, repeats: int, costs: dict[str, CostOptions]) -> list[Row]:
    """Compare a distillation step with its two unavoidable parts, timed separately."""
    rows = []
    for compiled in (False, True) if device.type == "cuda" and compiles(device) else (False,):
        steps = {terms: cases.TrainingStep(device, tiny, compiled, terms) for terms in ("wavelet,srp", "wavelet")}
        step = steps["wavelet,srp"]
        for name in () if compiled else ("--amp bf16", "--teacher_cache DIR"):
            steps[f"wavelet,srp, {name}"] = cases.TrainingStep(device, tiny, cost=costs[name])
        ways = {terms: one.distilling for terms, one in steps.items()} | {"no term, consecutively": step.both}
        times = medians(device, max(repeats // 2, 1), step.plain, step.teach, *ways.values())
        parts = f"{milliseconds(times[0])} + {milliseconds(times[1])}"
        for name, measured in zip(ways, times[2:], strict=True):
            target = "at most 1.05" if name == "wavelet,srp" and device.type == "cpu" else ""
            title = f"{name}{', networks compiled' if compiled else ''}"
            ratio = f"{measured / (times[0] + times[1]):.3f}"
            rows.append(Row((title, milliseconds(measured), parts, ratio, target)))
    return rows


def compress_steps(device: torch.device, tiny: bool, repeats: int) -> list[Row]:
    """Compare the steps of a training without a host with their parts."""
    return [
        Row((what, milliseconds(seconds), parts, f"{ratio:.3f}", target))
        for what, seconds, parts, ratio, target in compress.measured(device, tiny, repeats, medians)
    ]


def compress_trainings(device: torch.device, tiny: bool) -> list[Row]:
    """Measure whole trainings without a host."""
    return [Row(cells) for cells in compress_runs.measured(device, tiny)]


def runtimes(device: torch.device, tiny: bool) -> list[Row]:
    """Time a teacher and its student in the runtimes that ``kd export`` writes for."""
    if device.type != "cpu":
        return []
    size, widths, depth = (32, (8, 4), 1) if tiny else (256, (64, 24), 9)
    torch.manual_seed(0)
    specs = [GeneratorSpec("resnet", 3, 3, ngf, depth, "instance", False, True) for ngf in widths]
    networks = dict(zip(("teacher", "student"), map(build_generator, specs), strict=True))
    timings = time_generators(networks, size, size, rounds=1 if tiny else 11, compiled=not tiny)
    first = timings[0].seconds["teacher"]
    rows = []
    for timing in timings:
        teacher, student = timing.seconds["teacher"], timing.seconds["student"]
        psnr = f"{timing.psnr['student']:.1f} dB" if timing.psnr else ""
        ratios = f"{teacher / student:.2f}x", f"{first / student:.2f}x"
        rows.append(Row((timing.runtime, milliseconds(teacher), milliseconds(student), *ratios, psnr)))
    return rows


def teacher_forms(device: torch.device, tiny: bool, repeats: int, costs: dict[str, CostOptions]) -> list[Row]:
    """Time variants of the teacher, and compute the change of the student's gradient."""
    step = cases.TrainingStep(device, tiny)
    distillers = step.distillers(costs)
    reference = step.gradient(distillers["float32"])

    def change(gradient: torch.Tensor) -> str:
        return f"{((gradient - reference).norm() / reference.norm()).item():.1e}"

    times = medians(device, max(repeats // 2, 1), *(partial(d.teach, Call(step.image)) for d in distillers.values()))
    rows = [
        Row((name, milliseconds(measured), f"{times[0] / measured:.2f}x", change(step.gradient(distiller))))
        for (name, distiller), measured in zip(distillers.items(), times, strict=True)
    ]
    # For comparison: another image.
    other = step.gradient(distillers["float32"], step.other)
    return [*rows, Row(("(float32, another image)", "", "", change(other)))]


def machine(device: torch.device) -> str:
    """Return a description of the machine."""
    name = device_name(device)
    if device.type == "cpu":
        name += f", {torch.get_num_threads()} threads"
    packages = []
    for package in ("torch", "PyWavelets", "pytorch_wavelets", "ptwt", "onnxruntime", "openvino"):
        try:
            packages.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            packages.append(f"no {package}")
    return f"{name}; Python {platform.python_version()}, {', '.join(packages)}"


def table(header: str, rows: list[Row]) -> str:
    """Return a Markdown table."""
    columns = header.split(",")
    return "\n".join([str(Row(tuple(columns))), str(Row(("---",) * len(columns))), *map(str, rows)])


def report(device: torch.device, tiny: bool, repeats: int) -> str:
    """Run everything and return Markdown."""
    with TemporaryDirectory() as folder:
        costs = cost_options(device, tiny, folder)
        steps, forms = whole_step(device, tiny, repeats, costs), teacher_forms(device, tiny, repeats, costs)
    parts = [
        f"Measured with `{' '.join(['python', *sys.argv])}` on {machine(device)}.",
        table("forward and backward,ours,against,takes,ratio,target", losses(device, tiny, repeats)),
        table("extra memory,ours,against,takes,ratio,target", memory(device, tiny)),
        table(f"{cases.STEP},takes,student step + teacher forward,ratio,target", steps),
        table(f"{compress.TITLE},takes,parts,ratio,target", compress_steps(device, tiny, repeats)),
        table(f"{compress_runs.TITLE},figure,target", compress_trainings(device, tiny)),
        table("teacher forward,takes,faster,change of the student's gradient", forms),
    ]
    # Last: the processes that load images are not started beside the threads of other runtimes.
    if timed := runtimes(device, tiny):
        header = "one image of 256x256 in,ResNet-9 of ngf 64,of ngf 24,faster,than the 64 in PyTorch,PSNR"
        parts.append(table(header, timed))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Print the tables, and write them to a page if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=40, help="number of timed runs of a fast step")
    parser.add_argument("--tiny", action="store_true", help="small sizes, for a smoke test")
    parser.add_argument("--write", type=Path, help="page to write the tables to, between the two marks of the device")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    text = report(torch.device(options.device), options.tiny, 1 if options.tiny else options.repeats)
    print(text)
    if options.write:
        begin, end = (f"<!-- {options.device}:{mark} -->\n" for mark in ("begin", "end"))
        head, _, rest = options.write.read_text().partition(begin)
        options.write.write_text(f"{head}{begin}{text}{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    main()
