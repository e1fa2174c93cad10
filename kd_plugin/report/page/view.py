"""What the sections of the page share: a direction, and labels and colours of its subjects."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dominate import tags

from ..results import Direction, Report, Role, Subject

# For light and dark backgrounds.
_ROLES: dict[Role, tuple[str, str]] = {
    "input": ("#a3aab6", "#6a7280"),
    "teacher": ("#2f5d8a", "#6fa3d6"),
    "truth": ("#4a4f5a", "#d5d9e0"),
    "real": ("#8a5a3c", "#c99a78"),
}
_STUDENTS = (
    ("#2a9d6f", "#48c18f"),
    ("#e0a13a", "#e8b358"),
    ("#b5483f", "#e5776c"),
    ("#7b5ea7", "#a98bd8"),
    ("#2390a8", "#52bfd6"),
    ("#c2608d", "#e58ab5"),
    ("#7c8030", "#b6bb55"),
)
_GOLDEN_ANGLE = 137.508


@dataclass(frozen=True)
class View:
    """A direction as the page shows it.

    Attributes:
        direction: the results.
        number: position of the direction in the report, from 0, for ids that are unique in the page.
        colours: number of the CSS colour by key of the subject.
    """

    direction: Direction
    number: int
    colours: dict[str, int]

    def id(self, name: str) -> str:
        """Return an id that is unique in the page."""
        return f"d{self.number}-{name}"

    def sample_id(self, position: int) -> str:
        """Return the id of a sample, from its position in the direction."""
        return self.id(f"s{position}")

    @property
    def teacher(self) -> Subject | None:
        """The first teacher."""
        return next((subject for subject in self.direction.subjects if subject.role == "teacher"), None)

    @property
    def students(self) -> list[Subject]:
        """The students, in order."""
        return [subject for subject in self.direction.subjects if subject.role == "student"]

    def subject(self, key: str) -> Subject | None:
        """Return the subject of this key."""
        return next((subject for subject in self.direction.subjects if subject.key == key), None)

    def label(self, key: str) -> str:
        """Return the name of a subject for the reader: its key, if it has no other."""
        subject = self.subject(key)
        return (subject.label or subject.key) if subject else key

    def order(self, keys: Collection[str]) -> list[str]:
        """Return these keys in the order of the subjects, unknown ones last."""
        known = [subject.key for subject in self.direction.subjects if subject.key in keys]
        return known + [key for key in keys if key not in known]

    def colour(self, key: str) -> str:
        """Return the CSS colour of a subject."""
        return f"var(--_s{self.colours[key]})" if key in self.colours else "currentColor"

    def name(self, key: str) -> Any:
        """Add the name of a subject with a dot of its colour."""
        with tags.span(cls="name") as element:
            tags.span(cls="dot", style=f"background:{self.colour(key)}")
            tags.span(self.label(key))
        return element

    def legend(self, keys: Collection[str]) -> None:
        """Add the names of these subjects."""
        with tags.p(cls="legend"):
            for key in keys:
                self.name(key)


def views(report: Report) -> list[View]:
    """Return a view per direction; a subject has the same colour in all."""
    colours = {key: number for number, key in enumerate(_subjects(report))}
    return [View(direction, number, colours) for number, direction in enumerate(report.directions)]


def colour_style(report: Report) -> str:
    """Return the CSS that defines the colours of all subjects, for any number of students."""
    light, dark, students = [], [], 0
    for number, role in enumerate(_subjects(report).values()):
        pair = _ROLES.get(role) or _student_colour(students)
        students += role not in _ROLES
        light.append(f"--_s{number}:{pair[0]}")
        dark.append(f"--_s{number}:{pair[1]}")
    return f":root{{{';'.join(light)}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{';'.join(dark)}}}}}"


def url(path: str) -> str:
    """Return the relative URL of a path in the report's folder.

    >>> url("images/<a> #1 100%?.png"), url("c:x.png")
    ('images/%3Ca%3E%20%231%20100%25%3F.png', 'c%3Ax.png')
    """
    return quote(os.fsencode(path))


def _subjects(report: Report) -> dict[str, Role]:
    return {subject.key: subject.role for direction in report.directions for subject in direction.subjects}


def _student_colour(number: int) -> tuple[str, str]:
    if number < len(_STUDENTS):
        return _STUDENTS[number]
    hue = number * _GOLDEN_ANGLE % 360
    return f"hsl({hue:.0f} 50% 42%)", f"hsl({hue:.0f} 55% 66%)"
