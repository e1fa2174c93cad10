"""The registry rejects terms that would fail later, and build_terms parses user input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kd_plugin import KDError
from kd_plugin.losses import Schedule, Term, TermOption, build_terms, register, term_names


def _forward(self: Term, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return (student - teacher).abs().mean()


def make(**attributes: object) -> type:
    values = {
        "name": "new",
        "summary": "s",
        "reads": "output",
        "default_weight": 1.0,
        "forward": _forward,
        **attributes,
    }
    return type("New", (Term,), {key: value for key, value in values.items() if value is not None})


@pytest.mark.parametrize(
    ("cls", "error", "message"),
    [
        (make(name="wavelet"), ValueError, "already registered"),
        (nn.Module, TypeError, "not a subclass"),
        (make(summary=None), TypeError, "lacks the class attribute 'summary'"),
        (make(reads="images"), TypeError, "not one of output, features, translation"),
        (make(forward=None), TypeError, "does not define forward"),
        (make(options=(TermOption("new_x", "x", int, 1, ""),)), TypeError, "differ"),
    ],
)
def test_register_refuses(cls: type, error: type[Exception], message: str) -> None:
    before = term_names()
    with pytest.raises(error, match=message):
        register(cls)  # type: ignore[type-var]
    assert term_names() == before


def test_flags_of_two_terms_may_not_clash() -> None:
    class New(make(options=(TermOption("wavelet_levels", "levels", int, 4, ""),))):  # type: ignore[misc]
        def __init__(self, levels: int = 4) -> None:
            super().__init__()

    with pytest.raises(ValueError, match="belongs to another term"):
        register(New)


def test_build_terms_reads_weights_and_options() -> None:
    built = build_terms({"wavelet": 3, "srp": None, "pixel": "0@1,8@5"}, {"wavelet_levels": 2})
    assert built["wavelet"].weight(7) == 3.0 and built["wavelet"].term.levels == 2
    assert built["srp"].weight(7) == type(built["srp"].term).default_weight
    assert built["pixel"].weight(2) == 2.0


class TestSchedule:
    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("10", {0: 10, 1: 10, 500: 10}),
            ("10@0,2@50", {0: 10, 25: 6, 50: 2, 80: 2}),
            ("0@1,100@11", {0: 0, 1: 0, 6: 50, 11: 100, 12: 100}),  # warm-up
            ("10@0,10@50,2@50", {0: 10, 49: 10, 50: 2, 51: 2}),  # a jump
            ("1@0,3@2,0@4", {1: 2, 2: 3, 3: 1.5, 9: 0}),
        ],
    )
    def test_values(self, text: str, values: dict[float, float]) -> None:
        schedule = Schedule.parse(text)
        assert {epoch: schedule(epoch) for epoch in values} == pytest.approx(values)
        assert Schedule.parse(str(schedule)) == schedule and Schedule.parse(schedule) is schedule

    def test_no_points(self) -> None:
        with pytest.raises(KDError, match="needs a point"):
            Schedule(())

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "give a weight such as 10, or points"),
            ("ten", "give a weight such as 10, or points"),
            ("1@2@3,1@4", "give a weight such as 10, or points"),
            ("1@0,2", "give a weight such as 10, or points"),
            ("1@0,-2@5", "finite weights of 0 or more"),
            ("inf@0,1@5", "finite weights of 0 or more"),
            ("1@nan,1@2", "finite weights of 0 or more"),
            ("1@5,2@0", "epochs must not decrease"),
            ("5@10", "is '5@10', one point: give a number, or two or more points such as 0@1,100@10"),
        ],
    )
    def test_refuses(self, text: str, message: str) -> None:
        with pytest.raises(KDError, match=message):
            Schedule.parse(text)


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        ({"wavlet": 1}, {}, "did you mean 'wavelet'"),
        ({}, {}, "no distillation term"),
        ({"wavelet": -1}, {}, "lambda_wavelet is -1"),
        ({"wavelet": float("nan")}, {}, "lambda_wavelet is nan"),
        ({"wavelet": "x"}, {}, "lambda_wavelet is 'x'"),
        ({"perceptual": 1}, {}, "perceptual_network is ''"),
        ({"perceptual": 1}, {"perceptual_network": "a:b"}, "perceptual_layers is empty"),
        ({"similarity": 1}, {"similarity_grid": 0}, "similarity_grid is 0"),
        ({"frequency": 1}, {"frequency_alpha": -1.0}, "frequency_alpha is -1"),
        ({"pixel": 1}, {"pixel_norm": "l3"}, "unknown pixel norm 'l3'"),
        ({"srp": 1}, {"srp_size": 1}, "srp_size is 1"),
        ({"srp": 1}, {"srp_size": "4"}, "srp_size is '4'"),
        ({"frequency": 1}, {"frequency_alpha": "1"}, "frequency_alpha is '1'"),
        ({"wavelet": 1}, {"wavelet_level": 2}, "did you mean 'wavelet_levels'"),
        ({"srp": 1}, {"wavelet_levels": 2}, "unknown option 'wavelet_levels'"),
    ],
)
def test_build_terms_refuses(terms: dict, options: dict, message: str) -> None:
    with pytest.raises(KDError, match=message):
        build_terms(terms, options)
