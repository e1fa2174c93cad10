"""``kd compress --training``: compress all generators of a finished training, and put the students together."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..compression.trained import FILE, FOLDER, Trained, assemble, compression_folder, student_folder, teacher_file
from ..compression.wishes import Wish
from ..errors import OptionError
from ..host.repository.family import network_options
from ..processes import say
from .compress_losses import losses_of, without_effect
from .compress_run import run as run_one
from .compress_run import student_texts, wishes_of, without_sizes

_REPORT = "report.json"  # written at the end of a compression


def run(options: argparse.Namespace) -> int:
    """Compress what is not compressed yet; return the exit status of a compression that failed or was stopped."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise OptionError(f"--training {options.training}: runs in one process, without torchrun")
    folder = Path(options.training).expanduser()
    trained = Trained.read(folder)
    if trained is None:
        raise OptionError(
            f"--training {folder}: has no {FOLDER}/{FILE}, which kd run train.py --compress writes: name a generator "
            "and its images instead"
        )
    texts = student_texts(options)
    if texts == [""]:
        raise OptionError(f"--training {folder}: name the students, such as --macs 7x,16x")
    wishes = wishes_of(options)
    losses_of(options, wishes)  # raises an error for all students, before any is begun
    by_name = {wish.name: (wish, text) for wish, text in zip(wishes, texts, strict=True)}
    trained.check_teachers(folder)
    status = 0
    sets = trained.missing_sets(list(by_name), folder)
    for names in sets:
        if names not in trained.sets:
            trained = replace(trained, sets=[*trained.sets, names])
            trained.write(folder)
        of_set = _of_students(options, [by_name[name] for name in names])
        for net in trained.generators:
            ended = _compress(of_set, folder, trained, net, names)
            if ended > 1 or not (compression_folder(folder, net, names) / _REPORT).is_file():
                return ended
            status = max(status, ended)
        assemble(folder, trained, names, network_options())
    for name in by_name:
        target = student_folder(folder, name)
        if trained.is_finished(folder, name):
            say(f"{target}: {', '.join(sorted(file.name for file in target.glob('latest_net_*.pth')))}")
            if trained.test:
                say(trained.test.replace(student_folder(folder, "SIZE").name, target.name))
        else:
            print(f"kd compress: there is no {target}: its training failed", file=sys.stderr)
            status = max(status, 1)
    return status


def _of_students(options: argparse.Namespace, students: Sequence[tuple[Wish, str]]) -> argparse.Namespace:
    """Return the options for some of the students: without those that concern only the losses of others."""
    others = without_effect(options, [wish for wish, _ in students])
    values = {**vars(options), **dict.fromkeys(others), **without_sizes([text for _, text in students])}
    return argparse.Namespace(**values)


def _compress(options: argparse.Namespace, folder: Path, trained: Trained, net: str, names: Sequence[str]) -> int:
    """Compress a generator, or continue to; return the exit status."""
    output = compression_folder(folder, net, names)
    if (output / _REPORT).is_file() and not options.fresh:
        say(f"{net} is compressed to {' and '.join(names)}: {output / 'index.html'}")
        return 0
    generator = trained.generators[net]
    say(f"compressing {net} to {' and '.join(names)}, on its inputs of {generator.inputs}")
    values = {
        **vars(options),
        "teacher": str(teacher_file(folder, net)),
        "pairs" if generator.pairs else "images": generator.inputs,
        "lambda_L1": 0.0,  # the inputs alone
        "direction": generator.direction,
        "preprocess": options.preprocess or trained.preprocess,
        "load_size": options.load_size or trained.load_size,
        "size": options.size or trained.crop_size,
        "no_flip": options.no_flip or trained.no_flip,
        "output": str(output),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    return run_one(argparse.Namespace(**values))
