"""Subscriptions to a real Redis, by way of a proxy that spoils the connection."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from server.realtime.cluster import listener, wire
from server.realtime.cluster.address import RedisAway, connector
from server.realtime.cluster.listener import DEAF_SECONDS, Listener
from tests.support.client import PATIENCE
from tests.support.managers import proxied, until
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer


class Ear:
    def __init__(self, url: str, proxy: Proxy, client: Redis) -> None:
        self.proxy = proxy
        self.client = client
        self.prefix = secrets.token_hex(4)
        self.heard: list[tuple[str, bytes]] = []
        self.opened = self.closed = 0
        self.wanted: set[str] = set()  # and in force
        self.ahead = 0.0
        self.listener = Listener(
            connector(url), self._hear, patterns=[f"{self.prefix}:p*"], opened=self._opened, closed=self._closed
        )
        clock = self.listener._clock
        self.listener._clock = lambda: clock() + self.ahead

    def name(self, channel: str) -> str:
        return f"{self.prefix}:{channel}"

    async def say(self, channel: str, text: str = "x") -> int:
        """How many hear it."""
        return int(await self.client.publish(self.name(channel), text))

    async def subscribed(self, *channels: str) -> None:
        for channel in channels:
            if (pending := self.listener.subscribe(self.name(channel))) is not None:
                await pending
            self.wanted.add(self.name(channel))

    async def until(self, channel: str, text: str = "end") -> list[tuple[str, bytes]]:
        await self.say(channel, text)
        await until(lambda: bool(self.heard) and self.heard[-1] == (channel, text.encode()))
        heard, self.heard = self.heard[:-1], []
        return heard

    async def _opened(self) -> None:
        assert not self.listener.ready
        assert self.wanted <= self.listener._confirmed
        self.opened += 1

    def _closed(self) -> None:
        self.closed += 1

    def _hear(self, channel: str, message: bytes) -> None:
        self.heard.append((channel.removeprefix(f"{self.prefix}:"), message))


@pytest_asyncio.fixture
async def ear(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ear]:
    monkeypatch.setattr(wire, "LAST_BACKOFF", 0.1)
    async with proxied(redis_server.url) as (url, proxy), redis_server.client() as client:
        ear = Ear(url, proxy, client)
        serving = asyncio.create_task(ear.listener.serve())
        await until(lambda: ear.listener.ready)
        yield ear
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_it_hears_its_channels_in_order_and_patterns(ear: Ear) -> None:
    await ear.subscribed("a", "b")
    for number in range(100):
        await ear.say("ab"[number % 2], str(number))
    assert await ear.say("c") == 0
    assert await ear.say("public") == 1
    heard = await ear.until("a")
    assert heard == [*(("ab"[number % 2], str(number).encode()) for number in range(100)), ("public", b"x")]


async def test_a_channel_is_asked_for_once_and_left_by_the_last(ear: Ear) -> None:
    channel = ear.name("a")
    first, second = ear.listener.subscribe(channel), ear.listener.subscribe(channel)
    assert first is not None
    assert first is second is ear.listener.pending(channel)
    await first
    assert ear.listener.subscribe(channel) is None
    assert ear.listener.pending(channel) is None
    for _ in range(2):
        ear.listener.unsubscribe(channel)
    await ear.subscribed("b")
    assert await ear.say("a") == 1
    ear.listener.unsubscribe(channel)
    await ear.subscribed("c")
    assert await ear.say("a") == 0
    assert dict(ear.listener._wanted) == {ear.name("b"): 1, ear.name("c"): 1}


async def test_who_leaves_and_comes_again_waits_for_the_last_word(ear: Ear) -> None:
    channel = ear.name("a")
    ear.proxy.black_hole(True)
    first = ear.listener.subscribe(channel)
    ear.listener.unsubscribe(channel)
    second = ear.listener.subscribe(channel)
    ear.listener.unsubscribe(channel)
    third = ear.listener.subscribe(channel)
    ear.proxy.black_hole(False)
    for each in (first, second):
        assert each is not None
        with pytest.raises(RedisAway):
            await each
    assert third is not None
    await third
    assert await ear.say("a") == 1
    await until(lambda: not ear.listener._asked)


async def test_after_a_break_it_hears_all_again(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "CHANNELS_A_COMMAND", 7)
    names = [f"n{number}" for number in range(50)]
    await ear.subscribed(*names)
    ear.listener.unsubscribe(ear.name("n7"))
    ear.wanted.discard(ear.name("n7"))
    ear.proxy.refuse()
    await ear.proxy.cut()
    await until(lambda: ear.closed > 0)
    pending = ear.listener.subscribe(ear.name("late"))
    assert pending is not None
    with pytest.raises(RedisAway):
        await pending
    await ear.proxy.accept()
    await until(lambda: ear.listener.ready)
    assert ear.opened == 2
    assert [await ear.say(name) for name in [*names, "late"]] == [int(name != "n7") for name in [*names, "late"]]


async def test_what_awaits_a_subscription_fails_when_it_breaks(ear: Ear) -> None:
    ear.proxy.black_hole(True)
    pending = ear.listener.subscribe(ear.name("a"))
    await ear.proxy.cut()
    assert pending is not None
    with pytest.raises(RedisAway):
        await pending
    ear.proxy.black_hole(False)
    await until(lambda: ear.listener.ready)
    assert await ear.say("a") == 1


async def test_it_becomes_ready_however_many_come_meanwhile(ear: Ear) -> None:
    await ear.subscribed("a")
    ear.proxy.delay(0.05)
    await ear.proxy.cut()
    await until(lambda: ear.closed > 0)
    names: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while not ear.listener.ready:
            names.append(f"n{len(names)}")
            ear.listener.subscribe(ear.name(names[-1]))
            await asyncio.sleep(0.005)
    ear.proxy.delay(0)
    await ear.subscribed("last")
    assert [await ear.say(name) for name in ["a", *names]] == [1] * (len(names) + 1)


async def test_silence_ends_it(ear: Ear) -> None:
    """Something is said each second: its node's own pulse."""
    await ear.subscribed("a")
    ear.ahead = DEAF_SECONDS - 1
    await ear.until("a")
    ear.ahead += DEAF_SECONDS - 1
    await asyncio.sleep(2 * wire.WATCH_SECONDS)
    assert ear.closed == 0
    ear.ahead += DEAF_SECONDS
    await until(lambda: ear.opened == 2)
