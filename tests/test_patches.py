"""The patches: up to date with the examples, equal with and without git, and without loss of files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import REPOSITORY
from helpers.hosts import HOST, HOSTS

from kd_plugin.cli import main
from kd_plugin.host.repository.family import families
from kd_plugin.host.repository.model_files import find_patch, patches

PIX2PIX, CUT = "pytorch-CycleGAN-and-pix2pix", "contrastive-unpaired-translation"
FILES = {
    PIX2PIX: {"models/distill_pix2pix_model.py", "models/distill_cycle_gan_model.py"},
    CUT: {"models/distill_cut_model.py"},
}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return copy_of(HOST, tmp_path / "host")


def copy_of(host: Path, to: Path) -> Path:
    """The part of a host that patches are about."""
    (to / "models").mkdir(parents=True)
    for file in (host / "models").glob("*.py"):
        shutil.copy(file, to / "models")
    return to


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["patch", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_in_step_with_the_examples() -> None:
    script = REPOSITORY / "examples" / "make_patches.py"
    result = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_every_family_has_the_files_of_its_models() -> None:
    patched = [family for family in families() if family.patch]
    rows = {family.patch: {f"models/distill_{model}_model.py" for model in family.models} for family in patched}
    assert patches().keys() == rows.keys() == FILES.keys()
    for name, files in patches().items():
        assert set(files) == rows[name] == FILES[name]
        for path, content in files.items():
            assert content.encode() == (REPOSITORY / "examples" / Path(path).name).read_bytes()


@pytest.mark.parametrize("place", HOSTS)
def test_same_with_git_and_without(place: tuple[Path, str], tmp_path: Path) -> None:
    """On hosts of every year; what was there stays as it is."""
    ours, theirs = (copy_of(place[0], tmp_path / name) for name in ("ours", "theirs"))
    before = contents(ours)
    patch = REPOSITORY / "patches" / f"{PIX2PIX}.patch"
    subprocess.run(["git", "apply", str(patch)], cwd=theirs, check=True)
    assert main(["patch", str(ours)]) == 0
    assert contents(ours) == contents(theirs) and contents(ours).keys() - before.keys() == FILES[PIX2PIX]
    assert before.items() <= contents(ours).items()
    subprocess.run(["git", "apply", "--reverse", str(patch)], cwd=ours, check=True)
    assert contents(ours) == before
    assert main(["patch", str(theirs), "--revert"]) == 0
    assert contents(theirs) == before


def test_again_checked_and_reverted(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(host)
    assert main(["patch", str(host), "--check"]) == 1
    assert capsys.readouterr().out.count("missing") == 2 and contents(host) == before
    assert main(["patch", str(host)]) == 0
    assert "python train.py --model distill_pix2pix or distill_cycle_gan --distill" in capsys.readouterr().out
    assert main(["patch", str(host), "--check"]) == 0
    assert main(["patch", str(host)]) == 0 and "nothing to do" in capsys.readouterr().out
    for said in ("removed", "nothing to remove"):
        assert main(["patch", str(host), "--revert"]) == 0 and said in capsys.readouterr().out
    assert contents(host) == before


def test_never_over_a_file_that_differs(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is anything else written or removed then."""
    own = host / "models" / "distill_cycle_gan_model.py"
    own.write_text("# mine\n")
    before = contents(host)
    assert "distill_cycle_gan_model.py exists and differs from the patch" in refused(capsys, str(host))
    assert "differs from the installed file" in refused(capsys, str(host), "--revert")
    assert main(["patch", str(host), "--check"]) == 1 and "different" in capsys.readouterr().out
    own.unlink()
    own.mkdir()  # nor over a folder
    assert "exists and differs" in refused(capsys, str(host))
    own.rmdir()
    assert before.keys() - contents(host).keys() == {"models/distill_cycle_gan_model.py"}


def test_other_families(host: Path) -> None:
    (host / "models" / "cut_model.py").touch()  # CUT has pix2pix's files too
    assert find_patch(host) == CUT
    assert find_patch(host, PIX2PIX) == PIX2PIX
    assert main(["patch", str(host), "--family", PIX2PIX]) == 0
    assert (host / "models" / "distill_pix2pix_model.py").is_file()
    for name in ("cut", "pix2pix"):
        (host / "models" / f"{name}_model.py").unlink()
    assert find_patch(host) == PIX2PIX  # CycleGAN's model is enough


def test_refuses(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown family 'pix' (known: contrastive" in refused(capsys, str(host), "--family", "pix")
    assert "no such folder" in refused(capsys, str(host / "gone"))
    assert "is not a host: it has no models/__init__.py" in refused(capsys, str(host.parent))
    for model in (host / "models").glob("*_model.py"):
        model.unlink()
    assert "has none of the models that have patches (cut_model.py, pix2pix" in refused(capsys, str(host))
    (host / "models" / "__init__.py").write_text("")
    assert "its models/__init__.py has no find_model_using_name" in refused(capsys, str(host))


def test_a_folder_that_cannot_be_written(
    host: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kd_plugin.host.repository.model_files.write_text_atomically", full)
    assert "cannot be written: No space left on device" in refused(capsys, str(host))
