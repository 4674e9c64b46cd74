from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from server.namespaces.trading.feeds.broadcast import (
    FIRST_BACKOFF,
    LAST_BACKOFF,
    SUMMARY_SECONDS,
    FeedStatistics,
    broadcast,
    channels,
)
from server.namespaces.trading.schemas import Tick


def tick(symbol: str, price: int) -> Tick:
    return Tick(symbol, "name", price, 1, 2, "now")


class Handed:
    """A feed whose ticks are handed to it; None ends it."""

    symbols = ("A", "B")

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Tick | Exception | None] = asyncio.Queue()
        self.closed = False

    async def ticks(self) -> AsyncGenerator[Tick, None]:
        try:
            while (tick := await self.queue.get()) is not None:
                if isinstance(tick, Exception):
                    raise tick
                yield tick
        finally:
            self.closed = True


class Running:
    def __init__(self) -> None:
        self.feed = Handed()
        self.announced: asyncio.Queue[tuple[str, str, Mapping[str, Any]]] = asyncio.Queue()
        self.sleeps: asyncio.Queue[tuple[float, asyncio.Event]] = asyncio.Queue()
        self.statistics = FeedStatistics()
        self.refuses: Exception | None = None
        self.task = asyncio.create_task(
            broadcast(self.feed, self._announce, statistics=self.statistics, sleep=self._sleep)
        )

    async def _announce(self, channel: str, event: str, data: Mapping[str, Any]) -> None:
        if self.refuses is not None:
            raise self.refuses
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


async def test_a_feed_that_raises_is_named_and_tried_again_less_and_less_often() -> None:
    running = Running()
    waits = []
    with capture_logs() as logs:
        for _ in range(8):
            running.feed.queue.put_nowait(OSError("line cut"))
            seconds, over = await running.sleeps.get()
            assert running.feed.closed
            waits.append(seconds)
            over.set()
        assert waits == [FIRST_BACKOFF, 2, 4, 8, 16, 32, LAST_BACKOFF, LAST_BACKOFF]
        running.feed.queue.put_nowait(tick("A", 1))
        assert (await running.announced.get())[0] == "ticks:A"
        running.feed.queue.put_nowait(OSError("line cut"))
        slept = {(await running.sleeps.get())[0] for _ in range(2)}
    assert slept == {SUMMARY_SECONDS, FIRST_BACKOFF}
    assert running.statistics == FeedStatistics(ticks=1, failures=9)
    assert {(entry["log_level"], entry["feed"], entry["error"]) for entry in logs} == {
        ("error", "Handed", "OSError('line cut')")
    }
    running.task.cancel()


@pytest.mark.parametrize(
    "broken",
    [
        Tick("C", "never announced", 1, 0, 1, "now"),
        Tick("A", "a", float("nan"), 0, 1, "now"),
        Tick("A", "a", 1, float("inf"), 1, "now"),
        Tick("A", "a", 2**64, 0, 1, "now"),
        Tick("A", "a", "1", 0, 1, "now"),  # type: ignore[arg-type]
    ],
)
async def test_ticks_that_are_no_use_are_skipped_and_counted(broken: Tick) -> None:
    running = Running()
    with capture_logs() as logs:
        for each in (broken, broken, tick("A", 1), None):
            running.feed.queue.put_nowait(each)
        await running.task
    assert [(channel, data["price"]) for channel, _, data in _drained(running.announced)] == [("ticks:A", 1)]
    assert running.statistics == FeedStatistics(ticks=1, refused=2)
    assert [entry["log_level"] for entry in logs] == ["warning"]


async def test_what_cannot_be_delivered_does_not_end_the_feed() -> None:
    running = Running()
    running.refuses = ConnectionError("away")
    with capture_logs() as logs:
        for price in range(3):
            running.feed.queue.put_nowait(tick("A", price))
        _, over = await running.sleeps.get()
        running.refuses = None
        over.set()
        assert (await running.announced.get())[2]["stocks"][0]["price"] == 2
    running.feed.queue.put_nowait(tick("A", 3))
    assert (await running.announced.get())[2]["price"] == 3
    running.feed.queue.put_nowait(None)
    await running.task
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert running.statistics == FeedStatistics(ticks=4)


def _drained(queue: asyncio.Queue[Any]) -> list[Any]:
    return [queue.get_nowait() for _ in range(queue.qsize())]
