"""The settings of a training and its saved state, from which it continues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, first_line
from ..files import write_atomically
from ..training.saving import clear_save_errors

STATE = "compress_state.pth"
_FORMAT = 3


@dataclass(frozen=True)
class Plan:
    """The settings of a training, which a resumed one must share.

    Attributes:
        steps: number of steps; None for as many as fit in ``seconds``.
        seconds: duration of the training, if it determines the number of steps.
        batch: number of images of a step and process.
        seed: of the networks' dropout; that of the images is the samples'.
        settings: everything else that determines the result, by name, such as the teacher's digest and the terms.
    """

    steps: int | None
    seconds: float | None = None
    batch: int = 1
    seed: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)


def write_state(folder: Path, plan: Plan, content: Mapping[str, Any]) -> None:
    """Write the state of a training to its folder.

    Raises:
        HostError: If the disk is full or read-only.
    """
    saved = {"format": _FORMAT, "plan": {**asdict(plan), "settings": dict(plan.settings)}, **content}
    with clear_save_errors(folder, "the training"):
        write_atomically(folder / STATE, lambda file: torch.save(saved, file), durable=True)


def read_state(folder: Path, plan: Plan) -> dict[str, Any] | None:
    """Return the state in a folder, or None if there is none; files of an interrupted save are removed.

    Raises:
        CheckpointError: If it cannot be read, or is of a training with other settings; the message names the first.
    """
    file = folder / STATE
    for rest in folder.glob(f".{STATE}.*"):
        rest.unlink(missing_ok=True)
    if not file.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if state.pop("format") != _FORMAT:
            raise ValueError("written by another version of kd_plugin")
    except Exception as error:  # damaged bytes raise anything
        raise CheckpointError(
            f"{file}: cannot be read ({first_line(error, 100)}); delete it to begin again"
        ) from error
    _check_plan(state["plan"], plan, folder)
    return state


def _check_plan(saved: Mapping[str, Any], plan: Plan, folder: Path) -> None:
    # The settings first: the number of steps may follow from that of the images.
    before = {**saved["settings"], **saved}
    now = {**plan.settings, **asdict(plan)}
    for name in [name for name in {**before, **now} if name != "settings"]:
        if before.get(name) != now.get(name):
            raise CheckpointError(
                f"{folder} has a training with {name} {before.get(name)}, not {now.get(name)}: continue it with the "
                "same settings, begin afresh, or name another folder"
            )
