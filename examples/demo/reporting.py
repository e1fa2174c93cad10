"""The demo's report: that of ``kd report`` on its four generators, with what the demo did."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from dataset import TEST_PHOTOGRAPHS, TRAIN_PHOTOGRAPHS, Task
from table import columns, gap_text
from training import ALONE, COMPRESS_TERMS, COMPRESSED, DISTILLED, HOST, TEACHER, Workspace, shown

from kd_plugin.host.model.load_generator import load_file
from kd_plugin.pictures import Preprocessing
from kd_plugin.progress import Phase
from kd_plugin.report import SECTIONS
from kd_plugin.report.build import build_report
from kd_plugin.report.experiments import find_experiment
from kd_plugin.report.results import Report
from kd_plugin.report.settings import Settings
from kd_plugin.report.store import NAME, Store
from kd_plugin.report.write import save_report

LABELS = {
    TEACHER: "teacher",
    ALONE: "student alone",
    DISTILLED: "distilled student",
    COMPRESSED: "compressed student",
}


def write(
    workspace: Workspace,
    output: Path,
    task: Task,
    trained: Mapping[str, tuple[int, float]],
    commands: Sequence[str],
    time: str,
    before: Sequence[Phase],
) -> Report:
    """Measure the four generators on the test pairs, and write ``report.json`` and ``index.html``.

    Args:
        workspace: of the trainings.
        output: its folder, as the user gave it.
        task: how the pairs were created.
        trained: epochs and seconds of each training.
        commands: of the trainings and tests.
        time: how long the demo took, for the reader.
        before: the completed phases.
    """
    if workspace.threads:
        torch.set_num_threads(workspace.threads)
    pairs, size = output / "data" / "test", workspace.crop_size
    paths = {name: output / "checkpoints" / name for name in LABELS}
    settings = Settings(
        experiments=tuple(
            replace(find_experiment(paths[name], "teacher" if name == TEACHER else "student"), label=label)
            for name, label in LABELS.items()
        ),
        preprocessing=Preprocessing("crop", crop_size=size),
        sections=SECTIONS,
        load=load_file,
        mode="eval",
        title="A small generator, with and without a teacher",
        distances=False,  # a few dozen crops are too few
        sizes=(size,),
        command=_command(paths, pairs, size, output),
        before=tuple(before),
    )
    folders = {"images": None, "dataroot": None, "truth": None, "pairs": pairs, "real": None}
    with Store(output / NAME) as store:
        report = build_report(settings, folders, "test", "AtoB", output, store)
    report = replace(
        report,
        texts=_texts(workspace),
        commands=(*commands, *report.commands),
        settings={**_facts(workspace, task, trained, time), **report.settings, "gap closed": _gaps(report)},
    )
    save_report(report, output)
    return report


def _texts(workspace: Workspace) -> tuple[str, ...]:
    terms = " and ".join(workspace.distillation()["terms"])
    return (
        "A pix2pix generator was trained to restore photographs degraded to look like old prints: blurred, faded, "
        "noisy. A small one was trained three times, with the same seed, inputs and number of steps: alone; "
        f"distilled from the large one with {terms}, in the host; and by kd compress with {COMPRESS_TERMS}, on the "
        "large one's images alone, without ground truth and discriminator.",
        f"All results are on crops of the photographs {_names(TEST_PHOTOGRAPHS, ' and ')}, which were held out. One "
        "seed: results vary between seeds, possibly by more than the intervals show.",
    )


def _facts(workspace: Workspace, task: Task, trained: Mapping[str, tuple[int, float]], time: str) -> dict[str, str]:
    terms = workspace.distillation()["terms"].items()
    return {
        "trained on": _names(TRAIN_PHOTOGRAPHS),
        "held out": _names(TEST_PHOTOGRAPHS),
        "pairs": f"{workspace.train_images} to train, {workspace.test_images} to test",
        "input": f"blurred by {task.blur:g} px, {task.contrast:.0%} of the contrast and {task.saturation:.0%} of the "
        f"colour, noise of {task.noise:g} grey levels",
        "distillation": ", ".join(f"{name} \u00d7 {weight}" for name, weight in terms),
        "epochs": ", ".join(f"{LABELS[name]} {epochs} ({s:.0f} s)" for name, (epochs, s) in trained.items()),
        "seed": str(workspace.seed),
        "time": time,
        "commands": "run in examples/host, in this order; python -m kd_plugin is kd",
    }


def _gaps(report: Report) -> str:
    direction = report.directions[0]
    shares = "; ".join(
        f"{LABELS[name]}: {', '.join(f'{measure.title} {gap_text(measure, key)}' for measure in columns(direction))}"
        for name, key in ((DISTILLED, "student2"), (COMPRESSED, "student3"))
    )
    return (
        f"{shares}. Improvement from the student alone (0%) to the teacher (100%); no gap: "
        "the teacher is not better than the student alone beyond the noise."
    )


def _names(photographs: Sequence[str], separator: str = ", ") -> str:
    return separator.join(Path(name).stem for name in photographs)


def _command(paths: Mapping[str, Path], pairs: Path, size: int, output: Path) -> str:
    words = ["python", "-m", "kd_plugin", "report"]
    for name, path in paths.items():
        words += ["--teacher" if name == TEACHER else "--student", os.path.relpath(path, HOST)]
    words += ["--pairs", os.path.relpath(pairs, HOST), "--preprocess", "crop", "--size", str(size), "--eval"]
    return shown([*words, "--no-fid", "--output", os.path.relpath(output, HOST)])
