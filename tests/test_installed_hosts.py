"""Hosts that are installed packages, run by their console scripts, with options of the plugin apart."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import run, succeed
from helpers.installed import install_hosts

from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.host.repository.gathering import gathers_options
from kd_plugin.networks.generator import build_generator

Result = subprocess.CompletedProcess[str]
EPOCH = "--n_epochs 1 --n_epochs_decay 0 --lr_policy step --save_epoch_freq 1 --no_html --no_flip --seed 7 --ndf 4"


class Site:
    """A folder of installed hosts, and the folder that their runs write to."""

    def __init__(self, folder: Path, images: Path, work: Path) -> None:
        self.folder, self.images, self.work = folder, images, work

    def kd(self, *arguments: str, **more: str) -> Result:
        """Run ``kd`` with the hosts on the path, and variables in its environment."""
        return self._python("kd_plugin.cli", ["kd", *arguments], more)

    def plain(self, module: str, *arguments: str, **more: str) -> Result:
        """Run a console script without the plugin."""
        return self._python(module, list(arguments), more)

    def _python(self, module: str, argv: list[str], variables: dict[str, str]) -> Result:
        code = f"import os, sys; sys.path[0] = {str(self.folder)!r}; sys.path.insert(0, ''); sys.argv = {argv!r}; "
        code += f"os.environ.update({variables!r}); from {module} import main; sys.exit(main())"
        return run(["-c", code], self.work, "2020")

    def train(self, name: str, *more: str, plain: bool = False, before: tuple[str, ...] = (), **env: str) -> Result:
        words = ["translate", "train", "--dataroot", f"{self.images}/paired", "--name", name, *more]
        return self.plain("translate_cli", *words, **env) if plain else self.kd("run", *before, *words, **env)

    def weights(self, name: str) -> dict[str, dict[str, torch.Tensor]]:
        files = sorted((self.work / "checkpoints" / name).glob("latest_net_*.pth"))
        return {file.name: torch.load(file, weights_only=True) for file in files}

    def record(self, name: str) -> dict[str, dict[str, object]]:
        return json.loads((self.work / "checkpoints" / name / "student.json").read_text())


def same(one: dict[str, dict[str, torch.Tensor]], two: dict[str, dict[str, torch.Tensor]]) -> bool:
    return one.keys() == two.keys() != set() and all(
        one[f].keys() == two[f].keys() and all(torch.equal(one[f][k], two[f][k]) for k in one[f]) for f in one
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    install_hosts(folder)
    return folder


@pytest.fixture
def on_path(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hosts are installed for this process, whose folder is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(installed), *sys.path[1:]])
    return installed


@pytest.fixture(scope="module")
def site(installed: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The hosts with a teacher, and a student ``small`` that ``KD_DISTILL`` describes."""
    site = Site(installed, images, tmp_path_factory.mktemp("work"))
    teacher = site.work / "checkpoints" / "big" / "latest_net_G.pth"
    teacher.parent.mkdir(parents=True)
    torch.manual_seed(3)
    torch.save(build_generator(GeneratorSpec("resnet", 3, 3, 8, 6, "instance", False, True)).state_dict(), teacher)
    trained = succeed(site.train("small", KD_DISTILL=DISTILL))
    assert "x fewer parameters; pixel x 7" in trained.stdout
    return site


DISTILL = "--distill pixel --lambda_pixel 7 --teacher checkpoints/big --student_ngf 4"


class TestConsoleScripts:
    def test_without_options_it_trains_as_the_plain_command_bit_for_bit(self, site: Site) -> None:
        plain, ours = succeed(site.train("same", plain=True)), site.weights("same")
        assert succeed(site.train("same")).stdout == plain.stdout
        assert same(site.weights("same"), ours)
        assert not (site.work / "checkpoints" / "same" / "student.json").exists()

    def test_its_exit_status_and_its_traceback_are_its_own(self, site: Site) -> None:
        assert site.kd("run", "translate-leaves").returncode == 7
        failed = site.kd("run", "translate-fails")
        assert failed.returncode == 1 and failed.stderr.endswith("ZeroDivisionError: division by zero\n")
        assert failed.stderr.startswith("Traceback") and "kd_plugin" not in failed.stderr
        assert 'File "<translate-fails>", line 1' in failed.stderr and "in fail" in failed.stderr

    def test_it_sees_its_arguments_and_refuses_unknown_ones_itself(self, site: Site) -> None:
        plain, ours = (site.train("no", "--distil", "x", plain=plain) for plain in (True, False))
        assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr) and ours.returncode == 2

    def test_options_on_its_command_line_are_shown_as_a_variable(self, site: Site) -> None:
        refused = site.train("no", "--distill", "wavelet,srp", "--student-ngf=4")
        assert refused.returncode == 2 and "unrecognized arguments" in refused.stderr
        assert 'set KD_DISTILL="--distill wavelet,srp --student_ngf 4" instead\n' in refused.stdout
        assert refused.stdout.count("\n") == 1

    @pytest.mark.parametrize("module", ["translate_cli", "parsed.train"])
    def test_modules_of_installed_packages_run_as_well(self, site: Site, module: str) -> None:
        result = site.kd("run", "-m", module, "--help")
        assert result.returncode == 0
        assert ("distillation (kd_plugin)" in result.stdout) == (module == "parsed.train")

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            (["translat"], "no console script of that name: did you mean translate?"),
            (["unheard"], "no console script of that name: run this in the folder of the host repository"),
            (["other-script"], "not of a host: no package of its distribution (other) has a models subpackage"),
            (["-m", "other"], "nor in an installed package other: is it a host repository?"),
            (["--kd_options"], "--kd_options needs a file"),
            (["--kd_options", "small.txt"], "--kd_options needs a script"),
            (["--kd_options", "small.txt", "translate"], "--kd_options small.txt: the file cannot be read (No such"),
        ],
    )
    def test_what_is_not_there_is_told_in_one_line(
        self, on_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], told: str
    ) -> None:
        assert main(["run", *given]) == 2
        said = capsys.readouterr().err
        assert told in said and said.count("\n") == 1

    def test_doctor_takes_the_name_of_a_package_or_a_console_script(
        self, on_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["doctor", "translate"]) == 0
        said = capsys.readouterr().out
        assert f"{on_path / 'translate'}: " in said and "kd run translate, kd run translate-fails" in said
        assert 'options of the plugin     in KD_DISTILL="--distill ..."' in said
        assert main(["doctor", "parsed"]) == 0
        assert "on the command line, or in KD_DISTILL" in capsys.readouterr().out
        assert main(["doctor", "nowhere"]) == 2
        assert "nowhere: no such folder" in capsys.readouterr().err

    def test_the_place_where_options_are_gathered_is_a_line(self, installed: Path) -> None:
        assert gathers_options(installed / "translate") == ""
        name, line = gathers_options(installed / "parsed").split(":")
        assert "get_option_setter(" in (installed / "parsed" / name).read_text().splitlines()[int(line) - 1]


class TestApart:
    def test_the_record_is_that_of_the_command_line(self, site: Site) -> None:
        record = site.record("small")
        assert record["distillation"]["terms"] == {"pixel": "7"} and record["distillation"]["distill"] == "pixel"
        assert record["host_options"]["ngf"] == 4 and record["host_options"]["netG"] == "resnet_6blocks"
        assert record["teachers"]["G"]["file"] == "checkpoints/big/latest_net_G.pth"

    def test_a_file_trains_what_the_variable_trains(self, site: Site) -> None:
        (site.work / "small.txt").write_text(
            "# the teacher's folder\n--teacher checkpoints/big\n--distill pixel # and nothing else\n"
            "--lambda_pixel \\\n  '7'\n--student_ngf\n4"
        )
        succeed(site.train("filed", before=("--kd_options", "small.txt")))
        assert same(site.weights("filed"), site.weights("small"))
        assert site.record("filed") == site.record("small")

    def test_the_student_is_three_eighths_of_its_teacher_unless_its_width_is_given(self, site: Site) -> None:
        distill = "--distill pixel --teacher checkpoints/big"
        assert "the student has ngf 3" in succeed(site.train("default", KD_DISTILL=distill)).stdout
        assert site.record("default")["host_options"]["ngf"] == 3
        succeed(site.train("named", "--ngf", "5", KD_DISTILL=distill))
        assert site.record("named")["host_options"]["ngf"] == 5

    def test_a_test_builds_the_recorded_student(self, site: Site) -> None:
        words = ["translate", "test", "--dataroot", f"{site.images}/paired", "--name", "small"]
        assert "does not fit netG" in site.plain("translate_cli", *words).stderr  # ngf is 64 in all tests
        succeed(site.kd("run", *words))
        assert len(list((site.work / "results").glob("*.png"))) == 4
        (site.work / "test.txt").write_text(DISTILL)
        refused = site.kd("run", "--kd_options", "test.txt", *words)
        assert refused.returncode == 2
        assert refused.stderr.splitlines()[-1].startswith("kd: error: --kd_options test.txt: its options are")
        noted = succeed(site.kd("run", *words, KD_DISTILL=DISTILL))  # set for the whole session
        assert noted.stdout.count("[distill] note: KD_DISTILL has no effect in a test\n") == 1

    def test_training_goes_on_from_the_record(self, site: Site) -> None:
        succeed(site.train("on", KD_DISTILL=DISTILL))
        more = ("--continue-train", "--n-epochs", "2", "--epoch-count", "2")
        again = succeed(site.train("on", *more[:3]))
        assert "note: the next epoch is 2, but this run begins at 1: add --epoch-count 2" in again.stdout
        succeed(site.train("on", KD_DISTILL=DISTILL))
        resumed = succeed(site.train("on", *more))
        assert "note: the next epoch" not in resumed.stdout and "continuing after epoch 1" in resumed.stdout
        assert "resuming with --distill pixel and the teacher checkpoints/big" in resumed.stdout
        assert "\nepoch 2 {" in resumed.stdout
        assert site.record("on")["distillation"] == site.record("small")["distillation"]
        assert "continuing without a teacher" in succeed(site.train("on", *more, KD_DISTILL="--distill none")).stdout

    @pytest.mark.parametrize(
        ("distill", "told"),
        [
            ("--distill wavlet --teacher checkpoints/big", "unknown term 'wavlet': did you mean 'wavelet'?"),
            (
                "--teacher checkpoints/big",
                "--teacher has no effect without --distill: add e.g. --distill wavelet,srp",
            ),
            ("--distill pixel --teacher nowhere", "--teacher nowhere: no such file or folder"),
            (
                "--distill pixel --teacher checkpoints/big --student_ngf four",
                "--student_ngf four: give a whole number",
            ),
        ],
    )
    def test_a_wrong_value_is_one_line_that_names_the_variable(self, site: Site, distill: str, told: str) -> None:
        result = site.train("bad", KD_DISTILL=distill)
        errors = [line for line in result.stderr.splitlines() if "error: " in line]
        assert result.returncode == 2 and len(errors) == 1 and "Traceback" not in result.stderr
        assert told in errors[0] and errors[0].endswith("(from KD_DISTILL)")
        assert not list((site.work / "checkpoints" / "bad").glob("*.pth"))


@pytest.mark.parametrize(
    ("distill", "told"),
    [
        ("--distil pixel", "KD_DISTILL: unrecognized option --distil: did you mean --distill?"),
        ("--student-ngf 4", "unrecognized option --student-ngf: did you mean --student_ngf?"),
        ("--gpu_ids 0", "KD_DISTILL: unrecognized option --gpu_ids: give options of the host on the command line"),
        ("--distill wavelet srp", "'srp' after wavelet is not an option, separate terms with commas"),
        ("--distill 'pixel", "KD_DISTILL: the quotation that begins with 'pixel is not closed"),
        ("--distill", "KD_DISTILL: argument --distill: expected one argument"),
    ],
)
def test_what_is_no_option_is_refused_before_the_host_starts(
    on_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], distill: str, told: str
) -> None:
    monkeypatch.setenv("KD_DISTILL", distill)
    assert main(["run", "translate", "train"]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1
    Path("options.txt").write_text(distill)
    assert main(["run", "--kd_options=options.txt", "translate", "train"]) == 2
    assert "but KD_DISTILL is set as well" in capsys.readouterr().err
    monkeypatch.delenv("KD_DISTILL")
    assert main(["run", "--kd_options=options.txt", "translate", "train"]) == 2
    said = capsys.readouterr().err
    assert told.replace("KD_DISTILL", "--kd_options options.txt") in said and said.count("\n") == 1


def test_help_in_the_variable_lists_the_options(
    on_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KD_DISTILL", "--help")
    with pytest.raises(SystemExit) as ended:
        main(["run", "translate", "train"])
    text = capsys.readouterr().out
    assert not ended.value.code and "usage: KD_DISTILL=" in text and "--lambda_wavelet LAMBDA_WAVELET" in text


class TestParsed:
    """Hosts whose parser gathers the options of the models: as if they stood on the command line."""

    def train(self, site: Site, name: str, *more: str, **env: str) -> Result:
        options = ["--dataroot", f"{site.images}/paired", "--name", name, "--model", "pix2pix", "--gpu_ids", "-1"]
        small = "--netG resnet_6blocks --norm instance --load_size 32 --crop_size 32 --num_threads 0"
        return site.kd("run", "parsed", *options, *small.split(), *EPOCH.split(), *more, **env)

    def test_the_variable_trains_what_the_command_line_trains(self, site: Site) -> None:
        succeed(self.train(site, "typed", *DISTILL.split()))
        succeed(self.train(site, "apart", "--lambda_pixel", "7", KD_DISTILL=DISTILL))
        assert same(site.weights("typed"), site.weights("apart")) and site.record("typed") == site.record("apart")
        written = [(site.work / "checkpoints" / name / "train_opt.txt").read_text() for name in ("typed", "apart")]
        assert written[0].replace("typed", "apart") == written[1]

    @pytest.mark.parametrize(
        ("typed", "distill", "told"),
        [
            ("--student_ngf 5", DISTILL, "--student_ngf 5 on the command line, but 4 in KD_DISTILL: give it in one"),
            ("", "--distill wavlet --teacher checkpoints/big", "did you mean 'wavelet'? "),
            ("", f"{DISTILL} --distill pixel:G_Z", "this model has the generators G, not G_Z (from"),
        ],
    )
    def test_errors_are_one_line_that_names_the_variable(
        self, site: Site, typed: str, distill: str, told: str
    ) -> None:
        result = self.train(site, "bad", *typed.split(), KD_DISTILL=distill)
        errors = [line for line in result.stderr.splitlines() if "error: " in line]
        assert result.returncode == 2 and len(errors) == 1 and told in errors[0] and "KD_DISTILL" in errors[0]
