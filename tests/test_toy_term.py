"""A custom term: its options, a distiller, a step of a host, and the requirements on every term."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType

import pytest
import test_terms
import torch
from helpers.models import distil_options, distilling, set_up, train_step
from helpers.tensors import random
from torch import nn

from kd_plugin import Distiller, KDError
from kd_plugin.host.options.distill import DistillConfig, add_options
from kd_plugin.losses import Term, TermOption, get_term, register, registry, term_names
from kd_plugin.losses.validate import check_images, common_dtype


class ToyLoss(Term):
    name = "toy"
    summary = "squared difference of the two outputs, times a factor"
    reads = "output"
    default_weight = 3.0
    options = (TermOption("toy_factor", "factor", float, 0.5, "what the difference is multiplied with"),)

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        check_images(student, teacher)
        dtype = common_dtype(student, teacher)
        return self.factor * (student.to(dtype) - teacher.to(dtype)).square().mean()


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The term is known within a test, and not after it."""
    monkeypatch.setattr(registry, "_TERMS", dict(registry._TERMS))
    assert register(ToyLoss) is ToyLoss


@pytest.fixture
def term(registered: None) -> Term:
    """What the shared tests are given in place of each of the plugin's terms."""
    return get_term("toy")()


# Every test of test_terms.py, collected here once more with the fixture above.
globals().update({name: test for name, test in vars(test_terms).items() if name.startswith("test_")})


def config_of(arguments: str) -> DistillConfig:
    parser = ArgumentParser()
    add_options(parser)
    assert "weight of toy: squared difference" in " ".join(parser.format_help().split())
    config = DistillConfig.from_namespace(parser.parse_args(f"--distill toy --teacher x {arguments}".split()))
    assert config is not None
    return config


def test_its_weight_and_its_option_are_flags() -> None:
    assert "toy" in term_names()
    weighted = config_of("").terms["toy"]
    assert weighted.weight(1) == 3.0 and weighted.term.factor == 0.5
    weighted = config_of("--lambda_toy 0@1,8@5 --toy_factor 2").terms["toy"]
    assert weighted.weight(3) == 4.0 and weighted.term.factor == 2.0
    with pytest.raises(KDError, match="lambda_toy is '-1'"):
        config_of("--lambda_toy=-1")


def test_in_a_distiller() -> None:
    student, teacher = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3).requires_grad_(False)
    images = random(2, 3, 8, 8, dtype=torch.float32)
    distilled = Distiller(student, teacher, {"toy": 4.0}, options={"toy_factor": 0.25})(images)
    expected = (student(images) - teacher(images)).square().mean()
    torch.testing.assert_close(distilled.total, expected)


def test_in_a_step_of_a_host(models: ModuleType, teachers: Path) -> None:
    options = distil_options(teachers, distill="toy", lambda_toy="4", toy_factor=0.25)
    model = set_up(distilling(models.find_model_using_name("pix2pix")), options)
    assert "toy" in model.loss_names
    train_step(model)
    expected = (model.fake_B - model.teacher_fake_B).square().mean()
    torch.testing.assert_close(model.loss_toy, expected.detach())
