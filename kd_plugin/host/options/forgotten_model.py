"""Notice a forgotten ``--model``: hosts then take CycleGAN, whose data and teachers are not those of pix2pix."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from ...errors import OptionError
from ..repository.family import HostModel, families

__all__ = ["check_model"]

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff", ".webp")


def check_model(opt: Namespace, nets: Sequence[str] | None, named: bool) -> None:
    """Check that the teacher and the data set are not those of another model of the same kind of host.

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
    known = next((family.models for family in families() if model in family.models), {})
    for name, other in known.items():
        if name == model:
            continue
        taken = nets or [pair.net for pair in known[model].pairs]
        found = _teacher_of(opt, name, other, taken, named) or ("" if named else _data_of(opt, name, other))
        if found:
            chosen = "" if named else ", the default"
            advice = f"--model {prefix}{name}?" if named else f"--model {prefix}{name}? (--model {opt.model} goes on)"
            raise OptionError(f"{found}, and this is --model {opt.model}{chosen}: {advice}")


def _teacher_of(opt: Namespace, name: str, other: HostModel, nets: Sequence[str], named: bool) -> str:
    """Say that the teacher is for another model than the one of generators ``nets``, or return ""."""
    if not opt.teacher:
        return ""
    teacher = Path(opt.teacher).expanduser()
    others = [pair.net for pair in other.pairs]
    if teacher.is_file():  # of a CycleGAN, one generator may teach a pix2pix
        single = len(others) == 1 and others[0] not in nets and teacher.name.endswith(f"_net_{others[0]}.pth")
        return f"--teacher {opt.teacher} is the one generator of a {name}" if single and not named else ""
    there = {net for net in (*others, *nets) if (teacher / f"{opt.teacher_epoch}_net_{net}.pth").is_file()}
    if there & set(nets) or not there:
        return ""
    file = ", ".join(f"{opt.teacher_epoch}_net_{net}.pth" for net in sorted(there))
    return f"--teacher {opt.teacher} holds {file}, as --model {name} saves"


def _data_of(opt: Namespace, name: str, other: HostModel) -> str:
    """Say that the data set is for another model, or return ""."""
    root = Path(opt.dataroot)
    pairs, sides = root / opt.phase, [root / f"{opt.phase}{side}" for side in "AB"]
    modes = (opt.dataset_mode, other.dataset_mode)
    if modes == ("unaligned", "aligned") and not sides[0].exists() and _has_pictures(pairs):
        return f"--dataroot {root} has {pairs.name}/, and no {sides[0].name}/: pairs, as {name} takes them"
    if modes == ("aligned", "unaligned") and not pairs.exists() and all(map(_has_pictures, sides)):
        return f"--dataroot {root} has {sides[0].name}/ and {sides[1].name}/: pictures that are no pairs"
    return ""


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(entry.suffix.lower() in _PICTURES for entry in folder.iterdir())
