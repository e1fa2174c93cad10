"""``--distill_share``: weights that keep the shares of their terms in the student's gradient."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from helpers.models import distil_options, distilling, set_up, train_step

from kd_plugin.distillation.balance import Balance, parse_shares
from kd_plugin.errors import ArgumentError, OptionError
from kd_plugin.host.options.distill import DistillConfig


def shares_of(norms: dict[str, float], balance: Balance) -> dict[str, float]:
    """The shares that gradients with these norms, at a factor of 1, have with the present factors."""
    found = {name: norm * balance.factor(name) for name, norm in norms.items()}
    return {name: norm / sum(found.values()) for name, norm in found.items()}


def test_one_adjustment_gives_every_term_its_share() -> None:
    balance = Balance({"wavelet": 0.3, "srp": 0.25})
    norms = {"": 3.0, "pixel": 0.5, "wavelet": 80.0, "srp": 1e-4}
    balance.update(shares_of(norms, balance))
    after = shares_of(norms, balance)
    assert (after["wavelet"], after["srp"]) == pytest.approx((0.3, 0.25))
    assert after[""] / after["pixel"] == pytest.approx(6)  # the others keep their relation
    assert balance.factor("pixel") == 1


def test_later_adjustments_go_a_quarter_of_the_way_and_converge() -> None:
    balance = Balance({"wavelet": 0.5})
    balance.update({"": 0.5, "wavelet": 0.5})
    balance.update({"": 0.5 / 8.5, "wavelet": 8 / 8.5})  # its gradient is 16 times as large now
    assert balance.factor("wavelet") == pytest.approx(16**-0.25)
    for _ in range(100):
        balance.update(shares_of({"": 1.0, "wavelet": 16.0}, balance))
    assert balance.factor("wavelet") == pytest.approx(1 / 16)


@pytest.mark.parametrize("shares", [{}, {"": 0.0, "wavelet": 1.0}, {"": 1.0, "wavelet": 0.0}])
def test_what_cannot_be_measured_changes_no_weight(shares: dict[str, float]) -> None:
    balance = Balance({"wavelet": 0.3})
    balance.update(shares)
    assert balance.factor("wavelet") == 1


def test_the_state_has_the_factors_of_terms_that_still_have_a_share() -> None:
    before, after = Balance({"wavelet": 0.3, "srp": 0.2}), Balance({"wavelet": 0.1, "pixel": 0.1})
    before.update({"": 0.8, "wavelet": 0.1, "srp": 0.1})
    after.load_state_dict(before.state_dict())
    assert after.factor("wavelet") == before.factor("wavelet") != 1
    assert after.factor("srp") == after.factor("pixel") == 1


@pytest.mark.parametrize(
    ("model", "distill"), [("pix2pix", "pixel,srp"), ("cycle_gan", "pixel,srp"), ("cycle_gan", "pixel,srp:G_A")]
)
def test_a_student_that_does_not_change_has_the_shares_in_the_second_step(
    models: ModuleType, teachers: Path, model: str, distill: str
) -> None:
    """Measured anew at the student's parameters; another share, or none, is that of the first step."""
    options = distil_options(
        teachers, model=model, distill=distill, distill_share="pixel=30%,srp=20%", kd_watch=1, lr=0.0
    )
    trained = set_up(distilling(models.find_model_using_name(model)), options)
    train_step(trained)
    first = trained.get_current_losses()
    train_step(trained)
    second = trained.get_current_losses()
    for distilled in trained._run.pairs:
        suffix = distilled.pair.suffix
        for term, share in (("pixel", 0.3), ("srp", 0.2)):
            if term in distilled.distiller.terms:
                assert second[f"share_{term}{suffix}"] == pytest.approx(share, rel=1e-3)
                assert first[f"share_{term}{suffix}"] != pytest.approx(share, rel=1e-2)
                factor = distilled.distiller.balance.factor(term)
                assert second[f"{term}{suffix}"] == pytest.approx(first[f"{term}{suffix}"] * factor, rel=1e-4)


def test_shares_are_adjusted_at_intervals(models: ModuleType, teachers: Path) -> None:
    options = distil_options(teachers, distill="pixel", distill_share="pixel=30%", share_every=3)
    model = set_up(distilling(models.find_model_using_name("pix2pix")), options)
    (distilled,) = model._run.pairs
    seen = []
    for seed in range(6):
        train_step(model, seed=seed)
        seen.append(distilled.distiller.balance.factor("pixel"))
    assert [a != b for a, b in zip(seen, [1.0, *seen], strict=False)] == [True, False, True, False, False, True]
    assert not any(parameter._backward_hooks for parameter in model.netG.parameters())


def test_shares_are_parsed_and_refused_with_their_value() -> None:
    assert parse_shares("wavelet=20%, srp=0.1,") == {"wavelet": 0.2, "srp": 0.1}
    for text, message in (("wavelet", "'wavelet' is no share"), ("srp=x%", "'srp=x%'"), ("a=1%,a=2%", "a has two")):
        with pytest.raises(ArgumentError, match=message):
            parse_shares(text)
    for targets in ({"a": 0.0}, {"a": 1.0}, {"a": 0.5, "b": 0.5}, {"a": float("nan")}):
        with pytest.raises(ArgumentError, match="give shares above 0%, together below 100%"):
            Balance(targets)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distill_share": "srp=10%"}, "--distill_share srp=10%: srp is not in --distill pixel: add it there"),
        ({"distill_share": "pixel=110%"}, "--distill_share pixel=110%: shares of pixel 1.1: give shares"),
        ({"distill_share": "pixel=10%", "share_every": 0}, "a measurement every 0 steps: give 1 or more"),
        ({"distill_share": "pixel=10%", "lambda_pixel": "1@1,2@9"}, "--lambda_pixel 1@1,2@9 beside --distill_share"),
        ({"distill_share": "pixel=10%", "lambda_pixel": "0"}, "--lambda_pixel 0 beside --distill_share"),
    ],
)
def test_options_are_checked(changes: dict[str, object], message: str, teachers: Path) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        DistillConfig.from_namespace(distil_options(teachers, distill="pixel", **changes))
