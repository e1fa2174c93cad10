"""A forked command behaves like the same command line of ``python``."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from helpers.commands import Forked, environment, python, run

pytestmark = pytest.mark.slow

SHOWN = """import os, sys
print(sys.argv, sys.path, os.getcwd(), sorted(os.environ.items()))
print(__name__, sorted(globals()), __spec__ and __spec__.name, __package__, type(__loader__))
"""
PROGRAMS = {
    "shows.py": SHOWN + "print(__file__, sys.modules['__main__'].os is os)\n",
    "status.py": "import sys\nprint('so')\nsys.exit(3)\n",
    "text.py": "import sys\nsys.exit('so it is')\n",
    "no_status.py": "import sys\nsys.exit()\n",
    "raises.py": "def deeper():\n    raise ValueError('so')\ndeeper()\n",
    "bad_syntax.py": "def f(:\n",
    "interrupted.py": "import signal\nsignal.raise_signal(2)\n",
    "killed.py": "import os, signal\nprint('lost')\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "leaves.py": "import os\nprint('lost')\nos._exit(9)\n",
    "at_exit.py": "import atexit, sys\natexit.register(lambda: print(sys.last_value))\n1 / 0\n",
    "hooked.py": "import sys\ndef hook(kind, *more):\n    sys.exit(str(kind))\nsys.excepthook = hook\n1 / 0\n",
    "threads.py": "import threading, time\nthreading.Timer(0.1, print, ['end']).start()\n",
    "workers.py": "import multiprocessing\nprint(multiprocessing.Pool(2).map(abs, [-1, 2]))\n",
}  # fmt: skip


@pytest.mark.parametrize("how", [*PROGRAMS, "-m", "-c"])
def test_prints_and_ends_as_under_python(how: str, tmp_path: Path) -> None:
    for name, text in {"module.py": SHOWN, **PROGRAMS}.items():
        (tmp_path / name).write_text(text)
    command = [how, {"-m": "module", "-c": SHOWN}.get(how, "argument"), "--option", "1"]
    forked, plain = run(command, tmp_path), python(command, tmp_path)
    assert forked.stdout == plain.stdout and forked.stderr == plain.stderr
    assert forked.returncode == plain.returncode


def test_one_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    program = "import time; time.sleep(60)"
    process = Forked(["-c", program], tmp_path, environment())
    with pytest.raises(subprocess.TimeoutExpired):
        process.finish(0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)


def test_has_one_thread_and_random_numbers_of_its_own(tmp_path: Path) -> None:
    program = "import random, torch; print(random.random(), torch.get_num_threads())"
    (first, one), (second, other) = (run(["-c", program], tmp_path).stdout.split() for _ in range(2))
    assert first != second and one == other == "1"
