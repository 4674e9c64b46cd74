from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from server.namespaces.trading.catalogue import ChannelClass, load
from server.namespaces.trading.newest import REST_SECONDS, Newest, Views

TICKS = load(Path("config/channels.toml")).find("ticks:A")


class Time:
    """A clock that only `sleep` moves; what sleeps waits for `pass_by`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.gate = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.gate.wait()
        self.now += max(0.0, seconds)


class Broker:
    def __init__(self) -> None:
        self.reads: list[str | None] = []
        self.answer: Callable[[], Awaitable[Views]] = self._nothing

    async def newest(self, tenant: str | None, kind: ChannelClass) -> Views:
        self.reads.append(tenant)
        return await self.answer()

    @staticmethod
    async def _nothing() -> Views:
        return []


async def test_who_comes_during_a_read_shares_the_next_after_a_rest() -> None:
    broker, time = Broker(), Time()
    newest = Newest(broker.newest, clock=lambda: time.now, sleep=time.sleep)
    first = await newest.read(None, TICKS)
    others = [asyncio.create_task(newest.read(None, TICKS)) for _ in range(100)]
    another = await newest.read("acme", TICKS)
    assert broker.reads == [None, "acme"]
    time.gate.set()
    shared = await asyncio.gather(*others)
    assert (broker.reads, time.slept) == ([None, "acme", None], [REST_SECONDS])
    assert all(each is shared[0] for each in shared)
    assert shared[0] is not first is not another
    time.now += 10
    await newest.read(None, TICKS)
    assert len(newest._begun) == 1, "those of long ago are forgotten"


async def test_a_read_that_has_begun_is_not_for_who_comes_then() -> None:
    broker, time = Broker(), Time()
    begun, end = asyncio.Event(), asyncio.Event()

    async def slow() -> Views:
        begun.set()
        await end.wait()
        return []

    broker.answer = slow
    newest = Newest(broker.newest, clock=lambda: time.now, sleep=time.sleep)
    time.gate.set()
    first = asyncio.create_task(newest.read(None, TICKS))
    await begun.wait()
    second = asyncio.create_task(newest.read(None, TICKS))
    end.set()
    assert await first is not await second
    assert len(broker.reads) == 2


async def test_a_read_that_fails_fails_for_all_and_the_next_is_another() -> None:
    broker, time = Broker(), Time()

    async def fail() -> Views:
        raise ConnectionError

    broker.answer = fail
    newest = Newest(broker.newest, clock=lambda: time.now, sleep=time.sleep)
    time.gate.set()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await newest.read(None, TICKS)
    assert len(broker.reads) == 2


async def test_who_gives_up_ends_it_for_nobody_else() -> None:
    broker, time = Broker(), Time()
    newest = Newest(broker.newest, clock=lambda: time.now, sleep=time.sleep)
    await newest.read(None, TICKS)
    impatient, patient = (asyncio.create_task(newest.read(None, TICKS)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    time.gate.set()
    assert await patient == []
