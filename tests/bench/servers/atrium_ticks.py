"""Atrium's channels, with a feed that ticks when it is told to: `python -m ... PORT SECRET`."""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

from server.namespaces.trading import catalogue
from server.namespaces.trading.namespace import TradingNamespace
from server.namespaces.trading.schemas import Tick
from server.realtime.connection import Connection
from server.realtime.namespace import event
from server.realtime.schema import Count, Payload
from server.timestamps import iso_utc
from tests.bench.servers.atrium import run, serve

SYMBOLS = [f"S{number:03}" for number in range(200)]
TICKS_PER_SECOND = 1000


class Told:
    """Symbols take turns. A tick's `name` is its moment (CLOCK_MONOTONIC, ns), its `volume` counts all ticks."""

    symbols = SYMBOLS

    def __init__(self) -> None:
        self.told: asyncio.Queue[tuple[int, Callable[[], Awaitable[None]]]] = asyncio.Queue()

    async def ticks(self) -> AsyncGenerator[Tick, None]:
        loop = asyncio.get_running_loop()
        numbers = itertools.count(1)
        while True:
            count, over = await self.told.get()
            due = loop.time()
            for symbol in itertools.islice(itertools.cycle(SYMBOLS), count):
                yield Tick(symbol, f"{time.monotonic_ns():016}", 71_500, -200, next(numbers), iso_utc())
                due += 1 / TICKS_PER_SECOND
                await asyncio.sleep(max(0.0, due - loop.time()))
            await over()


class Play(Payload):
    ticks = Count(required=True)


class Trading(TradingNamespace):
    def __init__(self, classes: catalogue.Catalogue, feed: Told) -> None:
        super().__init__(classes, feed=feed)
        self._told = feed.told

    @event("play", Play)
    async def play(self, connection: Connection, ticks: int) -> None:
        self._told.put_nowait((ticks, functools.partial(self.send, connection, "over", {})))


if __name__ == "__main__":
    run(serve(int(sys.argv[1]), sys.argv[2], namespace=Trading(catalogue.load(Path("config", catalogue.FILE)), Told())))
