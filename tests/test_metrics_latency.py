"""The spread of measured times."""

from __future__ import annotations

import math
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

from kd_plugin.metrics import latency
from kd_plugin.metrics.latency import device_name, measure_latencies, measure_times, spread


def test_times_are_those_of_the_passes_after_the_first_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that the networks advance by one more second in each pass."""
    clock, passes = [0.0], [0]

    class Taking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            clock[0] += passes[0]
            passes[0] += 1
            return x

    monkeypatch.setattr(latency, "_now", lambda device: clock[0])
    images, done = torch.zeros(1, 1, 1, 1), []
    assert measure_times([Taking(), Taking()], [images] * 2, 3, done.append) == [[2, 4, 6], [3, 5, 7]]
    assert done == [i / 8 for i in range(1, 9)]
    passes[0] = 0
    assert measure_latencies([Taking(), Taking()], [images] * 2, 3) == [4, 5]


@pytest.mark.parametrize("count", [2, 5, 8])
def test_the_spread_is_that_of_numpy(count: int) -> None:
    times = list(np.random.default_rng(1).uniform(size=count))
    found = spread(times)
    assert [found.low, found.value, found.high] == pytest.approx(np.quantile(times, [0.25, 0.5, 0.75]))


def test_a_single_time_has_no_spread() -> None:
    found = spread([0.5])
    assert found.value == 0.5 and math.isnan(found.low) and math.isnan(found.high)


@pytest.mark.skipif(not shutil.which("lscpu"), reason="needs util-linux")
def test_the_name_of_the_processor_is_that_of_lscpu() -> None:
    listed = subprocess.run(["lscpu"], capture_output=True, text=True, env={"LC_ALL": "C"}, check=True).stdout
    expected = re.search(r"^ *Model name: *(.+)$", listed, re.MULTILINE)
    if not expected or expected[1] == "-":
        pytest.skip("lscpu does not know it")
    assert device_name("cpu") == expected[1]
