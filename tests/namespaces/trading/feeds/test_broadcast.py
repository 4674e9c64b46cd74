from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from server.namespaces.trading.feeds.broadcast import SUMMARY_SECONDS, broadcast, channels
from server.namespaces.trading.schemas import Tick


def tick(symbol: str, price: int) -> Tick:
    return Tick(symbol, "name", price, 1, 2, "now")


class Handed:
    """A feed whose ticks are handed to it; None ends it."""

    symbols = ("A", "B")

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Tick | None] = asyncio.Queue()
        self.closed = False

    async def ticks(self) -> AsyncGenerator[Tick, None]:
        try:
            while (tick := await self.queue.get()) is not None:
                yield tick
        finally:
            self.closed = True


class Running:
    def __init__(self) -> None:
        self.feed = Handed()
        self.announced: asyncio.Queue[tuple[str, str, Mapping[str, Any]]] = asyncio.Queue()
        self.sleeps: asyncio.Queue[tuple[float, asyncio.Event]] = asyncio.Queue()
        self.task = asyncio.create_task(broadcast(self.feed, self._announce, sleep=self._sleep))

    async def _announce(self, channel: str, event: str, data: Mapping[str, Any]) -> None:
        self.announced.put_nowait((channel, event, data))

    async def _sleep(self, seconds: float) -> None:
        over = asyncio.Event()
        self.sleeps.put_nowait((seconds, over))
        await over.wait()


async def test_each_tick_goes_to_its_symbols_channel_and_once_a_second_the_newest_of_all() -> None:
    running = Running()
    for each in (tick("A", 1), tick("B", 2), tick("A", 3)):
        running.feed.queue.put_nowait(each)
    got = [await running.announced.get() for _ in range(3)]
    assert [(channel, event, data["price"]) for channel, event, data in got] == [
        ("ticks:A", "tick", 1),
        ("ticks:B", "tick", 2),
        ("ticks:A", "tick", 3),
    ]
    seconds, over = await running.sleeps.get()
    assert seconds == SUMMARY_SECONDS
    over.set()
    assert await running.announced.get() == (
        "stock_updates",
        "stock_update",
        {"stocks": [{"symbol": "A", "price": 3, "change": 1}, {"symbol": "B", "price": 2, "change": 1}]},
    )
    # Nothing is said again while nothing is traded.
    running.feed.queue.put_nowait(tick("B", 4))
    assert (await running.announced.get())[0] == "ticks:B"
    _, over = await running.sleeps.get()
    assert running.announced.empty()
    over.set()
    assert (await running.announced.get())[2]["stocks"][1]["price"] == 4
    running.feed.queue.put_nowait(None)
    await running.task
    assert running.sleeps.empty()


async def test_it_ends_with_its_task_and_closes_the_feed() -> None:
    running = Running()
    running.feed.queue.put_nowait(tick("A", 1))
    await running.announced.get()
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task
    assert running.feed.closed


async def test_the_channels_it_announces_on() -> None:
    assert channels(Handed()) == {"ticks:A", "ticks:B", "stock_updates"}
