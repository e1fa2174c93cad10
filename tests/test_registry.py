"""The registry refuses what would only fail later, and build_terms reads what a user gives."""

from __future__ import annotations

import pytest
from torch import nn

from kd_plugin import KDError
from kd_plugin.losses import Term, TermOption, build_terms, register, term_names


def make(**attributes: object) -> type:
    values = {"name": "new", "summary": "s", "reads": "output", "default_weight": 1.0, **attributes}
    return type("New", (Term,), {key: value for key, value in values.items() if value is not None})


@pytest.mark.parametrize(
    ("cls", "error", "message"),
    [
        (make(name="wavelet"), ValueError, "registered already"),
        (nn.Module, TypeError, "not a subclass"),
        (make(summary=None), TypeError, "lacks the class attribute 'summary'"),
        (make(reads="images"), TypeError, "'output' or 'features'"),
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
    built = build_terms({"wavelet": 3, "srp": None}, {"wavelet_levels": 2})
    assert built["wavelet"].weight == 3.0 and built["wavelet"].term.levels == 2
    assert built["srp"].weight == type(built["srp"].term).default_weight


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        ({"wavlet": 1}, {}, "did you mean 'wavelet'"),
        ({}, {}, "no distillation term"),
        ({"wavelet": -1}, {}, "lambda_wavelet is -1"),
        ({"wavelet": float("nan")}, {}, "lambda_wavelet is nan"),
        ({"wavelet": "x"}, {}, "lambda_wavelet is 'x'"),
        ({"wavelet": 1}, {"wavelet_level": 2}, "did you mean 'wavelet_levels'"),
        ({"srp": 1}, {"wavelet_levels": 2}, "unknown option 'wavelet_levels'"),
    ],
)
def test_build_terms_refuses(terms: dict, options: dict, message: str) -> None:
    with pytest.raises(KDError, match=message):
        build_terms(terms, options)
