"""Hosts whose models, data and options are in a package, and whose scripts may be its modules."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import LAUNCH, kd, run, succeed
from helpers.hosts import HOST, SMALL, grouped, host_arguments, real_hosts
from helpers.installed import into_package

from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.host.repository.folder import find_host
from kd_plugin.networks.generator import build_generator


def into_src(source: Path, target: Path) -> None:
    """Move a host's packages into ``target/src/translate``, and leave its scripts at the top and in there too."""
    package = target / "src" / "translate"
    into_package(source, package, "src.translate")
    for script in ("train.py", "test.py"):
        shutil.copy(package / script, target / script)


PLACES = [pytest.param((HOST, "2025"), id="embedded"), *(
    pytest.param((folder, ""), id=folder.name, marks=pytest.mark.hosts) for folder in real_hosts()
)]  # fmt: skip


@pytest.fixture(scope="module", params=grouped("package", PLACES))
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    source, form = request.param
    folder = tmp_path_factory.mktemp("package")
    into_src(source, folder)
    return folder, form


def start(
    host: tuple[Path, str], images: Path, output: Path, how: str, more: str
) -> subprocess.CompletedProcess[str]:
    folder, form = host
    phase = "train" if "train" in how else "test"
    options = host_arguments(folder / "src" / "translate", form)[phase]
    shared = f"--dataroot {images}/paired --checkpoints_dir {output} --name small {more}"
    small = SMALL if phase == "train" else f"--load_size 32 --crop_size 32 --results_dir {output}/results"
    return run([LAUNCH, *how.split(), *shared.split(), *small.split(), *options], folder, form)


@pytest.mark.parametrize("script", ["train.py", "-m src.translate.train"])
def test_are_distilled_and_tested(host: tuple[Path, str], images: Path, tmp_path: Path, script: str) -> None:
    teacher = tmp_path / "big" / "latest_net_G.pth"
    teacher.parent.mkdir()
    torch.save(build_generator(GeneratorSpec("resnet", 3, 3, 6, 3, "instance", False, True)).state_dict(), teacher)
    more = f"--model pix2pix --distill pixel --teacher {teacher} --student_widths 3,5,7 --ndf 4 --no_html"
    epoch = "--n_epochs 1 --n_epochs_decay 0 --save_epoch_freq 1 --print_freq 1"
    trained = succeed(start(host, images, tmp_path, f"kd run {script}", f"{more} {epoch}"))
    assert "x fewer parameters; pixel x 50" in trained.stdout
    saved = torch.load(tmp_path / "small" / "latest_net_G.pth", weights_only=True)
    assert saved["model.4.weight"].shape[:2] == (5, 3)
    if script == "train.py":
        succeed(start(host, images, tmp_path, "kd run test.py", "--model pix2pix"))
        assert len(list((tmp_path / "results").rglob("*fake_B.png"))) == 4


@pytest.mark.slow
def test_doctor_and_patch_find_the_package(
    host: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "host"
    shutil.copytree(host[0], folder)
    (folder / "train.py").unlink()  # so that the script is the package's
    assert find_host(folder) == folder / "src" / "translate"
    status = main(["doctor", str(folder)])
    told = capsys.readouterr().out
    assert "src/translate/models/__init__.py:" in told and "(src/translate/train.py)" in told
    assert status == 0 or not host[1]  # a real one may need packages that are not here
    assert main(["patch", str(folder)]) == 0
    assert (folder / "src" / "translate" / "models" / "distill_pix2pix_model.py").is_file()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "no such module"),
        (["nothing.train"], "no such module"),
        (["script.py"], "run the file with kd run script.py"),
        (["script"], "is it a host repository?"),
    ],
)
def test_modules_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: list[str], told: str
) -> None:
    (tmp_path / "script.py").write_text("raise AssertionError('it was run')")
    if "repository" not in told:
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    for name in ("path", "meta_path", "argv"):
        monkeypatch.setattr(sys, name, [*getattr(sys, name)])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    assert main(["run", "-m", *given]) == 2
    said = capsys.readouterr().err
    assert told in said and len(said.splitlines()) == 1


@pytest.mark.slow
def test_what_a_package_lacks_is_told_as_by_python(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("def find_model_using_name(name): return dict\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("import wandbx\n")
    (tmp_path / "package" / "train.py").write_text("")
    result = kd("run -m package.train", tmp_path)
    assert result.returncode == 1 and result.stderr.endswith("No module named 'wandbx'\n")
    assert "kd_plugin" not in result.stderr


@pytest.mark.slow
def test_models_of_other_packages_are_left_alone(tmp_path: Path) -> None:
    """torchvision has some too."""
    for name in ("models", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "models" / "__init__.py").write_text("def find_model_using_name(name): return dict\n")
    (tmp_path / "other" / "models.py").write_text("answer = 42\n")
    (tmp_path / "other" / "__init__.py").write_text("")
    (tmp_path / "train.py").write_text("import models, other.models\nprint(other.models.answer)\n")
    assert succeed(kd("run train.py", tmp_path)).stdout == "42\n"


@pytest.mark.slow
def test_a_traceback_of_a_module_begins_with_it(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("def find_model_using_name(name): return dict\n")
    (tmp_path / "broken.py").write_text("import models\n1 / 0\n")
    result = kd("run -m broken", tmp_path)
    lines = result.stderr.splitlines()
    assert result.returncode == 1 and lines[0].startswith("Traceback") and "broken.py" in lines[1]
    assert lines[-1] == "ZeroDivisionError: division by zero"
