from __future__ import annotations

import asyncio

import pytest

from clients.python.errors import Lost
from clients.python.feed import Feed


async def test_in_order_and_then_the_end() -> None:
    feed: Feed[int] = Feed(10)
    reading = asyncio.create_task(_all(feed))
    await asyncio.sleep(0)
    feed.put(1)
    feed.put(2)
    feed.end()
    feed.put(3)
    assert await reading == [1, 2]


async def test_the_oldest_goes_and_is_counted() -> None:
    feed: Feed[int] = Feed(2)
    for number in range(5):
        feed.put(number)
    assert (feed.full, feed.dropped, [await anext(feed), await anext(feed)]) == (True, 3, [3, 4])


async def test_who_fills_it_hears_of_room() -> None:
    room: list[int] = []
    feed: Feed[int] = Feed(2, on_room=lambda: room.append(len(feed)))
    feed.put(1)
    await anext(feed)
    assert room == []
    feed.put(1)
    feed.put(2)
    await anext(feed)
    assert room == [1]


async def test_an_error_comes_after_what_is_in_it() -> None:
    feed: Feed[int] = Feed(2)
    feed.put(1)
    feed.end(Lost("GOING_AWAY", "bye"))
    feed.end()
    assert await anext(feed) == 1
    with pytest.raises(Lost, match="GOING_AWAY"):
        await anext(feed)


async def _all(feed: Feed[int]) -> list[int]:
    return [item async for item in feed]
