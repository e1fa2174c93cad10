"""The times of a teacher and its students on a device, as ``device.json`` has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..files import write_text_atomically
from ..networks.generator import GeneratorSpec
from ..version import __version__

# What whoever measures begins with, so that the format has one source.
HEADER: Mapping[str, Any] = {"format": 1, "kd_plugin": __version__}
_TEXTS = ("kd_plugin", "runtime", "user_agent", "date")
_SIDES = ("width", "height")
_KEYS = {"format", *_TEXTS, *_SIDES, "teacher", "students"}
_LONGEST_TEXT = 1000  # characters
_LONGEST_TIME = 3600.0  # seconds


@dataclass(frozen=True)
class Timed:
    """A generator and its time for one image, in seconds."""

    spec: GeneratorSpec
    seconds: float


@dataclass(frozen=True)
class DeviceTimes:
    """Content of ``device.json``.

    Attributes:
        width, height: of the image in pixels.
        runtime: that was measured in, with its threads.
        user_agent: the browser and the device, as it names itself.
        date: of the measurement, in ISO 8601.
        teacher: the teacher.
        students: the students, at least one.
        kd_plugin: the version that wrote the page.
    """

    width: int
    height: int
    runtime: str
    user_agent: str
    date: str
    teacher: Timed
    students: tuple[Timed, ...]
    kd_plugin: str = __version__

    @classmethod
    def read(cls, file: Path) -> DeviceTimes:
        """Read a file.

        Raises:
            ArgumentError: If it is missing, unreadable or not valid.
        """
        try:
            return cls.from_json(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ArgumentError(f"{file}: no such file: the page of kd plan measures a device") from None
        except OSError as error:
            raise ArgumentError(f"{file}: cannot be read ({error.strerror or error})") from error
        except ValueError as error:
            reason = "not UTF-8" if isinstance(error, UnicodeError) else error
            raise ArgumentError(f"{file}: no file of the times on a device: {reason}") from error

    @classmethod
    def from_json(cls, text: str) -> DeviceTimes:
        """Return the content of a file, which is not trusted.

        Raises:
            ArgumentError: If it is not valid.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArgumentError(f"not JSON ({error})") from error
        if not isinstance(content, dict) or "format" not in content:
            raise ArgumentError("it has no format")
        if content["format"] != HEADER["format"]:
            raise ArgumentError(f"its format is of another version of kd_plugin, expected {HEADER['format']}")
        if content.keys() != _KEYS:
            name = sorted(content.keys() ^ _KEYS)[0]
            raise ArgumentError(f"{name[:80]!r} is {'missing' if name in _KEYS else 'unknown'}")
        for name in _TEXTS:
            value = content[name]
            if not isinstance(value, str) or not value.isprintable() or len(value) > _LONGEST_TEXT:
                raise ArgumentError(f"its {name} is not valid")
        for name in _SIDES:
            if type(content[name]) is not int or content[name] < 1:
                raise ArgumentError(f"its {name} is not valid")
        students = content["students"]
        if not isinstance(students, list) or not students:
            raise ArgumentError("it has no students")
        timed = tuple(map(_timed, students))
        if len({student.spec for student in timed}) < len(timed):
            raise ArgumentError("it has a student twice")
        given = {name: content[name] for name in (*_TEXTS, *_SIDES)}
        return cls(**given, teacher=_timed(content["teacher"]), students=timed)

    def write(self, file: Path) -> None:
        """Write a file, atomically."""
        content = {
            **HEADER,
            **{name: getattr(self, name) for name in (*_TEXTS, *_SIDES)},
            "teacher": _as_json(self.teacher),
            "students": [_as_json(student) for student in self.students],
        }
        write_text_atomically(file, json.dumps(content, indent=2) + "\n")

    def alike(self, spec: GeneratorSpec) -> list[Timed]:
        """Return the students that differ from a description in their width alone, of the architecture's widths."""
        wanted = _as_timed(spec)
        return [
            student
            for student in self.students
            if _as_timed(student.spec) == replace(wanted, ngf=student.spec.ngf, widths=None)
        ]

    def check_teacher(self, teacher: GeneratorSpec, file: Path) -> None:
        """Raise an :class:`ArgumentError` if the times are of another teacher; its message names the file."""
        measured, given = _as_timed(self.teacher.spec).to_dict(), _as_timed(teacher).to_dict()
        names = [name for name in given if name not in ("architecture", "depth")]  # netG tells them
        differing = [f"{name} {measured[name]}, not {given[name]}" for name in names if measured[name] != given[name]]
        if differing:
            raise ArgumentError(
                f"{file}: has the times for another teacher ({'; '.join(differing)}): measure this one's students"
            )


def _timed(content: object) -> Timed:
    if not isinstance(content, dict) or content.keys() != {"spec", "seconds"}:
        raise ArgumentError("a generator has no spec and seconds")
    seconds = content["seconds"]
    if type(seconds) not in (int, float) or not 0 < seconds <= _LONGEST_TIME:
        raise ArgumentError(f"a time is no number of seconds between 0 and {_LONGEST_TIME:g}")
    return Timed(GeneratorSpec.from_dict(content["spec"]), float(seconds))


def _as_timed(spec: GeneratorSpec) -> GeneratorSpec:
    """Return a description without dropout, which takes no time in a test, and which not every file shows."""
    return replace(spec, dropout=None)


def _as_json(timed: Timed) -> dict[str, Any]:
    return {"spec": timed.spec.to_dict(), "seconds": timed.seconds}
