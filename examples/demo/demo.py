"""Distil a generator on real photographs and report the results, in a few minutes on a CPU.

``python examples/demo/demo.py --minutes 8`` creates a paired data set from the photographs in the scikit-image
wheel, trains a teacher, a seven times smaller student alone, the same student with distillation, using the runner in
``examples/host``, and once more with ``kd compress``. It tests the four on held-out photographs and writes the report
of ``kd report``, ``demo_output/index.html``. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import math
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

try:
    from dataset import Task, make_pairs, photograph_folder
    from pictures import draw_bands, draw_samples
    from process import ChildError
    from reporting import LABELS, write
    from table import table
    from training import (
        ALONE,
        COMPRESSED,
        DISTILLED,
        NAMES,
        TEACHER,
        Recipe,
        Speed,
        Workspace,
        choose_threads,
        plan_epochs,
        shown,
    )

    from kd_plugin.errors import KDError
    from kd_plugin.progress import Phase, Progress
    from kd_plugin.report.results import Report
    from kd_plugin.report.store import NAME
except ModuleNotFoundError as error:
    print(f"demo: error: no module '{error.name}': run make demo, or pip install -e '.[demo]'", file=sys.stderr)
    raise SystemExit(2) from None

_OURS = ("data", "checkpoints", "speed", "results", "logs", "images")
_MARK = ".kd_demo"
_PREPARE, _SPEED, _REPORT = "creating the pairs", "measuring the speed", "measuring the generators"
_REPORT_SECONDS = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status: 2 for an error the user can fix, 1 for a failed subprocess."""
    signal.signal(signal.SIGTERM, _on_terminate)
    options = _parser().parse_args(arguments)
    try:
        if not 0 < options.minutes < math.inf:
            raise KDError(f"--minutes {options.minutes:g}: give a number above 0, e.g. 8")
        if options.epochs is not None and options.epochs < 1:
            raise KDError(f"--epochs {options.epochs}: give a whole number of 1 or more")
        run(Path(options.output), options.minutes, options.epochs, options.seed)
    except KDError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 2
    except ChildError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    return 0


def run(output: Path, minutes: float, epochs: int | None, seed: int) -> Report:
    """Run all phases, and print the table of results and the path of the page.

    Args:
        output: folder of the results; those of an earlier run are replaced.
        minutes: time limit, unless ``epochs`` is given.
        epochs: epochs of each training.
        seed: seed of the data and the trainings.
    """
    begun = time.monotonic()
    source, task = photograph_folder(), Task()
    _clear(output)
    progress = Progress(_phases(60 * minutes))
    try:
        progress.begin(_PREPARE)
        pairs = make_pairs(source, output / "data", task, seed)
        counts = {phase: len(files) for phase, files in pairs.items()}
        workspace = Workspace(
            output.resolve(), Recipe(), seed, counts["train"], counts["test"], task.tile_size, task.crop_size
        )
        progress.begin(_SPEED)
        workspace, speed = choose_threads(workspace)
        speeds = {TEACHER: speed}
        for name in (ALONE, DISTILLED):
            progress.update((1 + len(speeds)) / 4)
            speeds[name] = workspace.measure_speed(name)
        speeds[COMPRESSED] = speeds[DISTILLED]  # which does more: it has a discriminator
        trained, commands = _train_all(workspace, speeds, progress, begun + 60 * minutes, epochs)
        for name in NAMES:
            progress.begin(_testing(name))
            workspace.test(name, progress.update)
            commands.append(shown(workspace.test_command(name)))
        progress.clear()  # the report continues the line
        time_taken = f"{(time.monotonic() - begun) / 60:.1f} minutes until the report, limit {minutes:g}"
        report = write(workspace, output, task, trained, commands, time_taken, progress.phases[:-1])
        (direction,) = report.directions
        draw_samples(direction, output, output / "samples.png")
        draw_bands(direction, output / "bands.png")
    finally:
        progress.clear()
    print(table(direction))
    print(f"\n* the better student, beyond the noise; page: {output / 'index.html'}")
    return report


def _train_all(
    workspace: Workspace, speeds: dict[str, Speed], progress: Progress, deadline: float, epochs: int | None
) -> tuple[dict[str, tuple[int, float]], list[str]]:
    """Train the generators; return the epochs and seconds of each, and the commands.

    The number of epochs is planned before the teacher's training, and again before those of the students.
    """
    testing = (
        sum(1.5 * speed.start for speed in speeds.values()) + _REPORT_SECONDS
    )  # a test mostly consists of its start
    done: dict[str, tuple[int, float]] = {}
    commands = []
    for names in ((TEACHER,), (ALONE, DISTILLED, COMPRESSED)):
        left = [speeds[name] for name in NAMES if name not in done]
        count = epochs or plan_epochs(0.95 * (deadline - time.monotonic() - testing), left, workspace.train_images)
        for phase in progress.phases:
            for name in NAMES:
                if phase.name == _training(name) and name not in done:
                    phase.seconds = speeds[name].seconds(count * workspace.train_images)
                elif phase.name == _testing(name):
                    phase.seconds = 1.5 * speeds[name].start
        for name in names:
            progress.begin(_training(name))
            done[name] = count, workspace.train(name, count, progress.update)
            commands.append(shown(workspace.train_command(name, count)))
    return done, commands


def _clear(output: Path) -> None:
    """Create the output folder and remove the results of an earlier demo, but no other files."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        if any(output.iterdir()) and not (output / _MARK).is_file():
            raise KDError(f"--output {output}: contains files not created by the demo, give a new or empty folder")
        (output / _MARK).touch()
        for folder in _OURS:
            if (output / folder).is_dir():
                shutil.rmtree(output / folder)
        (output / NAME).unlink(missing_ok=True)
    except OSError as error:
        raise KDError(f"--output {output}: {error.strerror or error}") from error


def _phases(seconds: float) -> list[Phase]:
    """Return the phases with estimated seconds, which are updated once the speed is measured."""
    training = seconds * 0.88
    shares = {TEACHER: 0.38, ALONE: 0.14, DISTILLED: 0.24, COMPRESSED: 0.24}
    return [
        Phase(_PREPARE, 1),
        Phase(_SPEED, 16),
        *(Phase(_training(name), training * share) for name, share in shares.items()),
        *(Phase(_testing(name), 4) for name in NAMES),
        Phase(_REPORT, _REPORT_SECONDS),
    ]


def _training(name: str) -> str:
    return f"training the {LABELS[name]}"


def _testing(name: str) -> str:
    return f"testing the {LABELS[name]}"


def _on_terminate(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)  # runs the finally blocks, which terminate the subprocess


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description="Distil a generator on real photographs, in minutes.")
    parser.add_argument("--minutes", type=float, default=8.0, help="time limit (default: 8)")
    parser.add_argument("--output", default="demo_output", help="folder of the results (default: demo_output)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data and the trainings (default: 0)")
    parser.add_argument("--epochs", type=int, help="number of epochs, instead of a time limit")
    return parser


if __name__ == "__main__":
    sys.exit(main())
