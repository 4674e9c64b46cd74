from __future__ import annotations

import pytest

from server.errors import RateLimited
from server.realtime.limits import Rate, RateLimits


async def test_counts_down_and_then_refuses_with_when_to_come_back() -> None:
    limits = RateLimits({"queries": Rate(10, 60)})
    assert [await limits.hit("queries", None, "alice") for _ in range(10)] == list(range(9, -1, -1))
    with pytest.raises(RateLimited) as caught:
        await limits.hit("queries", None, "alice")
    assert (caught.value.limit, caught.value.remaining) == (10, 0)
    assert 0 < caught.value.retry_after <= 60_000


async def test_keys_and_names_count_apart() -> None:
    limits = RateLimits({"a": Rate(1, 60), "b": Rate(1, 60)})
    for name, key in (("a", "x"), ("a", "y"), ("b", "x")):
        assert await limits.hit(name, key) == 0
    assert await limits.hit("a", "x:y", "z") == 0
    assert await limits.hit("a", "x", "y:z") == 0


async def test_no_rate_and_not_enabled_are_unlimited() -> None:
    assert await RateLimits({}).hit("queries", "alice") is None
    limits = RateLimits({"queries": Rate(1, 60)}, enabled=False)
    assert [await limits.hit("queries", "alice") for _ in range(3)] == [None] * 3


async def test_millions_are_as_good_as_none() -> None:
    limits = RateLimits({"events": Rate(5_000_000, 1)})
    for _ in range(1000):
        await limits.hit("events", "load")
