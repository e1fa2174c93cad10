"""``kd doctor``: what it says of hosts of every kind, and of what is none."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import HOST, real_hosts

from kd_plugin.cli import main
from kd_plugin.host.survey import survey


def found(host: Path) -> dict[str, str]:
    return {finding.what: finding.found for finding in survey(host).findings}


def test_the_embedded_host(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(HOST)]) == 0
    text = capsys.readouterr().out
    for part in ("kd_plugin", "torch", "GPUs", "find_model_using_name  (models/__init__.py:", "G_A and G_B",
                 "DistributedDataParallel", "from features  srp", "it only tests"):  # fmt: skip
        assert part in text
    assert "NOT FOUND" not in text
    assert main(["doctor", str(HOST), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["missing"] == [] and content["host"]["models"]["pix2pix"] == "G"
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
        assert "kd run does not work here, for want of: models looked up by name, training script" in text
        assert main(["doctor", str(tmp_path / "gone")]) == 2
        assert capsys.readouterr().err == f"kd: error: {tmp_path / 'gone'}: no such folder\n"

    def test_models_of_other_names(self, host: Path) -> None:
        for name, text in {
            "two": "self.netG_A = x\nself.netG_B = y", "one": "self.fake_B = self.netG(a)",
            "own": "    distill_pairs = [('H', 'x')]", "none": "self.netE = x",
        }.items():  # fmt: skip
            (host / "models" / f"{name}_model.py").write_text(text)
        models = survey(host).models
        assert [models[name] for name in ("two", "one", "own", "none")] == ["G_A and G_B", "G", "as it declares", ""]

    def test_files_of_the_patch(self, host: Path) -> None:
        assert survey(host).patches == {}
        assert main(["patch", str(host)]) == 0
        (host / "models" / "distill_pix2pix_model.py").write_text("changed")
        assert survey(host).patches == {
            "models/distill_pix2pix_model.py": "different",
            "models/distill_cycle_gan_model.py": "installed",
        }

    def test_nothing_of_the_host_runs(self, host: Path) -> None:
        """Not even what Python cannot read."""
        (host / "models" / "__init__.py").write_text("raise SystemExit(3)\ndef find_model_using_name(name): pass\n")
        (host / "models" / "networks.py").write_text("print 'of another age'\n")
        result = survey(host)
        assert not result.missing and found(host)["generators built by"] == ""
