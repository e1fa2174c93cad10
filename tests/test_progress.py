"""The progress line, in a file: each quarter of a phase, and every minute."""

from __future__ import annotations

import pytest

from kd_plugin import progress
from kd_plugin.progress import Phase, Progress


def test_a_long_phase_is_shown_every_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    line = Progress([Phase("training", 7200.0)])
    line.begin("training")
    for second in range(1, 301):
        now[0] = float(second)
        line.update(second / 7200, f"step {second}")
    shown = capsys.readouterr().err.splitlines()
    assert [text.split()[-1] for text in shown[1:]] == ["60", "120", "180", "240", "300"]
    assert "ETA 115:00" in shown[-1]


def test_a_short_phase_is_shown_by_quarters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress.time, "monotonic", lambda: 0.0)
    line = Progress([Phase("training", 8.0)])
    line.begin("training")
    for step in range(1, 9):
        line.update(step / 8, f"step {step}")
    assert [text.split()[-1] for text in capsys.readouterr().err.splitlines()[1:]] == ["2", "4", "6", "8"]
