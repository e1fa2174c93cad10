"""Host families: a host of a custom family is detected, paired, distilled and tested."""

from __future__ import annotations

import json
import re
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.commands import REPOSITORY
from helpers.hosts import FORMS, HOST, host_arguments, imported_host, start_inside
from helpers.models import distil_options, distilling, set_up, train_step

from kd_plugin import KDError
from kd_plugin.cli import main
from kd_plugin.host.model.pair import find_pairs
from kd_plugin.host.options.forgotten_model import check_model
from kd_plugin.host.repository import family
from kd_plugin.host.repository.family import HostFamily, HostModel, Pair, find_family, register_family

PAIRS = (Pair("gen", "out_img"),)
TOY = HostFamily("toy hosts", {"toy": HostModel(PAIRS, "aligned")}, generator_options={"gen_norm": str})
MODEL = """
import torch

from models import networks
from models.base_model import BaseModel
from util.form import FORM


class ToyModel(BaseModel):
    @staticmethod
    def modify_commandline_options(parser, is_train=True):
        parser.set_defaults(dataset_mode="aligned", netG="resnet_6blocks", no_dropout=True)
        parser.add_argument("--gen_norm", default="instance")
        return parser

    def __init__(self, opt):
        BaseModel.__init__(self, opt)
        self.loss_names = ["L1"]
        self.visual_names = ["source", "out_img"]
        self.model_names = ["gen"]
        form = {"gpu_ids": self.gpu_ids} if FORM == "2020" else {}
        more = (opt.ngf, opt.netG, opt.gen_norm, not opt.no_dropout, opt.init_type, opt.init_gain)
        self.netgen = networks.define_G(opt.input_nc, opt.output_nc, *more, **form)
        if self.isTrain:
            self.optimizers = [torch.optim.Adam(self.netgen.parameters(), lr=opt.lr)]

    def set_input(self, input):
        self.source, self.target, self.image_paths = input["A"], input["B"], input["A_paths"]

    def forward(self):
        self.out_img = self.netgen(self.source)

    def optimize_parameters(self):
        self.forward()
        self.loss_L1 = (self.out_img - self.target).abs().mean()
        self.optimizers[0].zero_grad()
        self.loss_L1.backward()
        self.optimizers[0].step()
"""


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that a test registers are gone after it."""
    monkeypatch.setattr(family, "_FAMILIES", list(family._FAMILIES))


@pytest.fixture
def registered(table: None) -> None:
    register_family(TOY)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The embedded host with one model, whose networks and images have names that the plugin does not know."""
    ignored = shutil.ignore_patterns("__pycache__", "pix2pix_model.py", "cycle_gan_model.py")
    folder = Path(shutil.copytree(HOST, tmp_path / "host", ignore=ignored))
    (folder / "models" / "toy_model.py").write_text(MODEL)
    return folder


@pytest.fixture(params=FORMS)
def models(request: pytest.FixtureRequest, host: Path) -> Iterator[ModuleType]:
    with imported_host(host, request.param) as module:
        yield module


@pytest.fixture
def teacher(teachers: Path) -> Path:
    """A folder with one teacher, called as the toy host calls its generator."""
    (teachers / "latest_net_G.pth").rename(teachers / "latest_net_gen.pth")
    for file in teachers.glob("latest_net_G*"):
        file.unlink()
    return teachers


def doctor(host: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["doctor", str(host)]) == 0
    return capsys.readouterr().out


def options(teacher: Path) -> Namespace:
    return distil_options(teacher, model="toy", distill="pixel", lambda_pixel=1.0, gen_norm="instance",
                          student_netG=None)  # fmt: skip


class TestToyHost:
    @pytest.mark.slow
    def test_is_named_by_the_doctor(self, host: Path, capsys: pytest.CaptureFixture[str], table: None) -> None:
        before = doctor(host, capsys)
        assert f"{host}: a host with custom models, as of 2025" in before
        assert "toy   none by default, its networks are gen: declare distill_pairs" in before
        register_family(TOY)
        after = doctor(host, capsys)
        assert f"{host}: toy hosts, as of 2025" in after and "\n  toy   gen\n" in after
        (host / "models" / "toy_model.py").write_text("class ToyModel: pass\n")
        assert "declare distill_pairs in its class unless they are G, or gen, or G_A and G_B" in doctor(host, capsys)

    def test_has_no_patch(self, host: Path, registered: None, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["patch", str(host)]) == 2
        assert "has none of the models that have patches (cut_model.py, pix2pix" in capsys.readouterr().err

    def test_is_refused_without_its_row(self, models: ModuleType, teacher: Path) -> None:
        with pytest.raises(KDError, match="has the networks gen, but no G, or G_A and G_B: declare the pairs"):
            set_up(distilling(models.find_model_using_name("toy")), options(teacher))

    def test_is_distilled(self, models: ModuleType, teacher: Path, registered: None) -> None:
        host_class = models.find_model_using_name("toy")
        plain, model = (set_up(cls, options(teacher)) for cls in (host_class, distilling(host_class)))
        assert find_pairs(model) == PAIRS
        networks = (plain.netgen, model.netgen)
        assert all(map(torch.equal, *(network.parameters() for network in networks)))
        for each in (plain, model):
            train_step(each)
        term = (model.teacher_out_img - model.out_img).abs().mean().item()
        assert model.loss_pixelgen.item() == pytest.approx(term) and term > 0
        assert not all(map(torch.equal, *(network.parameters() for network in networks)))

    def test_is_tested_as_it_was_trained(
        self,
        models: ModuleType,
        host: Path,
        images: Path,
        teacher: Path,
        registered: None,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Its own option, which decides what its checkpoints hold, comes from the record."""
        device = " ".join(host_arguments(host, models.networks.FORM)["test"])
        shared = f"--dataroot {images}/paired --checkpoints_dir {tmp_path} --name small --model toy {device}"
        small = "--load_size 32 --crop_size 32 --num_threads 0"
        once = "--n_epochs 1 --n_epochs_decay 0 --save_epoch_freq 1 --no_html"
        student = f"--distill pixel --teacher {teacher} --ngf 4 --gen_norm batch"
        start_inside(host, "train.py", f"{shared} {small} {once} {student}")
        record = json.loads((tmp_path / "small" / "student.json").read_text())
        assert record["host_options"]["gen_norm"] == "batch"
        assert record["teachers"]["gen"]["file"] == str(teacher / "latest_net_gen.pth")
        start_inside(host, "test.py", f"{shared} {small} --results_dir {tmp_path}/results")
        assert len(list((tmp_path / "results").rglob("*out_img.png"))) == 4
        capsys.readouterr()
        with pytest.raises(SystemExit, match="2"):
            start_inside(host, "test.py", f"{shared} --gen_norm instance")
        error = capsys.readouterr().err
        assert "--gen_norm instance contradicts" in error and "was built with batch; remove the option" in error


class TestRows:
    def test_the_latest_is_preferred(self, table: None, tmp_path: Path) -> None:
        for name in ("pix2pix", "mine"):
            (tmp_path / f"{name}_model.py").touch()
        before = find_family(tmp_path)
        assert before is not None and before.name == "pix2pix and CycleGAN"
        pairs = (Pair("G", "other"),)
        for _ in range(2):  # as a module that is imported again does
            register_family(HostFamily("mine", {"mine": HostModel(pairs)}))
        found = find_family(tmp_path)
        assert found is not None and found.name == "mine" and family.families().count(found) == 1
        assert find_pairs(Namespace(model_names=["G"])) == pairs

    def test_the_one_in_the_documentation(self, table: None, tmp_path: Path) -> None:
        page = (REPOSITORY / "docs" / "your-own-repo.md").read_text(encoding="utf-8")
        example = re.search(r"```python\n(from kd_plugin\.host.*?)```", page, re.DOTALL)
        assert example
        exec(example[1])  # noqa: S102 - a page of this repository
        (tmp_path / "stain_model.py").touch()
        found = find_family(tmp_path)
        assert found is not None and found.name == "stain translation"

    def test_that_could_not_be_found_are_refused(self, registered: None) -> None:
        with pytest.raises(KDError, match="'none' has no models"):
            register_family(HostFamily("none", {}))
        with pytest.raises(KDError, match="a family 'toy hosts' is already registered"):
            register_family(HostFamily("toy hosts", {"other": HostModel(PAIRS)}))

    def test_name_the_model_that_was_forgotten(self, table: None, tmp_path: Path) -> None:
        both = HostModel((Pair("gen_x", "y"), Pair("gen_y", "x")), "unaligned")
        single = HostModel(PAIRS, "aligned")
        register_family(HostFamily("three", {"one_way": single, "again": single, "both_ways": both}))
        (tmp_path / "latest_net_gen.pth").touch()
        (tmp_path / "train").mkdir()
        (tmp_path / "train" / "a.png").touch()
        given = {
            str(tmp_path): "contains latest_net_gen.pth, as saved by --model one_way",
            f"{tmp_path}/latest_net_gen.pth": "is the generator of a one_way",
            "": "has train/, but no trainA/: paired images, as for one_way",
        }
        data = {"dataroot": str(tmp_path), "phase": "train", "dataset_mode": "unaligned"}
        for teacher, said in given.items():
            opt = Namespace(model="both_ways", teacher=teacher, teacher_epoch="latest", **data)
            with pytest.raises(
                KDError, match=f"{said}, but this is --model both_ways, the default: give --model one_way"
            ):
                check_model(opt, None, named=False)
            for model in ("one_way", "again"):  # whose teachers are called alike
                check_model(Namespace(**{**vars(opt), "model": model, "dataset_mode": "aligned"}), None, named=False)
