"""Emoji by name, and the split: pictures that are nearly the same are on one side.

The names of emoji pictures are their code points, in hexadecimal. Emoji that differ in skin tone, gender, hair or
direction only have the same :func:`kind`. ``near_duplicates.txt`` lists kinds with nearly the same picture, such as
hearts of all colours; ``near_duplicates.py`` found them. A :func:`group` is all of this together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

Emoji = tuple[int, ...]
Side = Literal["train", "val", "test"]

SIDES: tuple[Side, ...] = ("train", "val", "test")
NEAR_DUPLICATES = Path(__file__).with_name("near_duplicates.txt")
LARGEST = 24  # pictures of a held-out group, at most: one kind of picture would dominate a measurement

_PRESENTATION = {0xFE0F}  # asks for the coloured form, and is often left out
_JOINER = {0x200D}
_TONES = set(range(0x1F3FB, 0x1F400))
_GENDERS = {0x2640, 0x2642}
_HAIR = set(range(0x1F9B0, 0x1F9B4))
_DIRECTIONS = {0x27A1}
_IGNORED = _PRESENTATION | _JOINER | _TONES | _GENDERS | _HAIR | _DIRECTIONS
_PERSON, _CHILD, _OLD = 0x1F9D1, 0x1F9D2, 0x1F9D3
_FAMILY = 0x1F46A
_NEUTRAL = {
    **{0x1F468: _PERSON, 0x1F469: _PERSON},  # man, woman
    **{0x1F466: _CHILD, 0x1F467: _CHILD},
    **{0x1F474: _OLD, 0x1F475: _OLD},
    **{0x1F934: 0x1FAC5, 0x1F478: 0x1FAC5},  # prince, princess: person with crown
    **{0x1F385: 0x1F936},  # Santa Claus, Mrs Claus
    **{0x1F57A: 0x1F483},  # dancers
    **{0x1FAC3: 0x1F930, 0x1FAC4: 0x1F930},  # pregnant people
    **{0x1F46B: _FAMILY, 0x1F46C: _FAMILY, 0x1F46D: _FAMILY, 0x1F48F: _FAMILY, 0x1F491: _FAMILY},  # couples
    **dict.fromkeys(range(0x1F550, 0x1F568), 0x1F550),  # hours of a clock
    **dict.fromkeys(range(0x1F311, 0x1F319), 0x1F311),  # phases of the moon
}
_KEYCAP = 0x20E3


def parse(name: str) -> Emoji:
    """Return the code points in a name, without the presentation selector, which sets use differently.

    >>> [hex(point) for point in parse("0023-fe0f-20e3")]
    ['0x23', '0x20e3']

    Raises:
        ValueError: The name is not hexadecimal numbers with ``-`` or ``_`` between them.
    """
    points = tuple(int(point, 16) for point in re.split("[-_]", name))
    return tuple(point for point in points if point not in _PRESENTATION)


def file_name(emoji: Emoji) -> str:
    """Return the name of the picture of an emoji, without suffix.

    >>> file_name(parse("0023-fe0f-20e3"))
    '23-20e3'
    """
    return "-".join(f"{point:x}" for point in emoji)


def kind(emoji: Emoji) -> Emoji:
    """Return the emoji without skin tone, gender, hair and direction.

    All families and couples are one kind, and so are keycaps, clocks and moons.

    >>> kind(parse("1f469-1f3fd-200d-1f33e")) == kind(parse("1f9d1-200d-1f33e"))  # farmers
    True
    """
    points = tuple(_NEUTRAL.get(point, point) for point in emoji if point not in _IGNORED)
    if _FAMILY in points or sum(point in (_PERSON, _CHILD, _OLD) for point in points) > 1:
        return (_FAMILY,)
    if _KEYCAP in points:
        return (_KEYCAP,)
    return points or emoji


def read_groups() -> dict[Emoji, Emoji]:
    """Read the list of near duplicates, a group of kinds in each line; return the first of its line for each kind."""
    groups: dict[Emoji, Emoji] = {}
    for line in NEAR_DUPLICATES.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            first, *others = (parse(name) for name in line.split())
            groups.update((other, first) for other in (first, *others))
    return groups


def split(emoji: Iterable[Emoji], groups: dict[Emoji, Emoji]) -> dict[Emoji, Side]:
    """Divide emoji into train, val and test, 80, 10 and 10 of 100 groups, by a hash of the name of the group.

    Groups of more than ``LARGEST`` emoji are for training.
    """
    members: dict[Emoji, list[Emoji]] = {}
    for one in emoji:
        members.setdefault(group(one, groups), []).append(one)
    sides: dict[Emoji, Side] = {}
    for name, found in members.items():
        place = draw(name, "split")
        side: Side = "train" if place < 0.8 or len(found) > LARGEST else "val" if place < 0.9 else "test"
        sides.update((one, side) for one in found)
    return sides


def group(emoji: Emoji, groups: dict[Emoji, Emoji]) -> Emoji:
    """Return the emoji that stands for the group of this one."""
    return groups.get(kind(emoji), kind(emoji))


def draw(emoji: Emoji, purpose: str) -> float:
    """Return a number from 0 to below 1 that depends on the emoji and the purpose only."""
    digest = hashlib.sha256(f"{purpose} {file_name(emoji)}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
