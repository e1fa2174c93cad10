"""The command ``kd``: imports, options, and the package's public names."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import REPOSITORY

import kd_plugin
from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.networks.generator import build_generator

HEAVY = {"torch", "numpy", "PIL", "dominate", "pywt", "torchvision"}

# Commands that do not import PyTorch, with their exit status and a part of their output.
QUICK = [
    ("--version", 0, "kd_plugin "),
    ("--help", 0, "usage: kd"),
    *((f"{command} --help", 0, f"usage: kd {command}") for command in ("run", "inspect", "plan", "patch", "doctor")),
    ("", 2, "kd needs a command: run, inspect"),
    ("plam", 2, "unknown command 'plam': did you mean 'plan'?"),
    ("--versoin", 2, "unknown option '--versoin': did you mean '--version'?"),
    ("run", 2, "kd run needs a script"),
    ("plan --teacher big --mac 7x", 2, "unknown option of kd plan '--mac': did you mean '--macs'?"),
    ("plan --macs", 2, "argument --macs: expected one argument"),
    ("plan", 2, "kd plan needs a teacher"),
    ("plan --teacher big --macs seven", 2, "--macs seven: give an amount"),
    ("plan --teacher gone.pth", 2, "gone.pth: no such file"),
    ("plan --teacher empty", 2, "empty: there is no"),
    ("plan gone.pth", 2, "gone.pth: no such file"),
    ("plan big --macs 7", 2, "did you mean 7x"),
    ("inspect gone.pth", 2, "gone.pth: no such file"),
    (
        "inspect empty",
        2,
        "empty: there is no latest_net_G*.pth in this folder: give that of a training's checkpoints",
    ),
    ("inspect text.pth", 2, "text.pth: is not a PyTorch checkpoint"),
    ("inspect text.pth --size many", 2, "--size many: give 8 pixels or more"),
    ("inspect text.pth other.pth", 2, "unexpected argument 'other.pth'"),
    ("patch empty", 2, "empty is not a host"),
    ("doctor gone", 2, "gone: no such folder"),
]

CHILD = f"""
import contextlib, io, json, sys
from kd_plugin.cli import main
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = main(arguments.split())
        except SystemExit as ended:
            status = ended.code
    print(json.dumps([status, out.getvalue() + err.getvalue(), sorted({HEAVY!r} & set(sys.modules))]))
"""


def test_help_and_refusals_import_no_pytorch(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.pth").write_text("no checkpoint")
    arguments = json.dumps([given for given, _, _ in QUICK])
    result = subprocess.run(
        [sys.executable, "-c", CHILD, arguments],
        cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == len(QUICK)
    for (given, status, message), (found, text, heavy) in zip(QUICK, answers, strict=True):
        assert (found, heavy) == (status, []), given
        assert message in text and (status == 0 or text.count("\n") == 1), text


class TestOptions:
    def test_underscores_are_dashes(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", "--file_size=no_number"]) == 2
        assert "--file-size no_number: give an amount" in capsys.readouterr().err

    def test_names_are_not_abbreviated(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", "--dev", "cpu"]) == 2
        assert "unknown option of kd plan '--dev': did you mean '--device'?" in capsys.readouterr().err


class TestInspect:
    """A folder of checkpoints is read generator by generator."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name, ngf in (("latest_net_G_A", 4), ("latest_net_G_B", 5), ("5_net_G_A", 6)):
            spec = GeneratorSpec("resnet", 3, 3, ngf, 1, "instance", False, True)
            torch.save(build_generator(spec).state_dict(), tmp_path / f"{name}.pth")
        (tmp_path / "latest_net_D_A.pth").touch()  # is none of them
        return tmp_path

    def said(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
        assert main(["inspect", *map(str, arguments), "--size", "32"]) == 0
        return capsys.readouterr().out

    def test_a_folder(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        files = [folder / "latest_net_G_A.pth", folder / "latest_net_G_B.pth"]
        parts = [f"{file}\n{self.said(capsys, file)}" for file in files]
        assert self.said(capsys, folder) == "\n".join(parts)
        found = json.loads(self.said(capsys, folder, "--json"))
        assert found == [json.loads(self.said(capsys, file, "--json")) for file in files]

    def test_an_epoch(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        found = json.loads(self.said(capsys, folder, "--epoch", "5", "--json"))
        assert [one["ngf"] for one in found] == [6]

    def test_an_epoch_that_is_missing(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["inspect", str(folder), "--epoch", "7"]) == 2
        message = capsys.readouterr().err
        assert "there is no 7_net_G*.pth in this folder; it contains 5_net_G_A.pth, latest_net_G_A.pth" in message
        assert message.endswith(": give one of them, or its epoch\n")


def test_a_reader_that_ends_early_gets_no_traceback(tmp_path: Path) -> None:
    torch.save(
        build_generator(GeneratorSpec("resnet", 3, 3, 4, 1, "none", False, False)).state_dict(), tmp_path / "G.pth"
    )
    command = [sys.executable, "-m", "kd_plugin", "inspect", tmp_path / "G.pth"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 1
    process.stderr.close()


class TestPublicNames:
    @pytest.mark.slow
    def test_are_imported_when_used(self) -> None:
        names = [name for name in kd_plugin.__all__ if name != "__version__"]
        code = "; ".join(["import kd_plugin, sys", "assert 'torch' not in sys.modules", *(
            f"print(kd_plugin.{name}.__module__, kd_plugin.{name}.__name__)" for name in names
        ), "print(kd_plugin.losses.__name__)"])  # fmt: skip
        result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        *found, submodule = result.stdout.splitlines()
        assert [line.split()[1] for line in found] == names and submodule == "kd_plugin.losses"

    def test_are_listed(self) -> None:
        assert set(kd_plugin.__all__) <= set(dir(kd_plugin))

    @pytest.mark.parametrize("name", ["Distiller", "GeneratorSpec", "DistillMixin", "KDError"])
    def test_are_pickled(self, name: str) -> None:
        thing = getattr(kd_plugin, name)
        assert pickle.loads(pickle.dumps(thing)) is thing  # noqa: S301 - our own

    def test_other_names_do_not_exist(self) -> None:
        with pytest.raises(AttributeError, match="module 'kd_plugin' has no attribute 'Destiller'"):
            kd_plugin.Destiller  # noqa: B018
        assert not hasattr(kd_plugin, "_nothing")
