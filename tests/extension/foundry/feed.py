"""The feed `metals`: a price of each, in turn, every second."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from random import Random

from server.extensions import FeedOptions, Tick, iso_utc

METALS = {"COPPER": 9_800, "ZINC": 2_700}


class Metals:
    symbols = METALS.keys()

    def __init__(self, random: Random, pause: float) -> None:
        """`pause` in seconds."""
        self._random = random
        self._pause = pause

    async def ticks(self) -> AsyncGenerator[Tick, None]:
        for symbol, price in itertools.cycle(METALS.items()):
            change = self._random.randint(-50, 50)
            yield Tick(symbol, symbol.title(), price + change, change, 1, iso_utc())
            await asyncio.sleep(self._pause)


def metals(options: FeedOptions) -> Metals:
    return Metals(Random(options.seed), pause=1 / options.speed)  # noqa: S311 - prices for a demonstration
