"""Run all tests and benchmarks that need a GPU, in steps: repeat ``make gpu`` until all are done.

Every test of ``tests/test_gpu.py`` and the benchmark are a step each. A step that passed is not run again until
``steps.json`` is removed; a step that exceeds the time limit is restarted by the next call. The output folder
contains a log of each and, in ``benchmarks.md``, the tables. Nothing is installed or downloaded.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TESTS = REPOSITORY / "tests" / "test_gpu.py"
PACKAGES = {"torch": "torch", "numpy": "numpy", "pywt": "PyWavelets", "PIL": "pillow", "dominate": "dominate",
            "pytest": "pytest"}  # fmt: skip
DONE, FAILED, MISSING, LEFT = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the remaining steps; return the exit status: 0 all passed, 1 some failed, 2 cannot run, 3 some remain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu_results"), help="folder for the results")
    parser.add_argument("--minutes", type=float, default=8, help="time limit of this call (default: 8)")
    options = parser.parse_args(arguments)
    if reason := why_not():
        print(f"gpu: error: {reason}", file=sys.stderr)
        return MISSING
    output = options.output.resolve()
    return work(steps(output), output, options.minutes * 60)


def why_not() -> str:
    """Return what is missing on this machine, or ""."""
    missing = [package for module, package in PACKAGES.items() if not importlib.util.find_spec(module)]
    if missing:
        return f"{sys.executable} has no {', '.join(missing)}: use a Python that has them, make gpu PYTHON=..."
    import torch

    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} of {sys.executable} sees no GPU on {platform.node()}"
    return ""


def steps(output: Path) -> dict[str, list[str]]:
    """Return the command of each step by name."""
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs"]
    tests = re.findall(r"^def (test_\w+)", TESTS.read_text(encoding="utf-8"), re.MULTILINE)
    page = output / "benchmarks.md"
    if not page.is_file():
        output.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / "docs" / "benchmarks.md", page)
    # Relative to the repository, since the page quotes the command.
    bench = [sys.executable, "benchmarks/bench.py", "--device", "cuda", "--write", os.path.relpath(page, REPOSITORY)]
    return {**{name: [*pytest, f"{TESTS}::{name}"] for name in tests}, "benchmark": bench}


def work(commands: Mapping[str, Sequence[str]], output: Path, seconds: float) -> int:
    """Run the steps that have not passed, within the time limit; return the exit status of :func:`main`."""
    output.mkdir(parents=True, exist_ok=True)
    record = output / "steps.json"
    results: dict[str, str] = json.loads(record.read_text()) if record.is_file() else {}
    end, first = time.monotonic() + seconds, True
    for name, command in commands.items():
        if results.get(name) == "passed":
            continue
        begun = time.monotonic()
        status = run(command, output / f"{name}.log", end - begun)
        if status is None:
            if first:  # it had the whole time
                print(f"gpu: {name} takes more than {seconds / 60:g} minutes: make gpu GPU_MINUTES=...")
            break
        first = False
        lines = [line for line in (output / f"{name}.log").read_text(errors="replace").splitlines() if line]
        last = lines[-1] if lines else ""
        results[name] = "failed" if status else "skipped" if re.match(r"\d+ skipped", last) else "passed"
        written = record.with_suffix(".tmp")
        written.write_text(json.dumps(results, indent=2) + "\n")
        written.replace(record)
        print(f"{results[name]:<7}  {time.monotonic() - begun:4.0f} s  {name}: {last}", flush=True)
    left = sum(name not in results for name in commands)
    counts = Counter(results[name] for name in commands if name in results)
    counted = ", ".join(f"{count} {status}" for status, count in counts.items())
    print(f"gpu: {counted or 'none passed'}, {left} left; logs and tables are in {output}")
    if left:
        print("gpu: run the same command again for the remaining steps")
        return LEFT
    return FAILED if counts["failed"] else DONE


def run(command: Sequence[str], log: Path, seconds: float) -> int | None:
    """Run a command in the repository, logging its output; return its exit status, or None after the time limit."""
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with log.open("w") as stream:
        child = subprocess.Popen(
            command, cwd=REPOSITORY, env=env, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return child.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            return None
        finally:
            if child.returncode is None:  # also kills the hosts that a test has started
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


if __name__ == "__main__":
    sys.exit(main())
