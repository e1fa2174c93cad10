"""Shared fixtures: small data sets, models of a host, and teachers."""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from helpers import commands
from helpers.hosts import HOSTS, imported_host
from helpers.images import paint

from kd_plugin import GeneratorSpec
from kd_plugin.networks.generator import build_generator

# A shell lets what it runs in the background ignore Ctrl-C, and children would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_TRAINING = {"images", "models"}  # fixtures of tests that train a host


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that train a host as slow."""
    for item in items:
        if _TRAINING.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Allow commands in slow tests only."""
    commands.allowed = item.get_closest_marker("slow") is not None


@pytest.fixture(scope="session", autouse=True)
def operators_are_read_once() -> Iterator[None]:
    """Keep the operators of the ONNX exporter: for a small file it takes most of its time to parse their sources."""
    try:
        from torch.onnx._internal.exporter import _registration
    except ImportError:  # another PyTorch
        yield
        return
    library = _registration.onnxscript_apis  # which is imported when it is used
    read = functools.cache(lambda: library.get_torchlib_ops())
    with pytest.MonkeyPatch.context() as context:
        context.setattr(_registration, "onnxscript_apis", SimpleNamespace(get_torchlib_ops=read))
        yield


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``paired`` (aligned) and ``unpaired`` data of 32x32 pictures."""
    root = tmp_path_factory.mktemp("images")
    for phase in ("train", "test"):
        for i in range(4):
            paint(root / "paired" / phase / f"{i}.png", 64, 32, i)
            paint(root / "unpaired" / f"{phase}A" / f"{i}.png", 32, 32, 10 + i)
            paint(root / "unpaired" / f"{phase}B" / f"{i}.png", 32, 32, 20 + i)
    return root


@pytest.fixture(params=HOSTS)
def models(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    with imported_host(*request.param) as module:
        yield module


@pytest.fixture
def teachers(tmp_path: Path) -> Path:
    """A folder with a teacher for every generator of both models."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    for seed, net in enumerate(("G", "G_A", "G_B")):
        torch.manual_seed(seed)
        spec = GeneratorSpec("resnet", 3, 3, 6, 3, "instance", False, True)
        torch.save(build_generator(spec).state_dict(), folder / f"latest_net_{net}.pth")
    return folder
