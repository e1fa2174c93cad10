"""``--kd_watch`` measures what a training displays, and changes nothing else."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import pywt
import torch
from helpers.models import distil_options, distilling, host_batch, set_up, train_step

from kd_plugin.errors import OptionError
from kd_plugin.host.options.distill import DistillConfig

MODELS = {"pix2pix": {"": "fake_B"}, "cycle_gan": {"_A": "fake_B", "_B": "fake_A"}}
SHARES, BANDS = ("share_host", "share_pixel", "share_srp"), ("band_LL", "band_LH", "band_HL", "band_HH")


def model_of(models: ModuleType, teachers: Path, name: str, **changes: object):  # type: ignore[no-untyped-def]
    options = distil_options(teachers, model=name, distill="pixel,srp", pool_size=0, **changes)
    return set_up(distilling(models.find_model_using_name(name)), options)


def reference(images: torch.Tensor, teacher_images: torch.Tensor) -> dict[str, float]:
    """The errors of the bands by PyWavelets, which calls the bands along height and width aa, ad, da and dd."""
    ours, theirs = (
        pywt.dwtn((found.detach().double().numpy() + 1) / 2, "haar", axes=(2, 3))
        for found in (images, teacher_images)
    )
    keys = {"LL": "aa", "LH": "da", "HL": "ad", "HH": "dd"}
    return {f"band_{b}": float(np.abs(ours[k] - theirs[k]).sum() / np.abs(theirs[k]).sum()) for b, k in keys.items()}


@pytest.mark.parametrize("name", MODELS)
def test_losses_are_the_shares_of_the_summary_and_the_errors_of_pywavelets(
    models: ModuleType, teachers: Path, name: str
) -> None:
    model = model_of(models, teachers, name, kd_watch=5)
    model._run.summary._prints = True
    model.set_input(host_batch(2))
    model.optimize_parameters()
    shown = model.get_current_losses()
    for distilled in model._run.pairs:
        suffix, output = distilled.pair.suffix, distilled.pair.output
        shares = model._run.summary._shares[distilled.pair.net]
        shares.end()
        expected = {f"share_{term or 'host'}": share for term, share in shares.shares.items()}
        assert expected.keys() == {*SHARES} and sum(expected.values()) == pytest.approx(1)
        expected |= reference(getattr(model, output), getattr(model, f"teacher_{output}"))
        # (x + 1) / 2 in float32 is exact to 6e-8, and the mean of a band of details is some 1e-3.
        assert {n: shown[f"{n}{suffix}"] for n in expected} == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_no_bit_of_the_training_changes(models: ModuleType, teachers: Path, name: str) -> None:
    """Nor the random state; without the option, nothing is displayed that was not before."""
    runs = {every: model_of(models, teachers, name, kd_watch=every) for every in (0, 1)}
    states = {}
    for every, model in runs.items():
        torch.manual_seed(5)
        for seed in range(3):
            train_step(model, 2, seed)
            model.get_current_losses()
        states[every] = torch.get_rng_state()
    plain, watched = (runs[every] for every in (0, 1))
    assert torch.equal(states[0], states[1])
    for net in plain.model_names:
        ours, theirs = (getattr(model, f"net{net}").state_dict() for model in (watched, plain))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    before, after = plain.get_current_losses(), watched.get_current_losses()
    assert {key: after[key] for key in before} == before
    assert after.keys() - before.keys() == {n + suffix for n in SHARES + BANDS for suffix in MODELS[name]}


def test_values_are_measured_at_intervals_and_kept_between(models: ModuleType, teachers: Path) -> None:
    model = model_of(models, teachers, "pix2pix", kd_watch=3)
    assert all(math.isnan(getattr(model, f"loss_{name}")) for name in SHARES + BANDS)
    seen = []
    for seed in range(7):
        train_step(model, 1, seed)
        shown = model.get_current_losses()
        seen.append(tuple(shown[name] for name in SHARES + BANDS))
    assert [a != b for a, b in itertools.pairwise(seen)] == [False, True, False, False, True, False]
    assert all(math.isfinite(value) for values in seen for value in values)
    assert not any(parameter._backward_hooks for parameter in model.netG.parameters())


def test_images_that_are_not_finite_have_no_errors(models: ModuleType, teachers: Path) -> None:
    model = model_of(models, teachers, "pix2pix", kd_watch=1)
    train_step(model)
    model.real_A = model.real_A.fill_(math.nan)
    model.optimize_parameters()
    shown = model.get_current_losses()
    assert all(math.isnan(shown[name]) for name in SHARES + BANDS)


def test_the_option_is_checked_and_recorded(tmp_path: Path, teachers: Path) -> None:
    with pytest.raises(OptionError, match="--kd_watch -1: give a number of steps"):
        DistillConfig.from_namespace(distil_options(teachers, distill="pixel", kd_watch=-1))
    with pytest.raises(OptionError, match="--kd_watch has no effect without --distill"):
        DistillConfig.from_namespace(distil_options(teachers, distill="", teacher="", student_netG=None, kd_watch=9))
    config = DistillConfig.from_namespace(distil_options(teachers, distill="pixel", kd_watch=9))
    assert config is not None and config.to_dict()["kd_watch"] == 9
    alone = DistillConfig(distill="none", kd_watch=9)
    assert "--kd_watch has no effect without a teacher" in alone.notes()
