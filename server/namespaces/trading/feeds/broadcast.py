"""Brings a feed to the channels: each tick to its symbol's, once a second the newest of all to `stock_updates`.

How a channel delivers them is not known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import structlog

from server.namespaces.trading.schemas import Tick

log = structlog.get_logger(__name__)

SUMMARY_CHANNEL = "stock_updates"
SUMMARY_SECONDS = 1.0
FIRST_BACKOFF = 1.0  # seconds
LAST_BACKOFF = 60.0

Announce = Callable[[str, str, Mapping[str, object]], Awaitable[None]]  # channel, event, data


class Feed(Protocol):
    @property
    def symbols(self) -> Collection[str]:
        """Every symbol it may ever have a tick of."""

    def ticks(self) -> AsyncGenerator[Tick, None]:
        """Each when it is due. Its end is the end of the feed; after an exception it is called again, later."""


@dataclass(slots=True)
class FeedStatistics:
    """Counts, which only grow: `refused` of ticks that are no use, `failures` of times that the feed broke off."""

    ticks: int = 0
    refused: int = 0
    failures: int = 0


def channels(feed: Feed) -> set[str]:
    """Every channel that `broadcast` announces on."""
    return {SUMMARY_CHANNEL, *(_channel(symbol) for symbol in feed.symbols)}


async def broadcast(
    feed: Feed,
    announce: Announce,
    *,
    statistics: FeedStatistics | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Runs until the feed ends. A feed that raises ends nothing else, and is tried again with backoff: on whatever
    node it is played next it would be the same, and what most feeds raise for, a lost connection, passes."""
    playing = _Playing(feed, announce, statistics or FeedStatistics(), sleep)
    async with asyncio.TaskGroup() as group:
        summaries = group.create_task(playing.summarise(), name="feed-summaries")
        await playing.play()
        summaries.cancel()


class _Playing:
    def __init__(
        self, feed: Feed, announce: Announce, statistics: FeedStatistics, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._feed = feed
        self._name = type(feed).__qualname__
        self._announce = announce
        self._statistics = statistics
        self._sleep = sleep
        self._newest: dict[str, Tick] = {}
        self._traded = asyncio.Event()
        self._backoff = FIRST_BACKOFF
        self._undelivered = 0  # in a row

    async def play(self) -> None:
        while True:
            try:
                await self._play()
            except Exception as error:
                self._statistics.failures += 1
                log.exception("a feed failed", feed=self._name, error=repr(error), retry_seconds=self._backoff)
            else:
                return
            await self._sleep(self._backoff)
            self._backoff = min(2 * self._backoff, LAST_BACKOFF)

    async def summarise(self) -> None:
        while True:
            await self._traded.wait()
            await self._sleep(SUMMARY_SECONDS)
            self._traded.clear()
            await self._tell(SUMMARY_CHANNEL, "stock_update", {"stocks": [*map(_summary, self._newest.values())]})

    async def _play(self) -> None:
        symbols = frozenset(self._feed.symbols)
        async with aclosing(self._feed.ticks()) as ticks:
            async for tick in ticks:
                if not _sound(tick, symbols):
                    if self._statistics.refused == 0:
                        log.warning("a feed's tick is no use; it and all others like it are skipped", feed=self._name)
                    self._statistics.refused += 1
                    continue
                self._backoff = FIRST_BACKOFF
                self._statistics.ticks += 1
                self._newest[tick.symbol] = tick
                self._traded.set()
                await self._tell(_channel(tick.symbol), "tick", tick.to_wire())

    async def _tell(self, channel: str, event: str, data: Mapping[str, object]) -> None:
        """What cannot be delivered is not the feed's fault, and the next tick is newer anyway."""
        try:
            await self._announce(channel, event, data)
        except Exception:
            if self._undelivered == 0:
                log.exception("a feed's ticks cannot be delivered", feed=self._name, channel=channel)
            self._undelivered += 1
        else:
            self._undelivered = 0


def _sound(tick: Tick, symbols: Collection[str]) -> bool:
    """Of a symbol that was announced, and with numbers that JSON has."""
    numbers = (tick.price, tick.change, tick.volume)
    return tick.symbol in symbols and all(
        isinstance(number, int | float) and -(2**53) < number < 2**53 for number in numbers
    )


def _channel(symbol: str) -> str:
    return f"ticks:{symbol}"


def _summary(tick: Tick) -> dict[str, object]:
    return {"symbol": tick.symbol, "price": tick.price, "change": tick.change}
