"""Utilities of the property tests: number of examples, generators, and JSON values.

In CI the examples are fixed. ``KD_FUZZ=long`` draws many more, different in each run.
"""

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from kd_plugin import GeneratorSpec

_shared: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", derandomize=True, max_examples=60, **_shared)
settings.register_profile("long", max_examples=1000, print_blob=True, **_shared)
settings.load_profile(os.environ.get("KD_FUZZ", "ci"))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def generator_specs(draw: st.DrawFn) -> GeneratorSpec:
    """Small generators of both architectures, of any widths, convolutions, norm, bias and dropout the family has."""
    resnet = draw(st.booleans())
    depth = draw(st.sampled_from([1, 2, 3, 13] if resnet else [5, 6, 7, 10]))
    ngf = draw(st.integers(1, 4))
    # Without affine parameters, a bias is what tells an instance norm from none.
    norm, bias = draw(st.sampled_from([("batch", False), ("batch", True), ("instance", True), ("none", False)]))
    more = 2 if resnet else depth - 1
    widths = draw(st.none() | st.lists(st.integers(1, 6), min_size=more, max_size=more))
    return GeneratorSpec(
        "resnet" if resnet else "unet",
        draw(st.integers(1, 4)),
        draw(st.integers(1, 4)),
        ngf,
        depth,
        norm,  # type: ignore[arg-type]
        draw(st.booleans()) if resnet else None,
        bias,
        (ngf, *widths) if widths else None,
        draw(st.sampled_from(["standard", "separable"])) if resnet else "standard",
        draw(st.sampled_from(["reflect", "zero"])) if resnet else "reflect",
    )
