from __future__ import annotations

import pytest

from server.errors import RateLimited
from server.realtime.limits import Rate, RateLimits, Window


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


def hits(window: Window, rate: Rate, now: float, count: int) -> None:
    for _ in range(count):
        window.hit(rate, now)


def test_a_window_takes_so_many_and_then_says_when_it_ends() -> None:
    window, rate = Window(), Rate(3, 10)
    window.hit(rate, 100.0)
    hits(window, rate, 104.0, 2)
    for now, wait in ((104.0, 6000), (109.9995, 1)):
        with pytest.raises(RateLimited) as caught:
            window.hit(rate, now)
        assert (caught.value.retry_after, caught.value.limit, caught.value.remaining) == (wait, 3, 0)


def test_a_window_begins_anew_with_the_first_use_after_its_end() -> None:
    window, rate = Window(), Rate(2, 10)
    hits(window, rate, 100.0, 2)
    hits(window, rate, 115.0, 2)
    with pytest.raises(RateLimited) as caught:
        window.hit(rate, 124.0)
    assert caught.value.retry_after == 1000
    hits(window, rate, 125.0, 2)


def test_who_was_refused_has_used_nothing() -> None:
    window, rate = Window(), Rate(1, 1)
    window.hit(rate, 0.0)
    for _ in range(100):
        with pytest.raises(RateLimited):
            window.hit(rate, 0.5)
    window.hit(rate, 1.0)


def test_windows_are_apart() -> None:
    one, other = Window(), Window()
    one.hit(Rate(1, 60), 0.0)
    other.hit(Rate(1, 60), 0.0)
