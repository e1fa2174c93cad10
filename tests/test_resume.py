"""Resuming runs: bitwise identical between epochs, otherwise from the last complete save."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import resource
import signal
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from helpers.commands import LAUNCH, REPOSITORY, run, run_twice, succeed
from helpers.hosts import FORMS, HOSTS, SMALL, host_arguments
from helpers.models import distil_options, distilling, host_batch, set_up, train_step
from helpers.tensors import flat

from kd_plugin import GeneratorSpec, KDError
from kd_plugin.files import sha256
from kd_plugin.networks.generator import build_generator
from kd_plugin.training.replay import fold
from kd_plugin.training.state import RunState, is_of


def losses(folder: Path, epochs: range) -> list[list[tuple[str, str]]]:
    """What is logged of some epochs, without the times."""
    log = (folder / "loss_log.txt").read_text()
    lines = [line for line in log.splitlines() if any(f"(epoch: {epoch}," in line for epoch in epochs)]
    return [re.findall(r"(\w+): (-?[\d.]+)", re.sub(r".*data: [\d.]+\)", "", line)) for line in lines]


PLACES = [HOSTS[0], *HOSTS[len(FORMS) :]]  # the embedded host's script is the same in both forms


@pytest.mark.parametrize("place", PLACES)
def test_stopped_and_continued_equals_uninterrupted(
    place: tuple[Path, str], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, their averages, optimizers, learning rates, adapters, pools, random numbers and logged losses."""
    folder, form = place
    (tmp_path / "val").mkdir()
    for side in "AB":
        (tmp_path / "val" / side).symlink_to(images / "unpaired" / f"test{side}")
    (tmp_path / "big").mkdir()
    for net in ("G_A", "G_B"):
        spec = GeneratorSpec("resnet", 3, 3, 6, 6, "instance", False, True)
        torch.save(build_generator(spec).state_dict(), tmp_path / "big" / f"latest_net_{net}.pth")
    command = [LAUNCH, *(
        f"kd run train.py --dataroot {images}/unpaired --model cycle_gan --checkpoints_dir {tmp_path} {SMALL} "
        f"--ndf 4 --n_epochs 2 --n_epochs_decay 2 --save_epoch_freq 1 --print_freq 1 --no_html --pool_size 3 "
        f"--distill wavelet,feature --lambda_wavelet 1@1,100@4 --teacher {tmp_path}/big "
        f"--student_ngf 4 --student_ema --val_images {tmp_path}/val --distill_share feature=20% --share_every 2"
    ).split(), *host_arguments(folder, form)["train"]]  # fmt: skip
    succeed(run([*command, "--name", "whole"], folder, form))
    monkeypatch.setenv("KD_STOP_AFTER", "2")
    assert run([*command, "--name", "parts"], folder, form).returncode == 9
    monkeypatch.delenv("KD_STOP_AFTER")
    said = succeed(run([*command, "--name", "parts", "--continue_train"], folder, form)).stdout
    assert "continuing after epoch 2" in said and re.search(r"epoch_count: 3\b", said)
    whole, parts = (torch.load(tmp_path / name / "latest_distill_state.pth", weights_only=True)
                    for name in ("whole", "parts"))  # fmt: skip
    assert whole["epoch"] == parts["epoch"] == 4 and whole["complete"] and parts["complete"]
    assert whole["pools"].keys() == parts["pools"].keys() and len(whole["pools"]) == 2
    assert whole["averages"].keys() == {"G_A", "G_B"}
    assert [epoch for epoch, _ in whole["bests"]["G_B"]["history"]] == [1, 2, 3, 4]
    for part in ("networks", "averages", "bests", "adapters", "optimizers", "schedulers", "pools", "random_numbers"):
        ours, theirs = flat(parts[part]), flat(whole[part])
        assert len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), part
    assert whole["terms"] == parts["terms"] and whole["terms"].keys() == {"G_A.balance", "G_B.balance"}
    assert [s["last_epoch"] for s in whole["schedulers"]] == [s["last_epoch"] for s in parts["schedulers"]]
    rates = [[g["lr"] for o in state["optimizers"] for g in o["param_groups"]] for state in (whole, parts)]
    assert rates[0] == rates[1]
    assert losses(tmp_path / "whole", range(3, 5)) == losses(tmp_path / "parts", range(3, 5)) != []
    files = [file for epoch in ("latest", "ema", "best") for file in (tmp_path / "whole").glob(f"{epoch}_net_*.pth")]
    assert len(files) == 4 + 2 + 2
    for file in files:
        other = torch.load(tmp_path / "parts" / file.name, weights_only=True)
        assert all(torch.equal(t, other[key]) for key, t in torch.load(file, weights_only=True).items())


def options(teachers: Path, **changes: object) -> Namespace:
    given = {"distill": "pixel,feature", "student_ngf": 3, "n_epochs": 5, "n_epochs_decay": 5, **changes}
    return distil_options(teachers, **given)


def build(models: ModuleType, opt: Namespace, seed: int = 0):  # type: ignore[no-untyped-def]
    Path(opt.checkpoints_dir, opt.name).mkdir(exist_ok=True)
    return set_up(distilling(models.find_model_using_name(opt.model)), opt, seed)


def saved(models: ModuleType, teachers: Path, **changes: object):  # type: ignore[no-untyped-def]
    """A model after a step and a save, and the folder it saves to."""
    model = build(models, options(teachers, **changes))
    train_step(model)
    model.save_networks("latest")
    return model, teachers.parent / "student"


def weights(model) -> list[torch.Tensor]:  # type: ignore[no-untyped-def]
    return flat([copy.deepcopy(getattr(model, f"net{name}").state_dict()) for name in model.model_names])


def equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_networks_that_terms_have_drawn(
    models: ModuleType, teachers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``perceptual`` with random weights goes on with the same, though PyTorch may have come to draw others."""
    (tmp_path / "drawing.py").write_text(
        "from torch import nn\n\n\ndef tiny():\n    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Conv2d(2, 2, 3))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    given = {
        "model": "cycle_gan", "distill": "perceptual,pixel", "perceptual_network": "drawing:tiny",
        "perceptual_layers": "1", "perceptual_weights": "random",
    }  # fmt: skip

    def drawn(model) -> list[torch.Tensor]:  # type: ignore[no-untyped-def]
        return flat([d.distiller.terms["perceptual"].term.network.state_dict() for d in model._run.pairs])

    first, _ = saved(models, teachers, **given)
    before, after = drawn(first), []
    assert len(before) == 2 * 4
    monkeypatch.setattr(torch.nn.Conv2d, "reset_parameters", lambda self: torch.nn.init.ones_(self.weight))
    for again in (True, False):
        after.append(drawn(build(models, options(teachers, continue_train=again, **given))))
    assert equal(after[0], before) and not equal(after[1], before)


def test_only_what_terms_have_drawn_is_saved(models: ModuleType, teachers: Path) -> None:
    given = {"distill": "pixel,perceptual", "perceptual_network": str(teachers / "latest_net_G.pth")}
    _, folder = saved(models, teachers, **given)
    state = RunState.read(folder)
    assert state is not None and state.terms == {}


class TestSaves:
    @pytest.mark.parametrize("steps", [1, 3])
    def test_inside_an_epoch_pass_over_its_first_batches(
        self, models: ModuleType, teachers: Path, steps: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Whatever the host draws meanwhile, and without a word of it in its own displays and saves."""
        model = build(models, options(teachers, print_freq=1, save_latest_freq=2, save_epoch_freq=1))
        for seed in range(steps):
            train_step(model, seed=seed)
        model.save_networks("latest")
        numbers = [torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()]
        folder = teachers.parent / "student"
        saved = {file.name: file.read_bytes() for file in folder.iterdir()}
        again = build(models, options(teachers, continue_train=True, print_freq=1, save_latest_freq=2,
                                      save_epoch_freq=1), seed=1)  # fmt: skip
        assert f"continuing after {steps} steps of epoch 1: its first {steps} batches are" in capsys.readouterr().out
        for seed in range(steps):
            assert again.opt.print_freq > 1e9 and again.opt.save_latest_freq > 1e9 and again.opt.save_epoch_freq == 1
            torch.rand(5), random.random(), np.random.rand()
            if seed:  # a host that shows something of every step
                assert again.get_current_losses() == again.get_current_visuals() == {}
            again.save_networks("latest")  # by a host that does not ask its options
            train_step(again, seed=seed)
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == saved
        assert equal(weights(again), weights(model)) and again.get_current_losses() == {}
        assert f"continuing with step {steps + 1} of epoch 1" in capsys.readouterr().out
        assert equal([torch.get_rng_state()], numbers[:1])
        assert [random.getstate(), np.random.get_state()[1].tolist()] == numbers[1:]
        train_step(model, seed=9)
        train_step(again, seed=9)
        assert equal(weights(again), weights(model))  # with the optimizers' moments
        assert (
            again.opt.print_freq == 1
            and again.opt.save_latest_freq == 2
            and again._run.checkpointer.steps.iteration == steps + 1
        )
        again.save_networks("latest")
        assert RunState.read(folder).place == (1, steps + 1, False)

    def test_inside_an_epoch_of_other_pictures(
        self, models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Or of fewer: the run goes on, and says so."""
        model = build(models, options(teachers))
        for _ in range(2):
            train_step(model)
        model.save_networks("latest")
        again = build(models, options(teachers, continue_train=True), seed=1)
        for _ in range(2):
            again.set_input({**host_batch(), "A_paths": ["b"]})
            again.optimize_parameters()
        assert "note: the dataset returns other images than before the save" in capsys.readouterr().out
        fewer = build(models, options(teachers, continue_train=True), seed=1)
        train_step(fewer)
        fewer.update_learning_rate()
        assert "note: the dataset has fewer batches than before the save" in capsys.readouterr().out
        before = weights(fewer)
        train_step(fewer)
        assert not equal(weights(fewer), before)
        fewer.save_networks("latest")
        fewer.update_learning_rate()
        state = RunState.read(teachers.parent / "student")
        assert state.place[:2] == (2, 1) and fewer._run.checkpointer.steps.lr_first is False

    def test_inside_an_epoch_of_a_host_with_a_loop_of_its_own(
        self, models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """That trains elsewhere than in ``optimize_parameters``, so the epoch is begun again."""
        model = build(models, options(teachers))
        model.set_input(host_batch())
        model.forward()
        model.save_networks("latest")
        again = build(models, options(teachers, continue_train=True), seed=1)
        assert "continuing after 1 steps of epoch 1, which starts again" in capsys.readouterr().out
        before = weights(again)
        train_step(again)
        assert not equal(weights(again), before)

    def test_the_state_holds_tensors_and_numbers_alone(self, models: ModuleType, teachers: Path) -> None:
        _, folder = saved(models, teachers, model="cycle_gan", pool_size=2, lr_policy="plateau")
        state = RunState.read(folder)  # with weights_only
        assert state is not None and (state.epoch, state.iteration, state.complete) == (1, 1, False)
        assert set(state.networks) == {"G_A", "G_B", "D_A", "D_B"} and set(state.adapters) == {"G_A", "G_B"}
        assert [len(images) for images in state.pools.values()] == [1, 1]

    def test_numbered_epochs_complete_the_state_of_latest(self, models: ModuleType, teachers: Path) -> None:
        """In this order hosts save at the end of an epoch; some set the learning rate before, some after."""
        model, folder = saved(models, teachers)
        assert not RunState.read(folder).complete
        model.save_networks(1)
        state = RunState.read(folder)
        assert state.complete and state.lr_ahead == -1 and state.next_epoch == 2
        model.update_learning_rate()
        assert RunState.read(folder).lr_ahead == 0
        assert not (folder / "1_distill_state.pth").exists()

    @pytest.mark.parametrize("moves", [0, 1, 2, 3, 4, 5])
    @pytest.mark.parametrize("first_save", [False, True])
    def test_killed_while_saving(
        self, models: ModuleType, teachers: Path, moves: int, first_save: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """After every file that is moved into place: what is continued is one complete save, and it is said which.

        The save before may be the same run's, or that of another run of the same name.
        """
        model, folder = saved(models, teachers)
        first = weights(model)
        if first_save:
            model = build(models, options(teachers), seed=5)
        train_step(model)
        second = weights(model)
        child = os.fork()
        if not child:  # pragma: no cover - the child is killed
            replace, count = Path.replace, iter(range(9))

            def moving(self: Path, target: Path) -> Path:
                if next(count) == moves:
                    os.kill(os.getpid(), signal.SIGKILL)
                return replace(self, target)

            Path.replace = moving  # type: ignore[method-assign, assignment]
            model.save_networks("latest")
            os.kill(os.getpid(), signal.SIGKILL)  # two networks, adapters, the record, the state: there are no more
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert bool(list(folder.glob(".*"))) == (moves < 5)
        capsys.readouterr()
        again = build(models, options(teachers, continue_train=True), seed=1)
        said = capsys.readouterr().out
        assert equal(weights(again), second if moves else first) and not equal(first, second)
        assert ("completed the last save, which was interrupted" in said) == (0 < moves < 5)
        steps = 2 if moves and not first_save else 1
        assert f"continuing after {steps} steps of epoch 1" in said
        assert not list(folder.glob(".*"))  # nothing is left lying about
        for _ in range(steps + 1):
            train_step(again)
        again.save_networks("latest")
        assert equal(weights(build(models, options(teachers, continue_train=True), seed=2)), weights(again))

    def cut_short(self, model, folder: Path) -> None:  # type: ignore[no-untyped-def]
        """Leave what a kill between the networks' files leaves: one is moved, the rest is not."""
        before = {file: file.read_bytes() for file in folder.glob("latest_*")}
        train_step(model)
        model.save_networks("latest")
        elsewhere = folder / ".saving_x"
        elsewhere.mkdir()
        moved = folder / "latest_net_D.pth"
        names = [file.name for file in before]
        digests = {name: sha256(folder / name) for name in names}
        (folder / ".latest_being_saved").write_text(json.dumps({"from": elsewhere.name, "files": digests}))
        for file, content in before.items():
            if file != moved:
                file.replace(elsewhere / file.name)
                file.write_bytes(content)

    def test_networks_saved_since_are_left_as_they_are(
        self, models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The host alone has gone on after a save that was cut short: its networks are newer."""
        model, folder = saved(models, teachers, student_netG=None)
        self.cut_short(model, folder)
        host = set_up(models.find_model_using_name("pix2pix"), options(teachers, ngf=3, distill=""), seed=7)
        host.save_networks("latest")
        again = build(models, options(teachers, student_netG=None, continue_train=True), seed=1)
        assert "completed the last save" not in capsys.readouterr().out
        assert equal(weights(again), weights(host))

    def test_another_epoch_leaves_a_cut_save_for_later(
        self, models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model, folder = saved(models, teachers)
        model.save_networks(1)
        self.cut_short(model, folder)
        build(models, options(teachers, continue_train=True, epoch="1"), seed=1)
        assert "completed the last save, which was interrupted" in capsys.readouterr().out
        again = build(models, options(teachers, continue_train=True, epoch_count=1), seed=1)
        assert equal(weights(again), weights(model))

    def test_a_fresh_run_leaves_an_old_one_whole_until_it_has_saved(self, models: ModuleType, teachers: Path) -> None:
        """Its networks, its state and its record: also if it is killed in its first save."""
        _, folder = saved(models, teachers)
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        fresh = build(models, options(teachers, student_ngf=2), seed=4)
        train_step(fresh)
        child = os.fork()
        if not child:  # pragma: no cover - the child is killed
            fresh._run.checkpointer._capture = lambda complete: os.kill(os.getpid(), signal.SIGKILL)
            fresh.save_networks("latest")
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before

    def test_before_the_first_step_change_nothing(self, models: ModuleType, teachers: Path) -> None:
        model, folder = saved(models, teachers)
        model.save_networks(1)
        before = (folder / "latest_distill_state.pth").read_bytes()
        again = build(models, options(teachers, continue_train=True, epoch_count=2), seed=1)
        again._run._interruption.asked = signal.SIGINT
        with pytest.raises(SystemExit) as stopped:
            train_step(again)
        assert stopped.value.code == 130 and (folder / "latest_distill_state.pth").read_bytes() == before

    def test_networks_go_where_the_host_keeps_them(self, models: ModuleType, teachers: Path) -> None:
        model, folder = build(models, options(teachers)), teachers.parent / "student"
        model.save_dir = type(model.save_dir)(folder / "weights")
        train_step(model)
        model.save_networks("latest")
        assert {file.name for file in (folder / "weights").iterdir()} == {"latest_net_G.pth", "latest_net_D.pth"}
        assert (folder / "latest_distill_state.pth").is_file()

    def test_a_full_disk_leaves_what_was_saved(self, models: ModuleType, teachers: Path) -> None:
        model, folder = saved(models, teachers)
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        train_step(model)
        child = os.fork()
        if not child:  # pragma: no cover - in a process of its own, since limits stay
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
            status = 1
            try:
                model.save_networks("latest")
            except KDError as error:
                told = "cannot save latest in" in str(error) and "an earlier save is intact" in str(error)
                status = 0 if told and "\n" not in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def again(models: ModuleType, teachers: Path, given: dict, epoch: int):  # type: ignore[no-untyped-def]
    return build(models, options(teachers, **given, continue_train=True, epoch_count=epoch), seed=epoch)


class TestContinuing:
    @pytest.fixture
    def stopped(self, models: ModuleType, teachers: Path):  # type: ignore[no-untyped-def]
        """A run stopped at the end of its second epoch."""
        model = build(models, options(teachers))
        for epoch in (1, 2):
            train_step(model)
            model.save_networks("latest")
            model.save_networks(epoch)
            model.update_learning_rate()
        return model

    def test_at_another_epoch_as_asked(
        self,
        models: ModuleType,
        teachers: Path,
        stopped,
        capsys: pytest.CaptureFixture[str],  # type: ignore[no-untyped-def]
    ) -> None:
        again = build(models, options(teachers, continue_train=True, epoch_count=7, lr=0.1), seed=1)
        assert "continuing at epoch 7, as set, with the optimizers of epoch 2" in capsys.readouterr().out
        fresh = build(models, options(teachers, epoch_count=7, lr=0.1, name="other"))
        rates = [[o.param_groups[0]["lr"] for o in model.optimizers] for model in (again, fresh)]
        assert rates[0] == rates[1]
        assert again.optimizer_G.state_dict()["state"]

    @pytest.mark.parametrize(
        ("policy", "first", "where"),
        [
            *(("linear", first, where) for first in (False, True) for where in ("end", "inside", "start")),
            ("step", False, "end"), ("cosine", True, "inside"), ("plateau", False, "start"),
        ],
    )  # fmt: skip
    def test_the_schedule_goes_on(
        self, models: ModuleType, teachers: Path, policy: str, first: bool, where: str
    ) -> None:
        """The rates of every step are those of a run that was not stopped, wherever it was, once or twice.

        Some hosts set the rate before an epoch, others after it; it is saved at the end of an epoch, inside one, and
        at the beginning of the next.
        """
        given = {"lr_policy": policy, "lr_decay_iters": 2, "n_epochs": 2, "n_epochs_decay": 2, "distill": "pixel",
                 "student_netG": "resnet_1blocks"}  # fmt: skip
        rates = []
        for stops in ((), (2,), (2, 3)):
            found, model = [], build(models, options(teachers, **given))
            epoch, left = 1, list(stops)
            while epoch <= 4:
                if first:
                    model.update_learning_rate()
                    if where == "start" and epoch - 1 in left:
                        left.remove(epoch - 1)
                        model.save_networks("latest")
                        model = again(models, teachers, given, epoch)
                        continue
                train_step(model)
                if where == "inside" and epoch in left:
                    left.remove(epoch)
                    model.save_networks("latest")
                    model = again(models, teachers, given, epoch)
                    continue
                found.append(model.optimizer_G.param_groups[0]["lr"])
                model.save_networks("latest")
                model.save_networks(epoch)
                stopping = epoch in left and where == "end"
                if not first and not stopping:
                    model.update_learning_rate()
                epoch += 1
                if stopping or (epoch - 1 in left and where == "start" and not first):
                    left.remove(epoch - 1)
                    model = again(models, teachers, given, epoch)
            rates.append(found)
        assert rates[0] == rates[1] == rates[2] and (len(set(rates[0])) > 1 or policy == "plateau")

    def test_a_longer_run_has_the_longer_schedule(self, models: ModuleType, teachers: Path) -> None:
        """What the schedule counts goes on; how long it is, the options of the continued run say."""
        model, _ = saved(models, teachers, lr_policy="cosine", n_epochs=3)
        model.save_networks(1)
        model.update_learning_rate()
        longer = build(models, options(teachers, lr_policy="cosine", n_epochs=30, continue_train=True, epoch_count=2))
        assert longer.schedulers[0].T_max == 30 and longer.schedulers[0].last_epoch == 1

    def test_with_other_learnt_terms(
        self, models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model, _ = saved(models, teachers, distill="pixel")
        model.save_networks(1)
        more = build(models, options(teachers, distill="pixel,feature", continue_train=True, epoch_count=2), seed=1)
        assert "the adapters of the terms have changed, so the optimizers are reset" in capsys.readouterr().out
        assert equal(weights(more), weights(model)) and not more.optimizer_G.state_dict()["state"]
        train_step(more)

    def test_with_another_learning_rate(self, models: ModuleType, teachers: Path, stopped) -> None:  # type: ignore[no-untyped-def]
        again = build(models, options(teachers, continue_train=True, epoch_count=3, lr=0.002), seed=1)
        for ours, theirs in zip(again.optimizers, stopped.optimizers, strict=True):
            assert ours.param_groups[0]["lr"] == pytest.approx(10 * theirs.param_groups[0]["lr"])

    def test_other_weights_are_continued_without_the_state(
        self,
        models: ModuleType,
        teachers: Path,
        stopped,
        capsys: pytest.CaptureFixture[str],  # type: ignore[no-untyped-def]
    ) -> None:
        file = teachers.parent / "student" / "latest_net_G.pth"
        changed = {key: tensor + 1 for key, tensor in torch.load(file, weights_only=True).items()}
        torch.save(changed, file)
        again = build(models, options(teachers, continue_train=True, epoch_count=3), seed=1)
        assert "the saved state has other weights than latest_net_*.pth" in capsys.readouterr().out
        assert all(torch.equal(t, changed[key]) for key, t in again.netG.state_dict().items())
        assert again.opt.epoch_count == 1 and not again.optimizer_G.state_dict()["state"]

    def test_without_a_state(
        self,
        models: ModuleType,
        teachers: Path,
        stopped,
        capsys: pytest.CaptureFixture[str],  # type: ignore[no-untyped-def]
    ) -> None:
        (teachers.parent / "student" / "latest_distill_state.pth").unlink()
        again = build(models, options(teachers, continue_train=True), seed=1)
        assert equal(weights(again), weights(stopped))
        assert "note: there is no saved state of latest: optimizers and epochs are reset" in capsys.readouterr().out
        build(models, options(teachers, continue_train=True, epoch="1"), seed=1)
        assert "no saved state of 1:" in capsys.readouterr().out

    def test_all_epochs_trained(
        self,
        models: ModuleType,
        teachers: Path,
        stopped,
        capsys: pytest.CaptureFixture[str],  # type: ignore[no-untyped-def]
    ) -> None:
        short = {"n_epochs": 1, "n_epochs_decay": 1, "continue_train": True, "epoch_count": 3}
        build(models, options(teachers, **short), seed=1)
        assert "note: all 2 epochs are trained: increase n_epochs to continue" in capsys.readouterr().out

    @pytest.mark.parametrize("content", [b"", b"PK damaged", b"\x80\x02}q\x00."])
    def test_a_damaged_state_is_refused(self, models: ModuleType, teachers: Path, stopped, content: bytes) -> None:  # type: ignore[no-untyped-def]
        (teachers.parent / "student" / "latest_distill_state.pth").write_bytes(content)
        with pytest.raises(KDError, match=r"_state.pth: cannot be read .*delete it to continue") as caught:
            build(models, options(teachers, continue_train=True), seed=1)
        assert "\n" not in str(caught.value)


def test_a_state_with_weights_that_are_no_numbers_is_still_of_them() -> None:
    network = torch.nn.Linear(2, 2)
    model = Namespace(netG=network)
    network.weight.data[0, 0] = float("nan")
    state = RunState(1, 1, True, 0, 1, 0.1, networks={"G": copy.deepcopy(network.state_dict())})
    assert is_of(model, state)
    network.weight.data[1, 1] += 1
    assert not is_of(model, state)


@pytest.mark.slow
def test_every_process_goes_on_with_its_own_pools_and_random_numbers(teachers: Path) -> None:
    """Saved inside an epoch, by processes that have seen different pictures."""
    script = teachers.parent / "script.py"
    script.write_text(
        f"""
import sys
sys.path.insert(0, {str(REPOSITORY / "tests")!r})
import random
from pathlib import Path
import torch
from torch import distributed
from helpers.hosts import HOST, imported_host
from helpers.models import distil_options, distilling, set_up, train_step
from helpers.tensors import flat
from kd_plugin.training.state import RunState, state_file
teachers = Path({str(teachers)!r})
folder = teachers.parent / "student"
distributed.init_process_group("gloo")
rank = distributed.get_rank()
given = dict(model="cycle_gan", distill="pixel", student_ngf=3, pool_size=2, n_epochs=5)
with imported_host(HOST, "2025") as models:
    cls = distilling(models.find_model_using_name("cycle_gan"))
    model = set_up(cls, distil_options(teachers, **given))
    random.seed(rank), torch.manual_seed(rank)
    for step in range(3):
        train_step(model, seed=10 * rank + step)
    distributed.barrier()
    model.save_networks("latest")
    numbers, python = torch.get_rng_state(), random.getstate()
    pools = [t.clone() for t in flat([model.fake_A_pool.images, model.fake_B_pool.images])]
    distributed.barrier()

    def again():
        torch.manual_seed(99), random.seed(99)
        found = set_up(cls, distil_options(teachers, continue_train=True, **given), seed=5)
        for step in range(3):
            train_step(found, seed=10 * rank + step)
        return found

    def same(ours, theirs):
        return len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs))

    found = again()
    assert same(flat([found.fake_A_pool.images, found.fake_B_pool.images]), pools)
    assert torch.equal(torch.get_rng_state(), numbers) and random.getstate() == python
    first, second = (RunState.read(folder, other).pools for other in range(2))
    assert not same(flat(first), flat(second))
    for each in (model, found):
        torch.manual_seed(rank), random.seed(rank)
        train_step(each, seed=7)
    assert same(flat(found.netG_A.state_dict()), flat(model.netG_A.state_dict()))
    distributed.barrier()
    if rank == 1:  # killed before it could save, or its file was lost
        state_file(folder, 1).unlink()
    distributed.barrier()
    found = again()
    assert bool(found.fake_A_pool.images) == (rank == 0)
    print(f"process {{rank}} goes on")
distributed.destroy_process_group()
""",
        encoding="utf-8",
    )
    said = [succeed(process).stdout for process in run_twice([str(script)], teachers.parent)]
    assert all(text.count("goes on") == 1 for text in said)
    note = "note: image pools and random numbers of process 1 were not saved: they are reset"
    assert [text.count(note) for text in said] == [1, 0]


@pytest.mark.parametrize("paths", [["a", "b"], "a", ("a",), [["a"], ["b"]], torch.ones(1), None, 3])
def test_the_names_of_pictures_may_be_anything(paths: object) -> None:
    assert fold("", {"A_paths": paths}) == fold("", {"A_paths": paths}) != fold("x", {"A_paths": paths})
    assert fold("", {"A_paths": ["folder/a"]}) == fold("", {"A_paths": ["a"]}) != fold("", {"A_paths": ["b"]})
