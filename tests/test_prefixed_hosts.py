"""Hosts whose options have names of their own, and that build generators from them: the kind of joliGEN."""

from __future__ import annotations

import json
import subprocess
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers.commands import run, succeed
from helpers.hosts import imported_host
from helpers.models import distilling
from helpers.prefixed import write_host

from kd_plugin import GeneratorSpec, KDError, inspect_checkpoint, processes
from kd_plugin.cli import main
from kd_plugin.host.repository import family
from kd_plugin.host.repository.option_names import NameAndBlocks, Opposite, OptionName
from kd_plugin.host.repository.usual_options import host_options, reworded, usual_options
from kd_plugin.losses.pixel import pixel_loss
from kd_plugin.networks.divided import divided_name, family_keys
from kd_plugin.networks.generator import build_generator
from kd_plugin.networks.taps import find_modules
from kd_plugin.networks.teacher import load_teacher
from kd_plugin.students import inherit_weights

Result = subprocess.CompletedProcess[str]
NAMES = {
    "ngf": OptionName("G_ngf"),
    "netG": NameAndBlocks("G_netG", "G_nblocks"),
    "no_dropout": Opposite("G_dropout"),
}
SMALL = "--dataroot data --G_netG resnet --G_nblocks 2 --G_ngf 3"
DISTILL = "--distill pixel,srp --teacher checkpoints/big --student_ngf 3 --dataroot data"


@pytest.fixture(autouse=True)
def wording(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests have hosts of the usual names."""
    monkeypatch.setattr(processes, "_wording", str)


class Host:
    """A host of the kind, with its teachers ``big`` (of cut) and ``both`` (of cycle_gan)."""

    def __init__(self, folder: Path) -> None:
        self.folder = write_host(folder)
        for name, model in (("big", "cut"), ("both", "cycle_gan")):
            big = f"--dataroot data --G_netG resnet --G_nblocks 3 --G_ngf 8 --name {name} --model_type {model}"
            succeed(self.start("plain", "train.py", big))

    def start(self, how: str, script: str, arguments: str, **variables: str) -> Result:
        """Run a script ``plain``, or by ``kd run``."""
        code = f"import os, sys, runpy; os.environ.update({variables!r}); sys.path[0] = {str(self.folder)!r}; "
        if how == "plain":
            code += f"sys.argv = {[script, *arguments.split()]!r}; runpy.run_path({script!r}, run_name='__main__')"
        else:
            code += f"from kd_plugin.cli import main; sys.exit(main({['run', script, *arguments.split()]!r}))"
        return run(["-c", code], self.folder)

    def train(self, name: str, arguments: str, **variables: str) -> Result:
        return self.start("kd", "train.py", f"--name {name} {arguments}", **variables)

    def place(self, name: str) -> Path:
        return self.folder / "checkpoints" / name

    def weights(self, name: str, epoch: str = "latest") -> dict[str, dict[str, torch.Tensor]]:
        files = sorted(self.place(name).glob(f"{epoch}_net_*.pth"))
        return {file.name: torch.load(file, weights_only=True) for file in files}

    def config(self, name: str) -> dict[str, Any]:
        return json.loads((self.place(name) / "train_config.json").read_text())


def same(one: dict[str, dict[str, torch.Tensor]], two: dict[str, dict[str, torch.Tensor]]) -> bool:
    return one.keys() == two.keys() != set() and all(
        one[f].keys() == two[f].keys() and all(torch.equal(one[f][k], two[f][k]) for k in one[f]) for f in one
    )


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    host = Host(tmp_path_factory.mktemp("host"))
    assert "6.69x fewer" in succeed(host.train("small", DISTILL)).stdout
    return host


@pytest.fixture
def models(tmp_path: Path) -> Iterator[ModuleType]:
    with imported_host(write_host(tmp_path / "host"), "2025") as module:
        yield module


@pytest.mark.slow
class TestTraining:
    def test_without_options_it_is_the_plain_one_bit_for_bit(self, host: Host) -> None:
        plain = succeed(host.start("plain", "train.py", f"--name same {SMALL}"))
        before, written = host.weights("same"), host.config("same")
        assert succeed(host.train("same", SMALL)).stdout == plain.stdout
        assert same(host.weights("same"), before) and host.config("same") == written
        assert not (host.place("same") / "student.json").exists()

    def test_the_student_is_in_the_options_that_the_host_writes(self, host: Host) -> None:
        record = json.loads((host.place("small") / "student.json").read_text())
        assert {name: host.config("small")[name] for name in ("G_netG", "G_nblocks", "G_ngf", "G_dropout")} == {
            "G_netG": "resnet", "G_nblocks": 3, "G_ngf": 3, "G_dropout": False,
        }  # fmt: skip
        assert record["model"] == "cut" and record["dataset_mode"] == "unaligned"
        assert record["host_options"] == {
            "model_input_nc": 3, "model_output_nc": 3, "G_netG": "resnet", "G_nblocks": 3, "G_ngf": 3,
            "G_norm": "instance", "G_dropout": False, "D_netDs": "basic", "D_ndf": 4,
        }  # fmt: skip
        assert record["students"]["G_A"]["netG"] == "resnet_3blocks"

    def test_plain_tests_run_the_student(self, host: Host) -> None:
        plain, ours = (
            succeed(host.start(how, "test.py", "--test_model_dir checkpoints/small")) for how in ("plain", "kd")
        )
        assert "sum of the picture" in plain.stdout and ours.stdout == plain.stdout

    def test_a_resumed_run_is_that_which_was_not_interrupted(self, host: Host) -> None:
        succeed(host.train("whole", f"{DISTILL} --train_n_epochs 2"))
        succeed(host.train("half", DISTILL))
        resumed = succeed(host.train("half", "--dataroot data --train_continue --train_n_epochs 2")).stdout
        assert "resuming with --distill pixel,srp" in resumed and "continuing after epoch 1" in resumed
        assert "epoch 2" in resumed and "epoch 1 {" not in resumed
        assert same(host.weights("whole"), host.weights("half"))

    def test_both_generators_of_a_cycle(self, host: Host) -> None:
        given = "--model_type cycle_gan --distill pixel --teacher checkpoints/both --dataroot data"
        said = succeed(host.train("cycle", given)).stdout
        assert "the student has ngf 3, three eighths of the teacher's 8" in said
        assert "pixel_A" in said and "pixel_B" in said
        assert "test: kd run test.py --test_model_dir checkpoints/cycle --gpu_ids 0" in said

    def test_spawned_processes_are_distilled(self, host: Host) -> None:
        said = succeed(host.train("spawned", DISTILL, HOST_SPAWNS="1")).stdout
        assert "x fewer parameters; pixel x 50" in said
        assert same(host.weights("spawned"), host.weights("small"))

    def test_options_of_a_file_are_completed_by_those_given_apart(self, host: Host) -> None:
        config = {**host.config("big"), "name": "filed"}
        (host.folder / "config.json").write_text(json.dumps(config))
        given = "--distill pixel,srp --teacher checkpoints/big --student_ngf 3"
        succeed(host.start("kd", "train.py", "--config_json config.json", KD_DISTILL=given))
        assert same(host.weights("filed"), host.weights("small"))
        refused = host.start("kd", "train.py", f"--config_json config.json {given}")
        assert refused.returncode == 2 and "KD_DISTILL=" in refused.stderr

    def test_networks_of_the_teacher_start_the_student(self, host: Host) -> None:
        more = "--student_init teacher --discriminator_init teacher"
        said = succeed(host.train("begun", f"{DISTILL} {more}")).stdout
        assert "G_A starts from the channels of checkpoints/big/latest_net_G_A.pth" in said
        assert "netD_B_basic starts from 4 of 4 tensors of checkpoints/big/latest_net_D_B_basic.pth" in said

    def test_a_generator_of_the_host_alone_is_a_teacher(self, host: Host) -> None:
        succeed(host.start("plain", "train.py", "--dataroot data --name odd --G_ngf 8"))
        given = "--distill pixel --teacher checkpoints/odd --dataroot data --name odd_small"
        refused = host.start("kd", "train.py", given)
        assert refused.returncode == 2 and "or confirm this one with --G_ngf 64" in refused.stderr
        assert "1.99x fewer parameters" in succeed(host.train("odd_small", f"{given} --G_ngf 4")).stdout

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("--student_widths 3,6,12", "no options for stage widths: use --student_ngf"),
            ("--student_ngf 3 --student_conv separable", "no options for separable convolutions"),
            ("--student_netG unet_16", "no options for the generator unet_16"),
            ("--model_type palette", "--model_type palette: of joliGEN, only cut and cycle_gan are distilled"),
            ("--compress 7x --distill=", "--compress 7x: kd compress does not know the options of this host"),
            ("--teacher checkpoints/both/latest_net_G_B.pth", "G_A with --data_direction AtoB translates A to B"),
        ],
    )
    def test_what_it_cannot_do_is_refused_in_one_line(self, host: Host, given: str, message: str) -> None:
        refused = host.train("refused", f"--dataroot data --distill pixel --teacher checkpoints/big {given}")
        assert refused.returncode == 2 and message in refused.stderr.splitlines()[-1]
        assert not list(host.folder.glob("checkpoints/refused/*.pth"))

    def test_another_width_than_the_recorded_one_is_refused_before_a_file_is_written(self, host: Host) -> None:
        before = host.config("small")
        refused = host.train("small", "--dataroot data --train_continue --G_ngf 5")
        assert refused.returncode == 2 and "--G_ngf 5 contradicts" in refused.stderr
        assert host.config("small") == before

    def test_the_help_has_the_names_of_the_host(self, host: Host) -> None:
        said = " ".join(succeed(host.start("kd", "train.py", "--help")).stdout.split())
        assert "width of the student generator instead of --G_ngf" in said

    def test_the_doctor_knows_it(self, host: Host, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", str(host.folder)]) == 0
        said = capsys.readouterr().out
        assert f"{host.folder}: joliGEN\n" in said and "\n  cut        G_A\n" in said
        assert "define_G(model_input_nc, model_output_nc, G_ngf" in said and "models/gan_networks.py" in said
        assert "on the command line" in said


class TestTerms:
    @pytest.mark.slow
    def test_they_have_the_factor_of_the_loss_when_gradients_of_batches_are_summed(
        self, models: ModuleType, tmp_path: Path
    ) -> None:
        from options.train_options import TrainOptions  # type: ignore[import-not-found]

        defaults = vars(TrainOptions().initialize(ArgumentParser()).parse_args(["--dataroot", "data"]))
        opt = Namespace(
            **{**defaults, "isTrain": True, "gpu_ids": [], "checkpoints_dir": str(tmp_path), "G_netG": "resnet"},
        )
        vars(opt).update(G_nblocks=1, G_ngf=3, train_iter_size=2)
        spec = GeneratorSpec("resnet", 3, 3, 6, 2, "instance", False, True)
        torch.save(build_generator(spec).state_dict(), tmp_path / "teacher.pth")
        vars(opt).update(distill="pixel", lambda_pixel="3", teacher=str(tmp_path / "teacher.pth"))
        opt.teacher_epoch, opt.teacher_G_A, opt.teacher_G_B = "latest", "", ""
        model = distilling(models.find_model_using_name("cut"))(opt, 0)
        model.setup(opt)
        A, B = torch.rand(2, 2, 3, 16, 16) * 2 - 1
        model.set_input({"A": A, "B": B, "A_paths": ["a"] * 2})
        model.optimize_parameters()
        found = [p.grad.clone() for p in model.netG_A.parameters()]
        model.netG_A.zero_grad()
        with torch.no_grad():
            wanted = load_teacher(tmp_path / "teacher.pth")(A)
        type(model).__mro__[2].forward(model)
        ((model.compute_G_loss() + 3 * pixel_loss(model.fake_B, wanted)) / 2).backward()
        for gradient, parameter in zip(found, model.netG_A.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


class TestDividedGenerators:
    @pytest.fixture
    def network(self, models: ModuleType) -> Any:
        from models import gan_networks

        torch.manual_seed(1)
        return gan_networks.define_G(3, 3, 4, "resnet", 2, "instance", False)

    def test_are_read_and_compute_the_same(self, network: Any, tmp_path: Path) -> None:
        torch.save(network.state_dict(), tmp_path / "latest_net_G_A.pth")
        spec = inspect_checkpoint(tmp_path / "latest_net_G_A.pth")
        assert (spec.netG, spec.ngf, spec.dropout) == ("resnet_2blocks", 4, False)
        x = torch.rand(1, 3, 16, 16) * 2 - 1
        torch.testing.assert_close(load_teacher(tmp_path / "latest_net_G_A.pth")(x), network(x))

    def test_have_features_at_the_places_of_the_family(self, network: Any) -> None:
        names = [name for name, _ in network.named_modules()]
        whole = build_generator(GeneratorSpec("resnet", 3, 3, 4, 2, "instance", False, True))
        for index, module in enumerate(whole.model):
            found = find_modules(network, [divided_name(f"model.{index}", names)])
            assert [type(each).__name__ for each in found.values()] in ([type(module).__name__], ["Block"])
        assert divided_name("model.3", ["model.3"]) == "model.3"

    def test_inherit_in_place(self, network: Any) -> None:
        teacher = build_generator(GeneratorSpec("resnet", 3, 3, 4, 2, "instance", False, True))
        inherit_weights(network, teacher)
        x = torch.rand(1, 3, 16, 16) * 2 - 1
        torch.testing.assert_close(network(x), teacher(x))

    def test_other_keys_are_left_alone(self) -> None:
        for keys in (["model.1.weight"], ["encoder.model.1.weight"], ["encoder.model.1.weight", "decoder.weight"]):
            state = dict.fromkeys(keys, 0)
            assert family_keys(state) is state


class TestNames:
    @pytest.fixture
    def table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        row = family.HostFamily("toys", {"toy": family.HostModel(())}, option_names=NAMES, identified_by=("toy",))
        monkeypatch.setattr(family, "_FAMILIES", [*family._FAMILIES[:2], row])

    def test_are_read_and_set_both_ways(self, table: None) -> None:
        opt = Namespace(G_ngf=8, G_netG="resnet", G_nblocks=9, G_dropout=False, name="x")
        usual = usual_options(opt)
        assert (usual.ngf, usual.netG, usual.no_dropout, usual.name) == (8, "resnet_9blocks", True, "x")
        usual.ngf, usual.netG, usual.no_dropout, usual.more = 4, "resnet_2blocks", False, 1
        wanted = Namespace(G_ngf=4, G_netG="resnet", G_nblocks=2, G_dropout=True, name="x", more=1)
        assert opt == wanted and host_options(usual) is opt and not hasattr(usual, "norm")
        usual.netG = "unet_128"
        assert (opt.G_netG, opt.G_nblocks, usual.netG) == ("unet_128", 2, "unet_128")

    def test_of_usual_hosts_are_untouched(self, table: None) -> None:
        opt = Namespace(ngf=4, G_ngf=8)
        assert usual_options(opt) is opt and host_options(opt) is opt

    def test_are_those_in_messages(self) -> None:
        text = "give --netG resnet_4blocks --ngf 3, not --ngff or --netG"
        assert reworded(text, NAMES) == "give --G_netG resnet --G_nblocks 4 --G_ngf 3, not --ngff or --G_netG"
        assert reworded(text, {}) == text

    def test_pairs_of_the_row_hold_in_its_hosts_only(self) -> None:
        assert family.pairs_of(Namespace(model="cut", ngf=4)) == ()
        names = {each for name in family.families()[0].other_names.values() for each in name.names}
        opt = Namespace(**{**dict.fromkeys(names, 0), "model_type": "cut"})
        assert family.pairs_of(opt) == (family.Pair("G_A", "fake_B"),)


def test_a_usual_error_has_no_other_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KDError, match="--ngf"):
        raise KDError(processes.worded("give --ngf"))
