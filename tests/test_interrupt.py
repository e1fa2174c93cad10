"""Ctrl-C in a host's script: the step finishes, everything is saved, and one line reports it."""

from __future__ import annotations

import gc
import os
import signal
import threading
from pathlib import Path

import pytest
import torch
from helpers.commands import LAUNCH, Forked, environment
from helpers.hosts import FORMS, HOSTS, host_arguments

from kd_plugin import GeneratorSpec
from kd_plugin.networks.generator import build_generator
from kd_plugin.training.interrupt import Interruption

PLACES = [HOSTS[FORMS.index("2025")], *HOSTS[len(FORMS) :]]


@pytest.mark.parametrize("place", PLACES)
def test_ends_a_training_between_two_steps(place: tuple[Path, str], images: Path, tmp_path: Path) -> None:
    """With workers that load data, which get the signal as well."""
    folder, form = place
    (tmp_path / "big").mkdir()
    spec = GeneratorSpec("resnet", 3, 3, 4, 6, "instance", False, True)
    torch.save(build_generator(spec).state_dict(), tmp_path / "big" / "latest_net_G.pth")
    command = (
        f"kd run train.py --dataroot {images}/paired --model pix2pix --checkpoints_dir {tmp_path} --name small "
        f"--ndf 4 --n_epochs 9999 --n_epochs_decay 0 --save_epoch_freq 9999 --print_freq 1 --no_html --load_size 32 "
        f"--crop_size 32 --num_threads 2 --distill pixel --teacher {tmp_path}/big --student_ngf 3"
    ).split()
    reading, writing = os.pipe()
    with open(reading) as said:
        with open(writing, "w") as output:
            process = Forked([LAUNCH, *command, *host_arguments(folder, form)["train"]], folder,
                             environment(form, PYTHONUNBUFFERED="1"), output)  # fmt: skip
        for line in said:
            if "epoch: 2," in line.replace("(", ""):
                break
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to all
        out = said.read()
    ended = process.finish(60)
    assert ended.returncode == 128 + signal.SIGINT
    assert "Traceback" not in ended.stderr and out.count("[distill] stopped in epoch ") == 1
    assert "steps and saved: --continue_train resumes" in out.splitlines()[-1]
    state = torch.load(tmp_path / "small" / "latest_distill_state.pth", weights_only=True)
    assert state["epoch"] >= 2 and (tmp_path / "small" / "latest_net_G.pth").is_file()


@pytest.fixture
def handlers():  # type: ignore[no-untyped-def]
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Owner:
    pass


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_are_noted_once_and_given_back(self, handlers: None, number: signal.Signals) -> None:
        owner, interruption = Owner(), Interruption()
        interruption.watch(owner)
        assert interruption.asked is None
        signal.raise_signal(number)
        assert interruption.asked == number
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # the next one is Python's
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    def test_are_given_back_with_their_owner(self, handlers: None) -> None:
        owner, interruption = Owner(), Interruption()
        interruption.watch(owner)
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        del owner
        gc.collect()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_of_somebody_else_are_left_alone(self, handlers: None) -> None:
        own = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        Interruption().watch(Owner())
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.signal(signal.SIGINT, own)
        thread = threading.Thread(target=lambda: Interruption().watch(Owner()))
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGINT) is own
