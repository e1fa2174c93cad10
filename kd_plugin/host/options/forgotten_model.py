"""Detect a forgotten ``--model``: hosts default to CycleGAN, whose data and teachers differ from pix2pix's."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from ...errors import OptionError
from ..repository.family import PICTURE_EXTENSIONS, HostModel, families, family_of


def check_model(opt: Namespace, nets: Sequence[str] | None, named: bool) -> None:
    """Raise an :class:`OptionError` if the teacher or the data set belongs to another model of the host's family.

    Args:
        opt: options, with a teacher that exists.
        nets: generators declared by the model's class, or None.
        named: whether ``--model`` is on the command line; then the layout of the data set, which may differ between
            hosts, is not checked.
    """
    prefix = "distill_" if opt.model.startswith("distill_") else ""
    model = opt.model.removeprefix(prefix)
    own = family_of(opt)
    if own and own.identified_by and model not in own.models and not nets:
        raise OptionError(
            f"--model {opt.model}: of {own.name}, only {' and '.join(own.models)} are distilled, unless the model's "
            f"class names its generators and their images in distill_pairs"
        )
    known = next((family.models for family in families() if model in family.models and family.has_options(opt)), {})
    for name, other in known.items():
        if name == model:
            continue
        taken = nets or [pair.net for pair in known[model].pairs]
        found = _teacher_of(opt, name, other, taken, named) or ("" if named else _data_of(opt, name, other))
        if found:
            chosen = "" if named else ", the default"
            kept = "" if named else f", or confirm --model {opt.model}"
            raise OptionError(f"{found}, but this is --model {opt.model}{chosen}: give --model {prefix}{name}{kept}")


def _teacher_of(opt: Namespace, name: str, other: HostModel, nets: Sequence[str], named: bool) -> str:
    """Return why the teacher belongs to another model than that of the generators ``nets``, or ""."""
    if not opt.teacher:
        return ""
    teacher = Path(opt.teacher).expanduser()
    others = [pair.net for pair in other.pairs]
    if teacher.is_file():  # a generator of a CycleGAN may teach a pix2pix
        single = len(others) == 1 and others[0] not in nets and teacher.name.endswith(f"_net_{others[0]}.pth")
        return f"--teacher {opt.teacher} is the generator of a {name}" if single and not named else ""
    there = {net for net in (*others, *nets) if (teacher / f"{opt.teacher_epoch}_net_{net}.pth").is_file()}
    if there & set(nets) or not there:
        return ""
    file = ", ".join(f"{opt.teacher_epoch}_net_{net}.pth" for net in sorted(there))
    return f"--teacher {opt.teacher} contains {file}, as saved by --model {name}"


def _data_of(opt: Namespace, name: str, other: HostModel) -> str:
    """Return why the data set belongs to another model, or ""."""
    root = Path(opt.dataroot)
    pairs, sides = root / opt.phase, [root / f"{opt.phase}{side}" for side in "AB"]
    modes = (opt.dataset_mode, other.dataset_mode)
    if modes == ("unaligned", "aligned") and not sides[0].exists() and _has_images(pairs):
        return f"--dataroot {root} has {pairs.name}/, but no {sides[0].name}/: paired images, as for {name}"
    if modes == ("aligned", "unaligned") and not pairs.exists() and all(map(_has_images, sides)):
        return f"--dataroot {root} has {sides[0].name}/ and {sides[1].name}/: unpaired images"
    return ""


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and any(entry.suffix.lower() in PICTURE_EXTENSIONS for entry in folder.iterdir())
