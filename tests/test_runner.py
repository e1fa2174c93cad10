"""``kd run`` compared with plain ``python``, on small scripts, on the embedded host and on real ones."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import LAUNCH, REPOSITORY, kd, kd_inside, python, run, succeed
from helpers.hosts import FORMS, HOST, HOSTS, SMALL, grouped, host_arguments, imported_host, real_hosts

from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.networks.generator import build_generator

Result = subprocess.CompletedProcess[str]
DATA = {"pix2pix": "paired", "cycle_gan": "unpaired"}
NETS = {"pix2pix": ["G"], "cycle_gan": ["G_A", "G_B"]}


class Host:
    """A host repository, and the folder that its runs write to."""

    def __init__(self, folder: Path, form: str, images: Path, output: Path) -> None:
        self.folder, self.form, self.images, self.output = folder, form, images, output
        self.more = host_arguments(folder, form)

    def start(self, how: str, script: str, model: str, name: str, more: str = "") -> Result:
        phase = script.removesuffix(".py")
        folders = [
            "--dataroot",
            str(self.images / DATA[model]),
            "--checkpoints_dir",
            str(self.output / "checkpoints"),
        ]
        if phase == "train":
            # Some hosts step a linear schedule before the first epoch, and would train one epoch at a rate of zero.
            more += " --n_epochs 1 --n_epochs_decay 0 --lr_policy step"
            more += " --save_epoch_freq 1 --print_freq 1 --no_html --ndf 4 " + SMALL
        else:
            folders += ["--results_dir", str(self.output / "results")]
            more += " --load_size 32 --crop_size 32"
        arguments = [*folders, "--model", model, "--name", name, *self.more[phase], *more.split()]
        return run([LAUNCH, *how.split(), script, *arguments], self.folder, self.form)

    def train(self, how: str, model: str, name: str, more: str = "") -> Result:
        return succeed(self.start(how, "train.py", model, name, more))

    def checkpoint(self, name: str, net: str) -> dict[str, torch.Tensor]:
        return torch.load(self.output / "checkpoints" / name / f"latest_net_{net}.pth", weights_only=True)

    def losses(self, name: str) -> list[list[str]]:
        """The logged losses, without the times."""
        log = (self.output / "checkpoints" / name / "loss_log.txt").read_text()
        lines = (re.sub(r".*data: [\d.]+\)", "", line) for line in log.splitlines() if "epoch: " in line)
        return [re.findall(r"(\w+): (-?[\d.]+)", line) for line in lines]


PLACES = grouped("runner", HOSTS)


@pytest.fixture(scope="module", params=PLACES)
def host(request: pytest.FixtureRequest, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host in which a teacher of each model has been trained, by the host alone."""
    host = Host(*request.param, images, tmp_path_factory.mktemp("runs"))
    for model in DATA:
        host.train("plain", model, f"big_{model}", "--ngf 6")
    return host


@pytest.mark.parametrize("model", DATA)
class TestHosts:
    def test_off_is_off_bit_for_bit(self, host: Host, model: str) -> None:
        big, off = f"big_{model}", f"off_{model}"
        host.train("kd run", model, off, "--ngf 6")
        assert host.losses(off) == host.losses(big) != []
        nets = sorted(f.name for f in (host.output / "checkpoints" / big).glob("latest_net_*.pth"))
        assert sorted(f.name for f in (host.output / "checkpoints" / off).glob("latest_net_*.pth")) == nets != []
        for file in nets:
            net = file.removeprefix("latest_net_").removesuffix(".pth")
            plain, ours = host.checkpoint(big, net), host.checkpoint(off, net)
            assert plain.keys() == ours.keys() and all(torch.equal(plain[k], ours[k]) for k in plain)
        assert not (host.output / "checkpoints" / off / "student.json").exists()

    @pytest.mark.parametrize("terms", ["pixel", "wavelet,srp,pixel"])
    def test_train_and_test(self, host: Host, model: str, terms: str) -> None:
        name = f"small_{model}_{terms.count(',')}"
        teacher = host.output / "checkpoints" / f"big_{model}"
        trained = host.train(
            "kd run", model, name, f"--distill {terms} --teacher {teacher} --student_ngf 4 --student_ndf 5"
        )
        assert trained.stdout.count("x fewer parameters") == len(NETS[model])
        logged = {key for line in host.losses(name) for key, _ in line}
        assert {f"{term}{net[1:]}" for term in terms.split(",") for net in NETS[model]} <= logged
        folder = host.output / "checkpoints" / name
        options = (folder / "train_opt.txt").read_text()
        assert re.search(rf"distill: {terms}\s+\[default: \]", options) and re.search(r"student_ngf: 4\s", options)
        record = json.loads((folder / "student.json").read_text())
        assert sorted(record["students"]) == NETS[model] and record["host_options"]["ndf"] == 5
        for net in NETS[model]:
            assert host.checkpoint(name, net)["model.1.weight"].shape[0] == 4
        if terms == "pixel":  # the student's test needs no option of its own, and no plugin
            ours = re.search(r"^\[distill\] test: kd (run test.py .*)$", trained.stdout, re.MULTILINE)[1]
            plain = re.search(r"^\[distill\] test without kd_plugin: python (.*)$", trained.stdout, re.MULTILINE)[1]
            results = ["--results_dir", str(host.output / "results")]
            succeed(run([LAUNCH, "kd", *shlex.split(ours), *results], host.folder, host.form))
            pictures = {f.name: f.read_bytes() for f in (host.output / "results" / name).rglob("*fake*.png")}
            assert len(pictures) == 4 * len(NETS[model])
            (folder / "student.json").unlink()
            shutil.rmtree(host.output / "results" / name)
            succeed(run([LAUNCH, "plain", *shlex.split(plain), *results], host.folder, host.form))
            assert pictures == {f.name: f.read_bytes() for f in (host.output / "results" / name).rglob("*fake*.png")}


# What does not depend on the form of the embedded host is run on one of them, since starting a host takes seconds.
ONE_FORM = [PLACES[0], *PLACES[len(FORMS) :]]


@pytest.mark.parametrize("host", ONE_FORM, indirect=True)
class TestOptions:
    def test_options_are_in_the_help(self, host: Host) -> None:
        text = succeed(host.start("kd run", "train.py", "pix2pix", "help", "--help")).stdout
        assert "distillation (kd_plugin):" in text and "--wavelet_bands {high,low,all}" in text
        assert "--lambda_srp LAMBDA_SRP" in text and "--teacher_G_A" in text
        assert "kd_plugin" not in succeed(host.start("plain", "train.py", "pix2pix", "help", "--help")).stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--distill wavlet --teacher {}", "unknown term 'wavlet': did you mean 'wavelet'?"),
            ("--teacher {}", "--teacher has no effect without --distill"),
            ("--distill wavelet --teacher nowhere", "--teacher nowhere: no such file or folder"),
            ("--distill wavelet --teacher {} --direction BtoA", "translates A to B, but G"),
            ("--distill wavelet --teacher {} --wavelet_levels four", "--wavelet_levels four: give a whole number"),
            ("--distill srp --teacher {} --srp_layers nope", "there is no module 'nope'"),
        ],
    )
    def test_misuse_is_one_line_and_status_2(self, host: Host, arguments: str, message: str) -> None:
        """At every place where it is noticed; `test_flags.py` has what else the options alone tell."""
        teacher = host.output / "checkpoints" / "big_pix2pix"
        result = host.start("kd run", "train.py", "pix2pix", "bad", "--ngf 4 " + arguments.format(teacher))
        lines = [line for line in result.stderr.splitlines() if "error: " in line]
        assert result.returncode == 2 and len(lines) == 1 and message in lines[0]
        assert "Traceback" not in result.stderr and "End of epoch" not in result.stdout
        assert not list((host.output / "checkpoints").glob("bad/*.pth"))


@pytest.mark.parametrize("host", ONE_FORM, indirect=True)
class TestAfterwards:
    """What follows a training: tests, more training, and the record that serves them."""

    def small(self, host: Host, name: str, more: str = "", model: str = "pix2pix") -> str:
        """Train a student, and return the options that did it, for another run like it."""
        options = f"--distill pixel --teacher {host.output / 'checkpoints' / f'big_{model}'} --student_ngf 4"
        host.train("kd run", model, name, f"{options} {more}")
        return options

    def pictures(self, host: Host, name: str, pattern: str = "*_fake_B.png") -> dict[str, bytes]:
        return {f.name: f.read_bytes() for f in (host.output / "results" / name).rglob(pattern)}

    def test_model_test_with_suffix(self, host: Host) -> None:
        """One direction alone, whose channels are the other way round, tested alone."""
        spec = GeneratorSpec("resnet", 1, 3, 6, 2, "instance", False, True)
        torch.save(build_generator(spec).state_dict(), host.output / "grey_net_G_B.pth")
        more = f"--distill pixel --teacher_G_B {host.output}/grey_net_G_B.pth --student_ngf 4 --student_ndf 4"
        host.train("kd run", "cycle_gan", "one", more + " --input_nc 3 --output_nc 1 --lambda_identity 0")
        record = json.loads((host.output / "checkpoints/one/student.json").read_text())
        assert sorted(record["students"]) == ["G_A", "G_B"] and sorted(record["teachers"]) == ["G_B"]
        arguments = (
            f"--model test --model_suffix _B --name one --load_size 32 --crop_size 32 --dataroot {host.images}"
        )
        folders = (
            f"/unpaired/testB --checkpoints_dir {host.output / 'checkpoints'} --results_dir {host.output}/results"
        )
        command = [LAUNCH, "kd", "run", "test.py", *(arguments + folders).split(), *host.more["test"]]
        succeed(run(command, host.folder, host.form))
        assert len(self.pictures(host, "one", "*_fake.png")) == 4

    def test_the_report_of_a_test(self, host: Host, tmp_path: Path) -> None:
        """Both directions, with the recorded teachers; and a report gives the images that the host has written."""
        self.small(host, "reported", "--student_ema", model="cycle_gan")
        result = succeed(host.start("kd run", "test.py", "cycle_gan", "reported", "--kd_report"))
        folder = host.output / "results" / "reported" / "test_latest"
        assert result.stdout.splitlines()[-1] == str(folder / "report" / "index.html")
        report = json.loads((folder / "report" / "report.json").read_text())
        assert [direction["name"] for direction in report["directions"]] == ["AtoB", "BtoA"]
        sources = {subject["label"]: subject["source"] for subject in report["directions"][1]["subjects"]}
        assert sources["big_cycle_gan"].endswith("big_cycle_gan/latest_net_G_B.pth")
        assert sources["reported"].endswith("reported/latest_net_G_B.pth")

        student = host.output / "checkpoints" / "reported"
        given = ["--teacher", student, "--student", folder, "--images", host.images / "unpaired" / "testA"]
        settings = ["--size", "32", "--only", "quality", "--no-fid", "-o", tmp_path]
        settings += ["--batch-size", "1"]  # as the host's: sums over several images are rounded otherwise
        assert main(["report", *map(str, given + settings)]) == 0
        (l1,) = (
            measure["values"]["student1"]["value"]
            for measure in json.loads((tmp_path / "report.json").read_text())["directions"][0]["measures"]
            if measure["key"] == "l1_teacher"
        )
        succeed(host.start("kd run", "test.py", "cycle_gan", "reported", "--epoch ema"))
        assert len([*(folder.parent / "test_ema").rglob("*_fake_B.png")]) == 4
        rounds = host.folder.is_relative_to(REPOSITORY)  # the embedded host rounds to 8 bits, the others round down
        assert 0 < l1 < 1 / 255 if rounds else l1 == 0

    def test_contradicting_the_record(self, host: Host) -> None:
        self.small(host, "kept", "--no_dropout")
        for option in ("--ngf 64", "--netG resnet_9blocks", "--norm none"):
            result = host.start("kd run", "test.py", "pix2pix", "kept", option)
            assert result.returncode == 2
            assert re.search(rf"{option} contradicts .*student.json: the student was built with", result.stderr)

    def test_a_record_of_another_training_is_not_used(self, host: Host) -> None:
        options = self.small(host, "again")
        host.train("plain", "pix2pix", "again", "--ngf 6")
        result = host.start("kd run", "test.py", "pix2pix", "again", "--ngf 6 --netG resnet_6blocks")
        assert "belongs to another training" in succeed(result).stdout
        more = options.replace("--student_ngf 4", "--student_ngf 6") + " --continue_train"
        assert "belongs to another training" in host.train("kd run", "pix2pix", "again", more).stdout

    def test_a_damaged_record(self, host: Host) -> None:
        options = self.small(host, "damaged")
        file = host.output / "checkpoints" / "damaged" / "student.json"
        for text in ("{", '{"format": 1, "host_options": []}', "[]", '{"format": 99}'):
            file.write_text(text)
            result = host.start("kd run", "test.py", "pix2pix", "damaged")
            assert result.returncode == 2 and str(file) in result.stderr and "Traceback" not in result.stderr
        host.train("kd run", "pix2pix", "damaged", options)  # a new training writes a new one
        succeed(host.start("kd run", "test.py", "pix2pix", "damaged"))

    def test_suffix(self, host: Host) -> None:
        """A name made of options that the record then changes is still the name of the folder."""
        suffix = "--suffix {model}_{ngf}"
        self.small(host, "suf", suffix)
        folder = host.output / "checkpoints" / "suf_pix2pix_64"
        assert (folder / "student.json").is_file()
        succeed(host.start("kd run", "test.py", "pix2pix", "suf", suffix))
        assert len(self.pictures(host, "suf_pix2pix_64")) == 4

    def test_load_iter_and_epoch(self, host: Host) -> None:
        self.small(host, "often", "--save_by_iter --save_latest_freq 2 --lr 0.002")
        shown = []
        for which in ("--load_iter 2", "--epoch 1"):
            shutil.rmtree(host.output / "results" / "often", ignore_errors=True)
            succeed(host.start("kd run", "test.py", "pix2pix", "often", which))
            shown.append(self.pictures(host, "often"))
        assert shown[0].keys() == shown[1].keys() and shown[0] != shown[1]
        (host.output / "checkpoints" / "often" / "latest_net_G.pth").write_bytes(b"")  # neither run needs it
        succeed(host.start("kd run", "test.py", "pix2pix", "often", "--load_iter 2"))

    def test_continue_train(self, host: Host) -> None:
        """It needs no option of the student, goes on from what was saved, and refuses another student."""
        options = self.small(host, "more", "--ngf 64")
        before = host.checkpoint("more", "G")
        less = options.removesuffix("--student_ngf 4") + " --continue_train"
        for more in (less, options + " --ngf 64 --continue_train"):  # or all of the first command again
            host.train("kd run", "pix2pix", "more", more + " --lr 0")
            after = host.checkpoint("more", "G")
            weights = [key for key in before if key.endswith(".weight")]
            assert all(
                torch.equal(before[k], after[k]) for k in weights
            )  # a learning rate of 0 keeps what was loaded
        for option in ("--student_ngf 5", "--student_ndf 6"):
            result = host.start("kd run", "train.py", "pix2pix", "more", f"{less} {option}")
            assert result.returncode == 2 and f"{option} contradicts" in result.stderr

    def test_never_over_the_teacher(self, host: Host) -> None:
        folder = host.output / "checkpoints" / "big_pix2pix"
        files = {f: f.read_bytes() for f in folder.iterdir() if f.is_file()}
        for teacher in (folder, folder / "latest_net_G.pth", f"{folder}/../big_pix2pix/"):
            more = f"--distill pixel --teacher {teacher} --student_ngf 4"
            result = host.start("kd run", "train.py", "pix2pix", "big_pix2pix", more)
            assert result.returncode == 2 and "a --name other than big_pix2pix" in result.stderr
        assert files == {f: f.read_bytes() for f in folder.iterdir() if f.is_file()}

    def test_direction_is_remembered(self, host: Host) -> None:
        host.train("plain", "pix2pix", "big_b", "--ngf 6 --direction BtoA")
        more = f"--distill pixel --teacher {host.output}/checkpoints/big_b --student_ngf 4 --direction BtoA"
        host.train("kd run", "pix2pix", "back", more)
        succeed(host.start("kd run", "test.py", "pix2pix", "back"))
        shown = self.pictures(host, "back")
        succeed(host.start("kd run", "test.py", "pix2pix", "back", "--direction BtoA"))
        assert shown == self.pictures(host, "back") != {}

    def test_abbreviations_work_as_before(self, host: Host) -> None:
        """With --lambda_wavelet about, the host's --lambda would be ambiguous; off, the parser is the host's own."""
        for how in ("plain", "kd run"):
            host.train(how, "pix2pix", "short", "--lambda 50")
        assert "distill" not in (host.output / "checkpoints" / "short" / "train_opt.txt").read_text()


def test_two_processes_under_torchrun(images: Path, tmp_path: Path) -> None:
    """Each sees half of the batches; the gradients are averaged, and one of them writes and speaks."""
    for net in ("G_A", "G_B"):
        (tmp_path / "big").mkdir(exist_ok=True)
        spec = GeneratorSpec("resnet", 3, 3, 6, 2, "instance", False, True)
        torch.save(build_generator(spec).state_dict(), tmp_path / "big" / f"latest_net_{net}.pth")
    arguments = f"--dataroot {images}/unpaired --checkpoints_dir {tmp_path} --name small --model cycle_gan --ndf 4"
    arguments += f" --n_epochs 1 --n_epochs_decay 0 --save_epoch_freq 1 --print_freq 1 --no_html {SMALL}"
    arguments += f" --distill wavelet,srp,pixel,feature --teacher {tmp_path}/big --student_ngf 4"
    arguments += f" --amp bf16 --teacher_cache {tmp_path}/cache --no_flip"
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"`torchrun (--nproc_per_node 2 -m kd_plugin run train\.py) ", readme)[1]
    command = f"-m torch.distributed.run --master_port 29533 {shown}"
    text = succeed(run([*command.split(), *arguments.split()], HOST)).stdout
    assert text.count("fewer parameters; ") == 2
    kept = [len(list(shelf.glob("*.pt"))) for shelf in (tmp_path / "cache").iterdir()]
    assert len(kept) == 2 and max(kept) == 4  # all of A; of B, which is drawn, those that came
    assert json.loads((tmp_path / "small" / "student.json").read_text())["students"].keys() == {"G_A", "G_B"}
    state = torch.load(tmp_path / "small" / "latest_net_G_A.pth", weights_only=True)
    assert not any(key.startswith("module.") for key in state)


def test_hosts_variable_is_explained() -> None:
    """It and KD_CUT, a checkout of contrastive-unpaired-translation."""
    if not real_hosts():
        pytest.skip("KD_HOSTS is not set: no real host repository was run")
    assert all((folder / "train.py").is_file() for folder in real_hosts())


SCRIPT = """
import sys
import models
print(sys.argv, sys.path[0], __name__, __file__, __package__, __spec__, __doc__, sorted(globals()))
print(sys.modules["__main__"].models is models, type(__loader__).__name__)
"""
SCRIPTS = {
    "plain.py": SCRIPT,
    "leaves.py": SCRIPT + "sys.exit(3)\n",
    "leaves_with_text.py": "import sys\nsys.exit('so it is')\n",
    "fails.py": "import models\ndef deeper():\n    models.find_model_using_name('x').nothing\ndeeper()\n",
    "chained.py": "try:\n    {}[1]\nexcept KeyError as error:\n    raise ValueError('so') from error\n",
    "imports_nothing.py": "import models\nimport models.missing\n",
    "bad_syntax.py": "def f(:\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("host")
    (folder / "models").mkdir()
    (folder / "models" / "__init__.py").write_text("def find_model_using_name(name):\n    return object\n")
    for name, text in SCRIPTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.slow
class TestScripts:
    def test_interrupted(self, folder: Path) -> None:
        """Ctrl-C: the script's own frames, and death by the signal."""
        (folder / "waits.py").write_text("import models, signal\ndef wait():\n    signal.raise_signal(2)\nwait()\n")
        plain, ours = python(["waits.py"], folder), python(["-m", "kd_plugin", "run", "waits.py"], folder)
        assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)
        assert plain.returncode == -2 and "KeyboardInterrupt" in plain.stderr

    @pytest.mark.parametrize("name", SCRIPTS)
    @pytest.mark.parametrize("below", [False, True])
    def test_is_as_under_python(self, folder: Path, name: str, below: bool) -> None:
        """Output, error output with traceback, and exit status, from the folder itself and from above it."""
        script = f"{folder.name}/{name}" if below else name
        cwd = folder.parent if below else folder
        plain = python([script, "--lr", "1"], cwd)
        ours = run(["-m", "kd_plugin", "run", script, "--lr", "1"], cwd)
        assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)

    @pytest.mark.parametrize("name", ["plain.py", "leaves.py", "chained.py"])
    def test_is_as_under_python_in_a_process_of_its_own(self, folder: Path, name: str) -> None:
        plain, ours = python([name, "a"], folder), python(["-m", "kd_plugin", "run", name, "a"], folder)
        assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)

    def test_console_script(self, folder: Path) -> None:
        kd_script = Path(sys.executable).parent / "kd"
        if not kd_script.exists():
            pytest.skip("the package is not installed, so there is no kd command")
        result = subprocess.run(
            [kd_script, "run", "plain.py"], cwd=folder, capture_output=True, text=True, check=False
        )
        assert (result.returncode, result.stdout) == (0, python(["plain.py"], folder).stdout)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("run gone.py", "no script 'gone.py'"),
            ("run", "kd run needs a script"),
            ("run {}/lonely.py", "there is no models/ package next to"),
            ("run {}/odd/train.py", "has no find_model_using_name"),
        ],
    )
    def test_not_a_host(self, tmp_path: Path, arguments: str, message: str) -> None:
        (tmp_path / "lonely.py").touch()
        (tmp_path / "odd" / "models").mkdir(parents=True)
        (tmp_path / "odd" / "models" / "__init__.py").touch()
        (tmp_path / "odd" / "train.py").write_text("import models\n")
        result = kd(arguments.format(tmp_path), tmp_path)
        assert result.returncode == 2 and message in result.stderr and result.stderr.count("\n") == 1

    def test_a_fault_of_the_plugin_keeps_its_traceback(self, folder: Path) -> None:
        code = "import models\nmodels.find_model_using_name('x')\n"  # object is no model class
        (folder / "fault.py").write_text(code.replace("('x')", "(1, 2, 3)"))
        result = kd("run fault.py", folder)
        assert result.returncode == 1 and "import_hooks.py" in result.stderr


class TestCommandLine:
    def test_inspect(self, tmp_path: Path) -> None:
        with imported_host(HOST, "2025") as models:
            network = models.networks.define_G(3, 3, 24, "resnet_9blocks", "instance", False)
        torch.save(network.state_dict(), tmp_path / "latest_net_G.pth")
        text = succeed(kd_inside("inspect latest_net_G.pth", tmp_path)).stdout
        assert "resnet_9blocks" in text and "1.606 M" in text and "7.257 G at 256x256" in text
        facts = json.loads(succeed(kd_inside("inspect latest_net_G.pth --json --size 512", tmp_path)).stdout)
        assert facts["parameters"] == sum(p.numel() for p in network.parameters())
        assert (facts["netG"], facts["ngf"], facts["norm"], facts["dropout"]) == (
            "resnet_9blocks",
            24,
            "instance",
            False,
        )
        assert facts["height"] == 512 and facts["macs"] == pytest.approx(4 * 7.257e9, rel=1e-3)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("inspect gone.pth", "gone.pth: no such file"),
            ("inspect . --epoch 5", "there is no 5_net_G*.pth in this folder; it contains latest_net_G.pth"),
            ("inspect latest_net_G.pth --epoch 5", "--epoch 5 requires a folder"),
            ("inspect latest_net_G.pth", "latest_net_G.pth: is empty"),
        ],
    )
    def test_inspect_refuses(self, tmp_path: Path, arguments: str, message: str) -> None:
        (tmp_path / "latest_net_G.pth").touch()
        result = kd_inside(arguments, tmp_path)
        assert result.returncode == 2 and message in result.stderr and result.stderr.count("\n") == 1

    def test_inspect_checks_the_size(self, tmp_path: Path) -> None:
        with imported_host(HOST, "2025") as models:
            torch.save(models.networks.define_G(3, 3, 2, "unet_128").state_dict(), tmp_path / "G.pth")
        result = kd_inside("inspect G.pth --size 64", tmp_path)
        assert result.returncode == 2 and "--size 64: a unet_128 takes multiples of 128" in result.stderr

    def test_version_and_help(self, tmp_path: Path) -> None:
        from kd_plugin import __version__

        assert __version__ in succeed(kd_inside("--version", tmp_path)).stdout
        for command in ("--help", "run --help", "inspect --help"):
            assert "usage: kd" in succeed(kd_inside(command, tmp_path)).stdout


@pytest.mark.slow
def test_the_package_imports_no_extra() -> None:
    """scikit-image, visdom, torchvision and PyTorch's compiler stay out until something that needs them is called."""
    code = (
        "import sys, kd_plugin, kd_plugin.cli; [getattr(kd_plugin, name) for name in kd_plugin.__all__]; "
        "print([m for m in ('skimage', 'visdom', 'torchvision', 'torch._dynamo') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert result.stdout.strip() == "[]"
