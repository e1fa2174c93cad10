"""``kd doctor`` on hosts of every family, and on folders that are not hosts."""

from __future__ import annotations

import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers.hosts import HOST, real_hosts

from kd_plugin.cli import main
from kd_plugin.host.repository.failed_imports import failed_imports
from kd_plugin.host.repository.survey import survey


def found(host: Path) -> dict[str, str]:
    return {finding.what: finding.found for finding in survey(host).findings}


@pytest.mark.slow
def test_the_embedded_host(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["doctor", str(HOST)]) == 0
    text = capsys.readouterr().out
    for part in ("kd_plugin", "torch", "GPUs", "find_model_using_name  (models/__init__.py:", "G_A and G_B",
                 "DistributedDataParallel", "from features  srp", "it only tests"):  # fmt: skip
        assert part in text
    assert "NOT FOUND" not in text and "cannot start" not in text
    monkeypatch.setattr("kd_plugin.commands.doctor.failed_imports", lambda host, scripts: ["x cannot start"])
    assert main(["doctor", str(HOST), "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["missing"] == [] and content["failed_imports"] == ["x cannot start"]
    assert content["host"]["models"]["pix2pix"] == "G"
    for finding in content["host"]["findings"]:  # every place leads to a line
        name, _, line = finding["where"].partition(":")
        assert (
            not line
            or finding["found"].split("(")[0].split()[0] in (HOST / name).read_text().splitlines()[int(line) - 1]
            or finding["what"] == "networks initialised"
        )


@pytest.mark.hosts
@pytest.mark.parametrize("host", real_hosts(), ids=lambda host: host.name)
def test_real_ones(host: Path) -> None:
    facts, arguments = found(host), survey(host)
    late = "gpu_ids" not in facts["generators built by"]
    assert facts["networks initialised"] == ("in setup()" if late else "when they are built")
    assert facts["several GPUs"] == ("DistributedDataParallel" if late else "DataParallel")
    assert arguments.kind.startswith("pix2pix and CycleGAN, as ") and not arguments.missing
    assert facts["learning rate set"] in ("before every epoch", "after every epoch")


@pytest.mark.hosts
@pytest.mark.skipif(not os.environ.get("KD_CUT"), reason="KD_CUT is not set")
def test_cut() -> None:
    host = survey(Path(os.environ["KD_CUT"]))
    assert host.kind.startswith("contrastive-unpaired-translation") and host.models["cut"] == "G"


class TestOthers:
    @pytest.fixture
    def host(self, tmp_path: Path) -> Path:
        return Path(shutil.copytree(HOST, tmp_path / "host", ignore=shutil.ignore_patterns("__pycache__")))

    def test_a_folder_that_is_none(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", str(tmp_path)]) == 1
        text = capsys.readouterr().out
        assert "not a host: it has no models/__init__.py" in text
        assert "kd run does not work here, missing: models looked up by name, training script" in text
        assert main(["doctor", str(tmp_path / "gone")]) == 2
        assert capsys.readouterr().err == f"kd: error: {tmp_path / 'gone'}: no such folder\n"

    def test_models_of_other_names(self, host: Path) -> None:
        """What a class distils is what it puts into model_names, or what its base class does."""
        undeclared = "none by default, its networks are {}: declare distill_pairs in its class"
        models = {
            "two": ("self.model_names = ['G_A', 'D_A'] + ['G_B'] if self.isTrain else ['G_A']", "G_A and G_B"),
            "one": ("self.model_names = ['G', 'D']\nself.fake_B = self.netG(a)", "G"),
            "derived": ("from .pix2pix_model import Pix2PixModel", "G"),
            "more": ("from .pix2pix_model import Pix2PixModel\nself.model_names += ['E']", "G"),
            "other": ("from .pix2pix_model import Pix2PixModel\nself.model_names = ['H']", undeclared.format("H")),
            "own": ("class OwnModel:\n    distill_pairs = [('H', 'x')]", "declared in its class"),
            "none": ("self.netE = x", ""),
            "broken": ("print 'of another age'", ""),
            "many": (  # as forks with a generator for each stain do
                "# self.fake_B = self.netG(a)\nself.model_names = []\nfor i in range(4):\n"
                "    self.model_names.extend([f'G{i}', f'D{i}'])\n    self.model_names.append('GS_' + str(i))\n"
                "self.model_names += [f'GA_{i}' for i in range(4)]",
                "G*, GA_*, GS_*, found by watching a forward pass",
            ),
        }
        for name, (text, _) in models.items():
            (host / "models" / f"{name}_model.py").write_text(text)
        result = survey(host).models
        assert {name: result[name] for name in models} == {name: told for name, (_, told) in models.items()}

    def test_a_kind_is_claimed_by_its_models_alone(self, host: Path) -> None:
        for name in ("pix2pix", "cycle_gan"):
            (host / "models" / f"{name}_model.py").rename(host / "models" / f"Stain{name}_model.py")
        assert survey(host).kind.startswith("a host with custom models, as of 2025")

    def test_files_of_the_patch(self, host: Path) -> None:
        assert survey(host).patches == {}
        assert main(["patch", str(host)]) == 0
        (host / "models" / "distill_pix2pix_model.py").write_text("changed")
        assert survey(host).patches == {
            "models/distill_pix2pix_model.py": "different",
            "models/distill_cycle_gan_model.py": "installed",
        }

    def test_a_survey_runs_nothing_of_the_host(self, host: Path) -> None:
        """Not even what Python cannot read."""
        (host / "models" / "__init__.py").write_text("raise SystemExit(3)\ndef find_model_using_name(name): pass\n")
        (host / "models" / "networks.py").write_text("print 'of another age'\n")
        result = survey(host)
        assert not result.missing and found(host)["generators built by"] == ""


class TestScriptsThatCannotStart:
    """A host of no networks, so that nothing here waits for PyTorch."""

    @pytest.fixture
    def host(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        files = {
            "models/__init__.py": "print('a line of the host')\ndef find_model_using_name(name): pass\n",
            "data/__init__.py": "from data import base\n",
            "data/base.py": "import json\nimport torchvision.transforms as transforms\n",
            "util/visualizer.py": "import json\nimport no_such.thing\n",
            "train.py": "import models\nfrom data import base\nfrom util.visualizer import save\n"
            "try:\n    import not_needed\nexcept ImportError:\n    pass\n"
            "if __name__ == '__main__':\n    raise AssertionError('it was run')\n",
            "test.py": "import models\nimport util.visualizer\nfrom data import create\nimport util.gone, cv2\n",
            "venv/site-packages/torchvision.py": "raise RuntimeError('operator torchvision::nms\\ndoes not exist')\n",
            "venv/site-packages/cv2.py": "raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')\n",
        }
        for name, text in files.items():
            file = tmp_path / "host" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "host" / "venv" / "site-packages"))
        return tmp_path / "host"

    def test_every_package_is_named_with_its_command(self, host: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", str(host)]) == 1
        told = [line for line in capsys.readouterr().out.splitlines() if "cannot start" in line]
        assert told == [
            "train.py cannot start: torchvision is installed but fails to import (data/base.py:2): RuntimeError: "
            f"operator torchvision::nms does not exist; install the version built for torch {version('torch')}",
            "train.py cannot start: no_such is not installed (util/visualizer.py:2): pip install no_such",
            "test.py cannot start: test.py:4: ModuleNotFoundError: No module named 'util.gone'",
        ]

    def test_names_that_pip_does_not_know(self, host: Path) -> None:
        (host / "test.py").write_text("import cv2\n")
        assert failed_imports(host, ["test.py"]) == [
            "test.py cannot start: cv2 is not installed (test.py:1): pip install opencv-python"
        ]

    def test_imports_that_end_the_process(self, host: Path) -> None:
        (host / "util" / "visualizer.py").write_text("import os\nos._exit(3)\n")
        told = "train.py and test.py cannot start: their imports end the process with exit status 3"
        assert failed_imports(host, ["train.py", "test.py"]) == [told]

    def test_a_folder_that_is_no_host_is_not_run(self, host: Path) -> None:
        (host / "models" / "__init__.py").write_text("")
        (host / "train.py").write_text("import touch\n")
        (host / "touch.py").write_text("open('touched', 'w')\n")
        assert main(["doctor", str(host)]) == 1 and not (host / "touched").exists()
