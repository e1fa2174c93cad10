"""Compare recipes of distillation, with seeds, a validation split and intervals.

``python examples/study/study.py --preset cpu`` builds the data sets, trains the teachers, and then the students of
all cells (task, recipe, size, seed), each in a process of its own. Every cell writes ``cells/KEY.json`` when it is
done; the tables and figures come from these files alone. The same command continues an interrupted study, or one that
another machine began: what a student needs of its teacher is ``cells/TASK-teacher-s0.json`` and the weights
``runs/TASK-teacher-s0/chosen_net_*.pth``, as in ``examples/study/results/cpu``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from commands import CHOSEN_EPOCH
from plan import PRESETS, Cell, Preset, find_preset, select

from kd_plugin.errors import KDError
from kd_plugin.progress import Phase, Progress

_HERE = Path(__file__).resolve().parent
_DATASETS = _HERE.parent / "datasets"

# With wider vectors, sums are rounded in another order: with these settings a seed gives the same weights on CPUs of
# AMD with and without AVX-512. Those of Intel give others all the same.
_NARROW = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study; return the exit status: 2 for an error of the user, 1 if a cell failed, 130 if interrupted."""
    options = _parser().parse_args(arguments)
    try:
        dataroots = _dataroots(options.dataroot)
        preset = find_preset(options.preset, dataroots)
        cells = select(preset.cells(), options.cells)
        if options.list:
            print("\n".join(cell.key for cell in cells))
            return 0
        output = Path(options.output or f"study_output/{options.preset}").resolve()
        study = Study(options.preset, preset, output, dataroots)
        status = study.run(cells, options.workers or preset.workers, 60 * options.minutes)
    except KDError as error:
        print(f"study: error: {error}", file=sys.stderr)
        return 2
    return status


class Study:
    """The cells of a preset and their processes.

    Args:
        name: of the preset.
        preset: the preset.
        output: folder of the study.
        dataroots: data sets of the user, by task; the others are built.
    """

    def __init__(self, name: str, preset: Preset, output: Path, dataroots: dict[str, Path]) -> None:
        self.name = name
        self.preset = preset
        self.output = output
        self.dataroots = dict(dataroots)
        self._running: dict[Cell, subprocess.Popen[bytes]] = {}
        self._failed: list[Cell] = []

    def run(self, cells: Sequence[Cell], workers: int, seconds: float = 0) -> int:
        """Run all cells that have no results yet, and their teachers; return the exit status.

        Args:
            cells: the cells.
            workers: number of processes at a time.
            seconds: time after which the trainings are interrupted, to be continued; without limit if 0.
        """
        for folder in ("cells", "runs", "data"):
            (self.output / folder).mkdir(parents=True, exist_ok=True)
        missing = [cell for cell in cells if not self._done(cell)]
        needed = dict.fromkeys(cell.teacher for cell in missing if cell.teacher)
        teachers = [teacher for teacher in needed if not self._done(teacher)]
        waiting = [*teachers, *missing]
        for teacher in teachers:
            if self._results(teacher).is_file():
                before = json.loads(self._results(teacher).read_text())["hardware"]["name"]
                print(f"{teacher.key} is trained again: its weights must come out as on {before}", flush=True)
        for task in dict.fromkeys(cell.task for cell in waiting):
            self._provide(task)
        deadline = time.monotonic() + seconds if seconds else float("inf")
        progress = Progress([Phase("cells", 300.0 * len(waiting) / workers)])
        total = len(waiting)
        interrupted = False
        try:
            if waiting:
                progress.begin(progress.phases[0].name)
            while (waiting or self._running) and not interrupted:
                ready = [cell for cell in waiting if cell.teacher not in (*waiting, *self._running)]
                started = ready[: workers - len(self._running)]
                for cell in started:
                    self._running[cell] = self._start(cell)
                ended = self._collect(progress)
                waiting = [cell for cell in waiting if cell not in started and cell.teacher not in self._failed]
                if started or ended:
                    running = ", ".join(cell.key for cell in self._running)
                    progress.update(1 - (len(waiting) + len(self._running)) / total, running)
                time.sleep(0.5)
                interrupted = time.monotonic() > deadline
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._stop()
            progress.clear()
        missing = [cell for cell in cells if not self._done(cell)]
        print(f"{len(cells) - len(missing)} of {len(cells)} cells are done, in {self.output / 'cells'}")
        if interrupted:
            print("interrupted: the same command continues")
            return 130
        return 1 if missing else 0

    def _done(self, cell: Cell) -> bool:
        """Return whether a cell has its results; a teacher needs its weights as well, which its students load."""
        weights = (self.output / "runs" / cell.key).glob(f"{CHOSEN_EPOCH}_net_*.pth")
        return self._results(cell).is_file() and (cell.teacher is not None or any(weights))

    def _results(self, cell: Cell) -> Path:
        return self.output / "cells" / f"{cell.key}.json"

    def _start(self, cell: Cell) -> subprocess.Popen[bytes]:
        words = [self.name, cell.key, str(self.dataroots[cell.task]), str(self.output)]
        return subprocess.Popen(
            [sys.executable, str(_HERE / "cell.py"), *words],
            env={**os.environ, **environment(self.preset.device)},
            start_new_session=True,
        )

    def _collect(self, progress: Progress) -> bool:
        """Print the results of the cells that have ended; return whether there are any."""
        running = list(self._running.items())
        for cell, process in running:
            if process.poll() is None:
                continue
            del self._running[cell]
            progress.clear()
            if process.returncode:
                self._failed.append(cell)
                continue
            result = json.loads(self._results(cell).read_text())
            distance = result["weights"][result["chosen"]]["frechet"]
            print(f"{cell.key}: Frechet distance {distance:.1f}, {result['spent']['seconds']:.0f} s", flush=True)
        return len(self._running) < len(running)

    def _stop(self) -> None:
        """Interrupt what runs, which saves its state, and wait for it."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        for process in self._running.values():
            process.wait()
        self._running.clear()

    def _provide(self, task: str) -> None:
        """Find the data set of a task, or build it."""
        if task in self.dataroots:
            return
        root = self.output / "data" / task
        command = [sys.executable, str(_DATASETS / f"{task}.py"), str(root), "--size", str(self.preset.side)]
        if subprocess.run(command).returncode:
            raise KDError(
                f"the data set {task} was not built (see above): fix that, or give --dataroot {task}=FOLDER"
            )
        self.dataroots[task] = root


def environment(device: str) -> dict[str, str]:
    """Return the environment variables of a cell: on CPUs one thread, and vectors of 256 bits."""
    if device == "cuda":
        return {}
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return {"OMP_NUM_THREADS": "1", **(_NARROW if wide else {})}


def _dataroots(words: Sequence[str]) -> dict[str, Path]:
    found = {}
    for word in words:
        name, _, folder = word.partition("=")
        if not re.fullmatch(r"\w+", name) or not folder:
            raise KDError(f"--dataroot {word}: give NAME=FOLDER, such as facades=./datasets/facades")
        if not Path(folder).is_dir():
            raise KDError(f"--dataroot {word}: there is no folder {folder}")
        found[name] = Path(folder).resolve()
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="study.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="cpu", choices=PRESETS, help="extent of the study (default: %(default)s)")
    parser.add_argument("--output", metavar="FOLDER", help="(default: study_output/PRESET)")
    parser.add_argument(
        "--cells",
        action="append",
        default=[],
        metavar="WORDS",
        help="only the cells whose names have these words, such as edges2emoji-7x-s0; repeatable",
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cells and stop")
    parser.add_argument(
        "--dataroot",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="run the main cells on this data set in the hosts' layout instead; repeatable",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="cells at a time (default: that of the preset)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=0,
        metavar="X",
        help="interrupt the trainings after this time, to be continued",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
