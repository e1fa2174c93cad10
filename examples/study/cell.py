"""Train and measure one cell of the study, and write its results: a process of ``study.py``."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from commands import CHOSEN_EPOCH, HOST, Training, shown
from features import NAME as FEATURES
from measure import Images, cost, frechet, measure
from plan import PRESETS, TEACHER, Cell
from recipes import Compress
from tasks import find_task

import kd_plugin
from kd_plugin.errors import KDError
from kd_plugin.files import sha256, write_text_atomically
from kd_plugin.metrics.latency import device_name
from kd_plugin.networks.checkpoint import read_state_dict

_LAST_LINES = 8
_DISTANCES: dict[tuple[str, str], float] = {}


@dataclass(frozen=True)
class Weights:
    """The weights of a training.

    Attributes:
        named: ``last``, ``best`` (on the validation images) and ``average``.
        snapshots: epoch, Frechet distance on the validation images, and on the test images, of each saved epoch.
    """

    named: dict[str, Path]
    snapshots: list[dict[str, float]]


def run_cell(training: Training, results: Path) -> None:
    """Train a cell, measure it and write ``results/KEY.json``; continue what was interrupted.

    Raises:
        KDError: the training failed, or the teacher is not that of its results.
    """
    if training.cell.teacher:
        _check_teacher(training, results)
    spent = _train(training)
    side, device = training.preset.side, training.preset.device
    images = {phase: Images(training.task, phase, side, device) for phase in ("val", "test")}
    weights = _weights(training, images)
    validation = {name: _distance(file, images["val"]) for name, file in weights.named.items()}
    chosen = min(validation, key=lambda name: validation[name])
    if training.cell.recipe == TEACHER:
        _keep_chosen(training, weights.named[chosen])
        _check_teacher(training, results)
    found = {
        "cell": vars(training.cell),
        "kind": training.task.kind,
        "ngf": training.preset.student_ngf(training.cell.size) if training.cell.teacher else training.preset.ngf,
        "cost": cost(weights.named[chosen], side),
        "epochs": training.epochs,
        "command": shown(training),
        "teacher": sha256(training.teacher_file),
        "data": {
            "digest": training.task.digest(),
            "side": side,
            "test images": len(images["test"].inputs),
            "groups": training.task.groups("test"),
            "truth": images["test"].paired,
        },
        "features": FEATURES,
        "spent": spent,
        "versions": _versions(),
        "hardware": _hardware(device),
        "snapshots": weights.snapshots,
        "validation": validation,
        "chosen": chosen,
        "weights": _measures(weights.named, images["test"]),
    }
    if training.cell.teacher:
        _keep_weights(training, weights.named[chosen])
    write_text_atomically(results / f"{training.cell.key}.json", json.dumps(found) + "\n")
    if training.cell.teacher:
        shutil.rmtree(training.folder)
        training.record.unlink()


def _check_teacher(training: Training, results: Path) -> None:
    """Raise an error if the teacher's weights are not those of its results, if it has any."""
    teacher = training.cell.teacher or training.cell
    file = results / f"{teacher.key}.json"
    if file.is_file() and json.loads(file.read_text())["teacher"] != sha256(training.teacher_file):
        raise KDError(
            f"the weights in {training.teacher_file} are not those of {file.name}: copy the folder "
            f"runs/{teacher.key} of the study that trained them, or delete the cells of this task to begin anew"
        )


def _train(training: Training) -> dict[str, float]:
    """Run the training's command, unless it has ended before; return the seconds that it took.

    Raises:
        KDError: the training failed, or was begun by another command.
    """
    record = training.record
    begun = {"command": shown(training), "spent": {"seconds": 0.0, "cpu_seconds": 0.0}, "ended": False}
    if record.is_file() and training.folder.is_dir():
        before = json.loads(record.read_text())
        if before["command"] != begun["command"]:
            raise KDError(
                f"its training was begun by another command ({before['command']}): delete {training.folder}"
            )
        begun = before
    spent: dict[str, float] = begun["spent"]
    if begun["ended"]:
        return spent
    write_text_atomically(record, json.dumps(begun))
    log = training.runs / f"{training.cell.key}.log"
    start, cpu, status = time.monotonic(), _cpu_seconds(), None
    # A Ctrl-C reaches the training as well, which saves its state and ends: it is waited for.
    handler = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with log.open("a") as output:
            process = subprocess.Popen(
                training.command(),
                cwd=HOST,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            status = process.wait()
    finally:
        signal.signal(signal.SIGINT, handler)
        spent = {
            "seconds": round(spent["seconds"] + time.monotonic() - start, 1),
            "cpu_seconds": round(spent["cpu_seconds"] + _cpu_seconds() - cpu, 1),
        }
        write_text_atomically(record, json.dumps({**begun, "spent": spent, "ended": status == 0}))
    if status in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if status:
        last = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        raise KDError("\n".join([f"exit status {status}; the last lines of {log}:", *last]))
    return spent


def _weights(training: Training, images: dict[str, Images]) -> Weights:
    folder = training.folder
    if isinstance(training.run, Compress):  # which chooses the best itself, on inputs that it holds out
        names = {"last": "last", "best": "best", "average": "ema"}
        return Weights({name: folder / f"{epoch}_net_G.pth" for name, epoch in names.items()}, [])
    snapshots = []
    for epoch in range(1, training.epochs + 1):
        file = folder / f"{epoch}_net_{training.net}.pth"
        distances = {phase: _distance(file, images[phase]) for phase in images}
        snapshots.append({"epoch": epoch, "validation": distances["val"], "test": distances["test"]})
    best = min(snapshots, key=lambda snapshot: snapshot["validation"])["epoch"]
    epochs = {"last": "latest", "best": str(best), "average": "ema"}
    return Weights({name: folder / f"{epoch}_net_{training.net}.pth" for name, epoch in epochs.items()}, snapshots)


def _distance(file: Path, images: Images) -> float:
    """Return the Frechet distance of weights, which may be in several files: the last are also those of an epoch."""
    key = _digest(file), images.phase
    if key not in _DISTANCES:
        _DISTANCES[key] = frechet(file, images)
    return _DISTANCES[key]


def _digest(file: Path) -> str:
    """Return the SHA-256 of the weights, which unlike that of the file does not depend on its name."""
    digest = hashlib.sha256()
    for tensor in read_state_dict(file).values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _measures(files: dict[str, Path], images: Images) -> dict[str, Any]:
    """Return the measures of each file, computed once for files that are the same."""
    digests = {name: _digest(file) for name, file in files.items()}
    names = {digest: name for name, digest in digests.items()}
    found = {digest: measure(files[name], images) for digest, name in names.items()}
    return {name: found[digest] for name, digest in digests.items()}


def _keep_chosen(training: Training, file: Path) -> None:
    """Copy the chosen weights of a teacher, all of its generators and discriminators, as an epoch of their own."""
    epoch = file.name.partition("_net_")[0]
    networks = sorted(training.folder.glob(f"{epoch}_net_G*.pth"))
    # The average is of generators only: their discriminators are the last ones.
    networks += sorted(training.folder.glob(f"{'latest' if epoch == 'ema' else epoch}_net_D*.pth"))
    for network in networks:
        shutil.copyfile(network, training.folder / f"{CHOSEN_EPOCH}_net_{network.name.partition('_net_')[2]}")


def _keep_weights(training: Training, file: Path) -> None:
    """Copy the chosen weights of a student: the rest of its training is deleted."""
    kept = training.runs.parent / "weights" / f"{training.cell.key}.pth"
    kept.parent.mkdir(exist_ok=True)
    shutil.copyfile(file, kept)


def _environment() -> dict[str, str]:
    package = str(Path(kd_plugin.__file__).resolve().parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _versions() -> dict[str, str]:
    return {"kd_plugin": kd_plugin.__version__, "torch": torch.__version__, "python": platform.python_version()}


def _hardware(device: str) -> dict[str, Any]:
    found = {"device": device, "name": device_name(device), "threads": torch.get_num_threads()}
    return found if device == "cuda" else {**found, "instructions": torch.backends.cpu.get_cpu_capability()}


def main(arguments: list[str]) -> int:
    """Run the cell that ``study.py`` names: preset, key, folder of the data set, folder of the study."""
    preset, key, root, output = arguments
    folder = Path(output).resolve()  # trainings run in the host's folder
    cell = Cell.from_key(key)
    chosen = PRESETS[preset]
    torch.backends.cudnn.allow_tf32 = False  # of the measures: trainings are processes of their own
    try:
        task = find_task(cell.task, Path(root), folder / "links", chosen.images)
        run_cell(Training(cell, chosen, task, folder / "runs"), folder / "cells")
    except KDError as error:
        print(f"study: error: {key}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
