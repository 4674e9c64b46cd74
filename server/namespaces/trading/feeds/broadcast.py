"""Brings a feed to the channels: each tick to its symbol's, once a second the newest of all to `stock_updates`.

How a channel delivers them is not known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Protocol

from server.namespaces.trading.schemas import Tick

SUMMARY_CHANNEL = "stock_updates"
SUMMARY_SECONDS = 1.0

Announce = Callable[[str, str, Mapping[str, object]], Awaitable[None]]  # channel, event, data


class Feed(Protocol):
    @property
    def symbols(self) -> Collection[str]:
        """Every symbol it may ever have a tick of."""

    def ticks(self) -> AsyncGenerator[Tick, None]:
        """Each when it is due. Its end is the end of the feed."""


def channels(feed: Feed) -> set[str]:
    """Every channel that `broadcast` announces on."""
    return {SUMMARY_CHANNEL, *(_channel(symbol) for symbol in feed.symbols)}


async def broadcast(
    feed: Feed, announce: Announce, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Runs until the feed ends."""
    newest: dict[str, Tick] = {}
    traded = asyncio.Event()

    async def summarise() -> None:
        while True:
            await traded.wait()
            await sleep(SUMMARY_SECONDS)
            traded.clear()
            await announce(SUMMARY_CHANNEL, "stock_update", {"stocks": [_summary(each) for each in newest.values()]})

    async with asyncio.TaskGroup() as group:
        summaries = group.create_task(summarise(), name="feed-summaries")
        async with aclosing(feed.ticks()) as ticks:
            async for tick in ticks:
                newest[tick.symbol] = tick
                traded.set()
                await announce(_channel(tick.symbol), "tick", tick.to_wire())
        summaries.cancel()


def _channel(symbol: str) -> str:
    return f"ticks:{symbol}"


def _summary(tick: Tick) -> dict[str, object]:
    return {"symbol": tick.symbol, "price": tick.price, "change": tick.change}
