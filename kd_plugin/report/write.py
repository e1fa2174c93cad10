"""Write a report to its folder, and say what was left out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files import write_text_atomically
from .build import build_report
from .page.document import Extra, write_page
from .results import Report
from .settings import Settings
from .store import NAME, Store

_LISTED = 5  # maximum number of images to name


def write_report(
    settings: Settings, folders: Mapping[str, Path | None], phase: str, direction: str | None, output: Path
) -> int:
    """Compute a report and write ``report.json`` and ``index.html``.

    Args:
        settings: what to report.
        folders: of images: ``images``, ``dataroot``, ``truth``, ``pairs``, ``real``.
        phase: part of the data set.
        direction: the direction, or None for those of the networks.
        output: folder of the report, created if missing.

    Returns:
        The exit status: 1 if images, networks or measures were left out, which standard error names, else 0.

    Raises:
        KDError: If there is nothing to compare, or the folder cannot be written.
    """
    with Store(output / NAME) as store:
        report = build_report(settings, folders, phase, direction, output, store)
    page = save_report(report, output)
    left_out = [problem for problem in report.problems if problem.fatal]
    for problem in left_out[:_LISTED]:
        print(f"kd report: {problem.what}: {problem.reason}", file=sys.stderr)
    if len(left_out) > _LISTED:
        print(f"kd report: and {len(left_out) - _LISTED} more, which the page lists", file=sys.stderr)
    print(page)
    return 1 if left_out else 0


def save_report(report: Report, output: Path, extras: Sequence[Extra] = ()) -> Path:
    """Write ``report.json`` and ``index.html``, and return the path of the latter.

    Args:
        report: the report. Its images are files below ``output``.
        output: the folder, created if missing.
        extras: further sections of the page.
    """
    output.mkdir(parents=True, exist_ok=True)
    write_text_atomically(output / "report.json", json.dumps(report.to_dict(), indent=2) + "\n")
    return write_page(report, output, extras)
