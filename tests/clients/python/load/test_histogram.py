from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.python.load.histogram import Histogram


@given(st.lists(st.floats(1e-5, 1e3), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_within_one_percent(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[math.ceil(share * len(values)) - 1]
    assert histogram.percentile(share) == pytest.approx(exact, rel=0.011)
    assert (histogram.count, histogram.longest) == (len(values), max(values))


def test_of_nothing_there_is_none() -> None:
    assert Histogram().percentile(0.5) is None


def test_it_is_bounded() -> None:
    histogram = Histogram()
    for number in range(20_000):
        histogram.add(number / 1000)
    histogram.add(-1.0)
    assert len(histogram._buckets) < 1000
