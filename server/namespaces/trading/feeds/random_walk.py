"""The `random` feed: made-up trades whose prices walk as on the Korea Exchange. The same seed makes the same ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass

from server.namespaces.trading.feeds.pace import Pace
from server.namespaces.trading.feeds.replay import Row
from server.namespaces.trading.schemas import Tick
from server.timestamps import iso_utc

TICKS_PER_SECOND = 10.0
DAILY_LIMIT = 0.3  # the exchange's: no price is further from the previous close
MEAN_VOLUME = 20

#: Below each price, the step in which prices are quoted; from the last on, 1000 (the exchange's rules since 2023).
_STEPS = ((2000, 1), (5000, 5), (20_000, 10), (50_000, 50), (200_000, 100), (500_000, 500))
_MOVES = (-2, -1, 0, 1, 2)  # in steps
_MOVE_WEIGHTS = (1, 6, 10, 6, 1)


@dataclass(frozen=True, slots=True)
class Listing:
    """A share as the walk begins: whole won; `weight` is how often it is traded beside the others."""

    symbol: str
    name: str
    price: int
    close: int
    weight: int = 1


class RandomWalk:
    """Endless; it begins anew each time it is played. Trades come independently of each other, `rate` a second."""

    def __init__(
        self,
        listings: Sequence[Listing],
        *,
        seed: int,
        rate: float = TICKS_PER_SECOND,
        pace: Callable[[], Pace] = Pace,
    ) -> None:
        self.symbols = frozenset(each.symbol for each in listings)
        self.rate = rate
        self._listings = tuple(listings)
        self._seed = seed
        self._pace = pace

    async def ticks(self) -> AsyncGenerator[Tick, None]:
        chance = random.Random(self._seed)  # noqa: S311 - it is to be guessed
        pace = self._pace()
        weights = [each.weight for each in self._listings]
        prices = {each.symbol: each.price for each in self._listings}
        due = 0.0
        while True:
            due += chance.expovariate(self.rate)
            [each] = chance.choices(self._listings, weights)
            [move] = chance.choices(_MOVES, _MOVE_WEIGHTS)
            price = prices[each.symbol] = _moved(each, prices[each.symbol], move)
            volume = 1 + int(chance.expovariate(1 / MEAN_VOLUME))
            await pace.until(due)
            yield Tick(each.symbol, each.name, price, price - each.close, volume, iso_utc())


def listings(rows: Iterable[Row]) -> list[Listing]:
    """What a recording begins with: each symbol's first price, and its share of the trades."""
    first: dict[str, Row] = {}
    trades: Counter[str] = Counter()
    for row in rows:
        first.setdefault(row.symbol, row)
        trades[row.symbol] += 1
    found = []
    for symbol, row in first.items():
        price = _quoted(row.price)
        close = round(row.price - row.change)
        found.append(Listing(symbol, row.name, price, close if close > 0 else price, trades[symbol]))
    return found


def step(price: float) -> int:
    """In won, from this price upwards."""
    return next((size for bound, size in _STEPS if price < bound), 1000)


def _quoted(price: float) -> int:
    size = step(price)
    return max(int(price) // size * size, size)


def _moved(listing: Listing, price: int, steps: int) -> int:
    """Not beyond the day's limits, nor further out where it began beyond them."""
    moved = price
    for _ in range(abs(steps)):
        moved += step(moved) if steps > 0 else -step(moved - 1)
    reach = DAILY_LIMIT * listing.close
    inside = abs(moved - listing.close) <= max(reach, abs(price - listing.close))
    return moved if inside and moved > 0 else price
