"""Drive a page in a headless browser, without packages: a script in a copy of the page reports on the console.

The browser logs its console to standard error. A probe ends with ``report(value)``; then the browser is stopped.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for path in map(shutil.which, NAMES) if path), None)
_SECONDS = 60.0
_TOOLS = """
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const until = async (condition) => {
  for (let i = 0; i < 1000; i += 1) { if (condition()) return true; await sleep(10); }
  return false;
};
const report = (value) => console.log("KD-PROBE " + JSON.stringify(value));
"""


@dataclass(frozen=True)
class Visit:
    """What a probe reported, and all other lines of the console."""

    value: Any
    console: list[str]


def visit(page: Path, probe: str, profile: Path, *, width: int = 1280, server: str = "") -> Visit:
    """Open a copy of the page with a probe, the body of an asynchronous function, in a window or frame of a width.

    The page is a file, unless a ``server`` of its folder is given by its address.
    """
    text = page.read_text(encoding="utf-8")
    script = f"<script>(async () => {{{_TOOLS}{probe}}})().catch((error) => console.error(String(error)));</script>"
    copy = page.with_name("probe.html")
    copy.write_text(text.replace("</body>", f"{script}</body>"), encoding="utf-8")
    if width < 500:  # the least width of a window
        frame = page.with_name("frame.html")
        style = f"border:0;width:{width}px;height:800px"
        frame.write_text(
            f'<body style="margin:0"><iframe src="probe.html" style="{style}"></iframe>', encoding="utf-8"
        )
        copy = frame
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    command = [str(BROWSER), *options, "--enable-logging=stderr", f"--user-data-dir={profile}"]
    address = f"{server}/{copy.name}" if server else copy.as_uri()
    command += [f"--window-size={max(width, 500)},900", "--remote-debugging-port=0", address]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as browser:
        try:
            return _listen(browser)
        finally:
            os.killpg(browser.pid, signal.SIGKILL)


def _listen(browser: subprocess.Popen[bytes]) -> Visit:
    """Read the console until the probe reports or fails."""
    assert browser.stderr is not None
    log, deadline = b"", time.monotonic() + _SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(browser.stderr, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not selector.select(timeout=0.5):
                continue
            block = os.read(browser.stderr.fileno(), 1 << 16)
            log += block
            lines = re.findall(r':CONSOLE:\d+\] "(.*)", source: ', log.decode("utf-8", "replace"))
            reported = [line for line in lines if line.startswith("KD-PROBE ")]
            if reported:
                others = [line for line in lines if line not in reported]
                return Visit(json.loads(reported[0].removeprefix("KD-PROBE ")), others)
            if not block:
                break
    raise AssertionError(f"the probe did not report; the browser printed:\n{log.decode('utf-8', 'replace')}")
