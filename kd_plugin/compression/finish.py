"""The end of a compression: checkpoints, the choice among them, records, and the report."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..networks.checkpoint import read_state_dict, save_weights
from ..networks.taps import unwrap
from ..networks.translator import Translator
from ..progress import Phase
from ..report.build import build_report
from ..report.experiments import Experiment
from ..report.inputs import Item
from ..report.networks import LoadedFile
from ..report.results import Problem
from ..report.settings import Settings
from ..report.store import NAME, Store
from ..report.write import save_report
from .facts import facts_of, how_taught
from .outputs import CHOICES, checkpoint, write_record
from .page import Entry, extras
from .prepare import Prepared
from .selection import Candidate, Selection, select
from .validation import Best

_UNMEASURED = "ema"  # the weights without held-out images


def finish(
    prepared: Prepared,
    names: Sequence[str],
    bests: Mapping[str, Best],
    items: Sequence[Item],
    teacher: Translator | None,
    done: int,
    problems: Sequence[Problem],
    before: Sequence[Phase] = (),
    choosing: Callable[[float], None] = lambda done: None,
) -> dict[str, Selection]:
    """Write the weights of the students, choose among them, and write records and the report.

    Args:
        prepared: the compression.
        names: the students that are left.
        bests: their weights of highest validation PSNR.
        items: the held-out images.
        teacher: its translator; None if the items have its images.
        done: number of completed steps.
        problems: what was left out.
        before: phases of the progress line before the report.
        choosing: called with the completed fraction of the choice.

    Returns:
        The choices by student; empty without held-out images.
    """
    settings = prepared.settings
    steps = {name: _save(prepared, name, bests[name], done) for name in names}
    selections: dict[str, Selection] = {}
    with Store(settings.output / NAME) as store:
        if items:
            candidates = [
                Candidate(name, prepared.folders[name], prepared.trainers[name].distiller.student) for name in names
            ]
            selections = select(
                candidates,
                teacher,
                items,
                prepared.preprocessing,
                store,
                steps,
                mode=settings.student_mode,
                device=prepared.device,
                progress=choosing,
            )
        choosing(1.0)
        for name in names:
            folder, selection = prepared.folders[name], selections.get(name)
            chosen = selection.chosen if selection else _UNMEASURED
            temporary = folder / ".latest_net_G.pth"
            shutil.copyfile(checkpoint(folder, chosen), temporary)
            temporary.replace(checkpoint(folder, "latest"))
            described = selection.to_dict() if selection else {"chosen": chosen, "why": "no image was held out"}
            student = prepared.trainers[name].distiller.student
            request = prepared.students[name].request
            write_record(folder, student, request, prepared.teacher, how_taught(prepared, name, done), described)
        _report(prepared, names, bests, items, selections, store, problems, before)
    return selections


def _save(prepared: Prepared, name: str, best: Best, done: int) -> dict[str, int]:
    """Write the last, best and averaged weights of a student; return the step of each."""
    trainer, folder = prepared.trainers[name], prepared.folders[name]
    last = unwrap(trainer.distiller.student).state_dict()
    weights = {"last": last, "best": best.weights or last, "ema": trainer.average.weights}
    for epoch in CHOICES:
        save_weights(weights[epoch], checkpoint(folder, epoch))
    return {"last": done, "best": best.step or done, "ema": done}


def _report(
    prepared: Prepared,
    names: Sequence[str],
    bests: Mapping[str, Best],
    items: Sequence[Item],
    selections: Mapping[str, Selection],
    store: Store,
    problems: Sequence[Problem],
    before: Sequence[Phase],
) -> None:
    """Write the page: the report of the held-out images, with the choices and the curves."""
    settings, direction = prepared.settings, prepared.direction
    files = {name: checkpoint(prepared.folders[name], "latest") for name in names}
    of_files = {file: name for name, file in files.items()}

    def load(file: Path) -> LoadedFile:
        if file not in of_files:
            return prepared.load(file)
        network = copy.deepcopy(unwrap(prepared.trainers[of_files[file]].distiller.student))
        network.load_state_dict(read_state_dict(file))
        return LoadedFile(network, getattr(network, "spec", None))

    taught_by = prepared.teacher.experiment
    own = dict(zip([direction], taught_by.files.values(), strict=False))  # none for finished images
    teacher = replace(taught_by, files=own, mode=settings.teacher_mode)
    alone = settings.output.resolve().name
    students = [Experiment(file, "student", name or alone, {direction: file}) for name, file in files.items()]
    shown = items or prepared.data.training[:1]
    wanted = Settings(
        experiments=(teacher, *students),
        preprocessing=prepared.preprocessing,
        sections=("cost", "quality", "frequency", "samples") if items else ("cost", "samples"),
        load=load,
        mode=settings.student_mode,
        device=prepared.device,
        title=alone,
        distances=False,
        sizes=(prepared.preprocessing.crop_size,),
        names=frozenset(item.name for item in shown),
        command=settings.command,
        before=tuple(before),
    )
    folders = {"images": settings.images, "pairs": settings.pairs, "dataroot": None, "truth": None, "real": None}
    report = build_report(wanted, folders, "train", direction, settings.output, store)
    report = replace(
        report,
        settings={**facts_of(prepared), **report.settings},
        problems=tuple(problems),
        texts=tuple(f"{name}{': ' if name else ''}{found.why}." for name, found in selections.items()),
    )
    keys = {name: f"student{number + 1}" for number, name in enumerate(names)}
    entries = [
        Entry(
            keys[name],
            name or alone,
            "student",
            folder=prepared.folders[name],
            validation=bests[name].over_images(prepared.images_of_step),
            epoch_length=prepared.samples.epoch_length,
        )
        for name in names
    ]
    chosen = {keys[name]: selection for name, selection in selections.items()}
    save_report(report, settings.output, extras(entries, chosen))
