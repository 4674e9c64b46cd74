from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ConfigError
from server.namespaces.trading.feeds import FEEDS, SAMPLE, FeedOptions
from server.namespaces.trading.feeds.pace import MAX_LAG_SECONDS, Pace
from server.namespaces.trading.feeds.random_walk import (
    DAILY_LIMIT,
    TICKS_PER_SECOND,
    Listing,
    RandomWalk,
    listings,
    step,
)
from server.namespaces.trading.feeds.replay import Replay, Row, read
from server.namespaces.trading.schemas import Tick

CONFIG = Path("config")
SAMSUNG = Listing("005930", "삼성전자", 53_500, 53_700)


@pytest.fixture(scope="module")
def listed() -> list[Listing]:
    return listings(read(CONFIG / SAMPLE))


class Time:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def pace(self) -> Pace:
        return Pace(lambda: self.now, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def take(walk: RandomWalk, count: int) -> list[Tick]:
    ticks = walk.ticks()
    taken = [await anext(ticks) for _ in range(count)]
    await ticks.aclose()
    return taken


async def walked(listed: list[Listing], count: int, seed: int = 1) -> list[Tick]:
    return await take(RandomWalk(listed, seed=seed, pace=Time().pace), count)


def told(ticks: list[Tick]) -> list[tuple[object, ...]]:
    return [(each.symbol, each.name, each.price, each.change, each.volume) for each in ticks]


async def test_the_same_seed_makes_the_same_trades_and_another_others(listed: list[Listing]) -> None:
    first = told(await walked(listed, 500))
    assert told(await walked(listed, 500)) == first
    assert told(await walked(listed, 500, seed=2)) != first


async def test_played_again_it_begins_anew() -> None:
    walk = RandomWalk([SAMSUNG], seed=1, pace=Time().pace)
    assert told(await take(walk, 50)) == told(await take(walk, 50))


@given(st.integers(1, 2_000_000), st.floats(0.72, 1.28), st.integers(0, 10_000))
async def test_prices_are_quoted_as_the_exchange_does_and_stay_within_the_day(
    price: int, ratio: float, seed: int
) -> None:
    [listed] = listings([Row(0, "A", "a", price, price - round(price / ratio), 1)])
    ticks = await walked([listed], 300, seed)
    reach = max(DAILY_LIMIT * listed.close, abs(listed.price - listed.close))
    for each in ticks:
        assert isinstance(each.price, int)
        assert each.price > 0
        assert each.price % step(each.price) == 0
        assert abs(each.price - listed.close) <= reach
        assert each.change == each.price - listed.close
        assert each.volume >= 1
    for before, after in pairwise(each.price for each in ticks):
        assert abs(after - before) <= 2 * step(max(before, after))


@pytest.mark.parametrize(
    ("price", "size"),
    [
        *((1, 1), (1999, 1), (2000, 5), (4995, 5), (5000, 10), (19_990, 10), (20_000, 50), (49_950, 50)),
        *((50_000, 100), (199_900, 100), (200_000, 500), (499_500, 500), (500_000, 1000), (9_000_000, 1000)),
    ],
)
def test_the_exchanges_steps(price: int, size: int) -> None:
    assert step(price) == size


async def test_a_price_moves_over_a_bound_between_steps() -> None:
    ticks = await walked([Listing("A", "a", 200_000, 200_000)], 2000)
    after = {price for before, price in pairwise(each.price for each in ticks) if before == 200_000}
    assert {199_800, 199_900, 200_500} <= after <= {199_800, 199_900, 200_000, 200_500, 201_000}


async def test_trades_come_at_their_rate() -> None:
    time = Time()
    await take(RandomWalk([SAMSUNG], seed=1, rate=200, pace=time.pace), 4000)
    assert time.now == pytest.approx(20, rel=0.1)


async def test_after_a_stall_there_is_no_burst() -> None:
    time = Time()
    ticks = RandomWalk([SAMSUNG], seed=1, rate=10, pace=time.pace).ticks()
    await anext(ticks)
    time.now += 60
    since = time.now
    for _ in range(100):
        await anext(ticks)
    await ticks.aclose()
    assert time.now - since > 10 * 0.7 - MAX_LAG_SECONDS


def test_it_begins_as_the_recording_does(listed: list[Listing]) -> None:
    assert Listing("005930", "삼성전자", 53_500, 53_700, 154) in listed
    assert len(listed) == 8
    assert sum(each.weight for each in listed) == 600


@pytest.mark.parametrize(
    ("price", "change", "opening", "close"),
    [(187.25, 1.5, 187, 186), (0.25, 0, 1, 1), (100, 500, 100, 100), (53_510, 0, 53_500, 53_510)],
)
def test_a_price_of_another_market_becomes_one_of_this(price: float, change: float, opening: int, close: int) -> None:
    assert listings([Row(0, "A", "a", price, change, 1)]) == [Listing("A", "a", opening, close)]


# -- the registry ---------------------------------------------------------------------------------------------------


def test_the_feeds_that_ship_are_made_from_the_sample() -> None:
    made = {name: build(FeedOptions(CONFIG, speed=2, seed=3)) for name, build in FEEDS.items()}
    assert isinstance(made["random"], RandomWalk)
    assert isinstance(made["replay"], Replay)
    assert made.keys() == {"random", "replay"}
    assert made["random"].symbols == made["replay"].symbols
    assert "005930" in made["random"].symbols


@pytest.mark.parametrize("name", FEEDS)
def test_without_the_sample_there_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"krx-sample\.csv"):
        FEEDS[name](FeedOptions(tmp_path, speed=1, seed=0))


def test_speed_is_the_random_feeds_rate() -> None:
    walk = FEEDS["random"](FeedOptions(CONFIG, speed=20, seed=1))
    assert isinstance(walk, RandomWalk)
    assert walk.rate == 20 * TICKS_PER_SECOND
