"""Notice a forgotten ``--model``: hosts then take CycleGAN, whose data and teachers are not those of pix2pix."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from ...errors import OptionError

__all__ = ["check_model"]

_NETS = {"pix2pix": ("G",), "cycle_gan": ("G_A", "G_B")}
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff", ".webp")


def check_model(opt: Namespace, nets: Sequence[str] | None, named: bool) -> None:
    """Check that the teacher and the data set are not those of the other of the two models.

    A host may read its data set from other folders than the family does, so these are looked at only where the
    command line names no model.

    Args:
        opt: the options, with a teacher that exists.
        nets: the generators that the model's class declares, if it does.
        named: whether ``--model`` is on the command line.

    Raises:
        OptionError: they are; the message names the model that takes them.
    """
    prefix = "distill_" if opt.model.startswith("distill_") else ""
    model = opt.model.removeprefix(prefix)
    if model not in _NETS:
        return
    other = next(name for name in _NETS if name != model)
    found = _teacher_of(opt, other, nets or _NETS[model], named) or ("" if named else _data_of(opt, other))
    if found:
        chosen = "" if named else ", the default"
        advice = f"--model {prefix}{other}?" if named else f"--model {prefix}{other}? (--model {opt.model} goes on)"
        raise OptionError(f"{found}, and this is --model {opt.model}{chosen}: {advice}")


def _teacher_of(opt: Namespace, other: str, nets: Sequence[str], named: bool) -> str:
    """Say that the teacher is for the other model, or return ""."""
    if not opt.teacher:
        return ""
    teacher = Path(opt.teacher).expanduser()
    file = f"{opt.teacher_epoch}_net_{_NETS[other][0]}.pth"
    if teacher.is_file():  # of a CycleGAN, one generator may teach a pix2pix
        single = other == "pix2pix" and not named and teacher.name.endswith("_net_G.pth")
        return f"--teacher {opt.teacher} is the one generator of a pix2pix" if single else ""
    there = {net for net in (*_NETS[other], *nets) if (teacher / f"{opt.teacher_epoch}_net_{net}.pth").is_file()}
    if there & set(nets) or not there:
        return ""
    file = ", ".join(f"{opt.teacher_epoch}_net_{net}.pth" for net in sorted(there))
    return f"--teacher {opt.teacher} holds {file}, as --model {other} saves"


def _data_of(opt: Namespace, other: str) -> str:
    """Say that the data set is for the other model, or return ""."""
    root = Path(opt.dataroot)
    pairs, sides = root / opt.phase, [root / f"{opt.phase}{side}" for side in "AB"]
    if other == "pix2pix" and opt.dataset_mode == "unaligned" and not sides[0].exists() and _has_pictures(pairs):
        return f"--dataroot {root} has {pairs.name}/, and no {sides[0].name}/: pairs, as pix2pix takes them"
    if (
        other == "cycle_gan"
        and opt.dataset_mode == "aligned"
        and not pairs.exists()
        and all(map(_has_pictures, sides))
    ):
        return f"--dataroot {root} has {sides[0].name}/ and {sides[1].name}/: pictures that are no pairs"
    return ""


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(entry.suffix.lower() in _PICTURES for entry in folder.iterdir())
