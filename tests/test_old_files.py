"""Experiment folders of earlier versions can be loaded, continued and tested; see ``fixtures/README.md``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers.hosts import HOST, imported_host, start_inside
from helpers.tensors import flat

from kd_plugin import inspect_checkpoint
from kd_plugin.files import sha256
from kd_plugin.host.repository.family import network_options
from kd_plugin.students import StudentRecord
from kd_plugin.training.rng import get_rng_state
from kd_plugin.training.state import RunState

FIXTURES = Path(__file__).resolve().parent / "fixtures"
NAMES = sorted(str(file.parent.relative_to(FIXTURES)) for file in FIXTURES.glob("*/*/student.json"))


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one experiment, where the teachers and pictures lie that it names by relative paths."""
    for shared in ("teachers", "images"):
        shutil.copytree(FIXTURES / shared, tmp_path / shared)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(FIXTURES)
    return Path(shutil.copytree(FIXTURES / request.param, request.param))


class Host:
    """The embedded host's scripts, with a copy of what the model holds as soon as it has been set up."""

    def __init__(
        self, models: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.found: dict[str, Any] = {}
        self._capsys = capsys
        create = models.create_model

        def create_model(opt: object) -> Any:
            model = create(opt)
            setup = model.setup

            def set_up(opt: object) -> None:
                setup(opt)
                self._look(model)

            model.setup = set_up
            return model

        monkeypatch.setattr(models, "create_model", create_model)

    def start(self, script: str, folder: Path, more: str) -> str:
        """Run a script on an experiment with no option of the networks or the distillation; return what it prints."""
        options = (
            f"--checkpoints_dir {folder.parent} --name {folder.name} --load_size 32 --crop_size 32 --num_threads 0 "
            f"--serial_batches --no_flip {more}"
        )
        start_inside(Path.cwd(), str(HOST / f"{script}.py"), options)
        return self._capsys.readouterr().out

    def _look(self, model: Any) -> None:
        optimizers = getattr(model, "optimizers", [])
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self.found = {
            "networks": {name: copied(getattr(model, f"net{name}").state_dict()) for name in model.model_names},
            "optimizers": copied([optimizer.state_dict() for optimizer in optimizers]),
            "parameters": copied([group["params"] for group in groups]),
            "rates": [group["lr"] for group in groups],
            "epochs": [scheduler.last_epoch for scheduler in getattr(model, "schedulers", [])],
            "pools": copied([pool.images for name, pool in vars(model).items() if name.endswith("_pool")]),
            "random_numbers": get_rng_state(),
        }


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Host]:
    with imported_host(HOST, "2025") as models:
        yield Host(models, monkeypatch, capsys)


def copied(tree: object) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in flat(tree)]


def equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def networks_of(folder: Path) -> dict[str, list[torch.Tensor]]:
    files = folder.glob("latest_net_*.pth")
    return {file.stem.removeprefix("latest_net_"): flat(torch.load(file, weights_only=True)) for file in files}


def adapters_of(folder: Path) -> list[torch.Tensor]:
    file = folder / "latest_distill_adapters.pth"
    return flat(torch.load(file, weights_only=True)) if file.exists() else []


def losses(folder: Path) -> list[dict[str, float]]:
    """The losses of each logged step."""
    lines = re.findall(r"^\(epoch.*?\) (.*)", (folder / "loss_log.txt").read_text(), re.MULTILINE)
    return [{name: float(value) for name, value in re.findall(r"(\w+): (\S+)", line)} for line in lines]


def test_the_record_describes_the_files(folder: Path) -> None:
    record = StudentRecord.read(folder, network_options())
    assert record is not None and record.is_of(folder, "latest")
    described = {folder / f"latest_net_{name}.pth": student for name, student in record.students.items()}
    for teacher in record.teachers.values():
        described[Path(teacher["file"])] = teacher
        assert sha256(Path(teacher["file"])) == teacher["sha256"]
    for file, description in described.items():
        if "class" not in description:
            assert (
                inspect_checkpoint(file).to_dict().items()
                >= {
                    key: value for key, value in description.items() if key not in ("file", "sha256", "parameters")
                }.items()
            )
    record.write(folder / "copy")
    assert StudentRecord.read(folder / "copy", network_options()) == record


def test_the_state_holds_what_the_files_hold(folder: Path) -> None:
    state = RunState.read(folder)
    if folder.parent.name == "first":
        assert state is None
        return
    assert state is not None
    assert state.place == ((3, 2, False) if folder.name.endswith("inside") else (3, 4, True))
    files = networks_of(folder)
    assert files.keys() == state.networks.keys()
    assert all(equal(flat(state.networks[name]), saved) for name, saved in files.items())
    assert equal(flat(state.adapters), adapters_of(folder))


@pytest.mark.slow
def test_a_continued_run_restores_everything_and_trains_on(folder: Path, host: Host) -> None:
    """The losses are those that the uninterrupted run logged, up to float32 rounding over at most six steps.

    Only CycleGAN's are compared: nothing in these runs draws random numbers but its pools, which draw Python's. The
    dropout of the others may be drawn differently by another build of PyTorch.
    """
    record, state, uninterrupted = (
        StudentRecord.read(folder, network_options()),
        RunState.read(folder),
        losses(folder),
    )
    networks, adapters = networks_of(folder), adapters_of(folder)
    assert record is not None
    (folder / "loss_log.txt").unlink()
    pictures = "unpaired --pool_size 2" if record.model == "cycle_gan" else "paired"
    said = host.start(
        "train",
        folder,
        f"--dataroot images/{pictures} --n_epochs 2 --n_epochs_decay 2 --print_freq 1 --save_epoch_freq 4 --no_html "
        f"--continue_train",
    )
    found = host.found
    assert f"resuming with --distill {record.distillation['distill']} and the teacher" in said
    assert found["networks"].keys() == networks.keys()
    assert all(equal(found["networks"][name], saved) for name, saved in networks.items())
    for adapter in adapters:
        assert any(torch.equal(adapter, parameter) for parameter in found["parameters"])
    ended = RunState.read(folder)
    assert ended is not None and ended.place == (4, 4, True)
    if state is None:
        assert "there is no saved state of latest" in said and len(losses(folder)) == 16
        return
    assert f"continuing after {'epoch 3' if state.complete else '2 steps of epoch 3'}" in said
    assert equal(found["optimizers"], flat(state.optimizers)) and found["optimizers"]
    assert equal(found["pools"], flat(state.pools)) and bool(state.pools) == (record.model == "cycle_gan")
    assert found["rates"] == [group["lr"] for saved in state.optimizers for group in saved["param_groups"]]
    assert found["epochs"] == [saved["last_epoch"] for saved in state.schedulers]
    assert str(found["random_numbers"]) == str(state.epoch_random_numbers or state.random_numbers)
    # What the second format lacks: with it, a save inside an epoch is continued inside it.
    inside = not state.complete and folder.parent.name != "second"
    assert ("continuing with step 3 of epoch 3" in said) == inside
    continued = losses(folder)
    assert len(continued) == (4 if state.complete else 6 if inside else 8)
    if record.model == "cycle_gan":
        for ours, theirs in zip(continued, uninterrupted[-len(continued) :], strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3)


@pytest.mark.slow
def test_a_student_is_tested_without_its_options(folder: Path, host: Host) -> None:
    networks = networks_of(folder)
    for name in sorted(networks.keys() & {"G", "G_A", "G_B"}):
        pictures = "unpaired/trainB" if name == "G_B" else "unpaired/trainA"
        host.start("test", folder, f"--model test --model_suffix={name[1:]} --dataroot images/{pictures}")
        (tested,) = host.found["networks"].values()
        assert equal(tested, networks[name])
        assert len(list(Path("results").rglob("*_fake.png"))) == 4
        shutil.rmtree("results")
