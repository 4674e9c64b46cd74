"""Commands on one connection to a real Redis, by way of a proxy that spoils it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.exceptions import ResponseError

from server.realtime.cluster import commands, wire
from server.realtime.cluster.address import RedisAway, connector
from server.realtime.cluster.commands import DEAD_SECONDS, STALLED_SECONDS, Commands
from server.realtime.cluster.scripts import NEWEST
from tests.support.managers import proxied, until
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer


class Link:
    """A connection, and how often it was opened and closed."""

    def __init__(self, url: str, proxy: Proxy) -> None:
        self.proxy = proxy
        self.opened = self.closed = 0
        self.commands = Commands(connector(url), opened=self._opened, closed=self._closed)
        self.ahead = 0.0
        clock = self.commands._clock
        self.commands._clock = lambda: clock() + self.ahead

    async def _opened(self) -> None:
        assert not self.commands.ready
        assert await self.commands.call("PING") == b"PONG", "what opens it may call"
        self.opened += 1

    def _closed(self) -> None:
        self.closed += 1

    async def ready(self, times: int = 1) -> None:
        await until(lambda: self.opened == times and self.commands.ready)


@pytest_asyncio.fixture
async def link(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Link]:
    monkeypatch.setattr(wire, "LAST_BACKOFF", 0.1)
    async with proxied(redis_server.url) as (url, proxy):
        link = Link(url, proxy)
        serving = asyncio.create_task(link.commands.serve())
        await link.ready()
        yield link
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_answers_come_to_who_asked_in_order(link: Link) -> None:
    key = f"commands:{id(link)}"
    answers = [link.commands.call("RPUSH", key, number) for number in range(500)]
    assert await asyncio.gather(*answers) == list(range(1, 501))
    assert await link.commands.call("LRANGE", key, 0, -1) == [str(number).encode() for number in range(500)]


async def test_an_error_is_the_askers_only(link: Link) -> None:
    one, other = link.commands.call("GET"), link.commands.call("PING")
    with pytest.raises(ResponseError):
        await one
    assert await other == b"PONG"
    assert link.closed == 0


async def test_bytes_pass_as_they_are(link: Link) -> None:
    everything = bytes(range(256)) * 1000
    assert await link.commands.call("ECHO", everything) == everything


async def test_whoever_gives_up_takes_nobodys_answer(link: Link) -> None:
    link.proxy.black_hole(True)
    one, other = link.commands.call("ECHO", "one"), link.commands.call("ECHO", "other")
    one.cancel()
    link.proxy.black_hole(False)
    assert await other == b"other"


async def test_what_has_no_answer_when_it_breaks_fails(link: Link) -> None:
    link.proxy.black_hole(True)
    answers = [link.commands.call("PING") for _ in range(3)]
    await link.proxy.cut()
    for answer in answers:
        with pytest.raises(RedisAway):
            await answer
    link.proxy.black_hole(False)
    await link.ready(2)
    assert await link.commands.call("PING") == b"PONG"
    assert link.closed >= 1


async def test_nothing_is_sent_without_a_connection(link: Link) -> None:
    link.proxy.refuse()
    await link.proxy.cut()
    await until(lambda: link.closed > 0)
    assert not link.commands.up
    with pytest.raises(RedisAway):
        await link.commands.call("PING")
    await link.proxy.accept()
    await link.ready(2)
    assert link.commands.up


async def test_silence_says_that_it_is_down_and_then_ends_it(link: Link) -> None:
    link.proxy.black_hole(True)
    answer = link.commands.call("PING")
    assert link.commands.up is True
    link.ahead = STALLED_SECONDS + 0.5
    assert (link.commands.up, link.commands.ready, link.closed) == (False, True, 0)
    link.proxy.black_hole(False)
    assert await answer == b"PONG"
    await until(lambda: link.commands.up)
    link.proxy.black_hole(True)
    answer = link.commands.call("PING")
    link.ahead += DEAD_SECONDS + 0.5
    with pytest.raises(RedisAway):
        await answer
    await until(lambda: link.closed > 0)
    link.proxy.black_hole(False)
    await link.ready(2)


async def test_while_nothing_is_asked_nothing_is_missed(link: Link) -> None:
    link.ahead = 1e6
    await asyncio.sleep(2 * wire.WATCH_SECONDS)
    assert link.commands.up
    assert link.closed == 0


async def test_scripts_that_redis_lost_are_loaded_anew(link: Link) -> None:
    offset = int(await link.commands.run(NEWEST, ["commands:offset"], []))
    await link.commands.call("SCRIPT", "FLUSH")
    with pytest.raises(RedisAway):
        await link.commands.run(NEWEST, ["commands:offset"], [])
    await link.ready(2)
    assert int(await link.commands.run(NEWEST, ["commands:offset"], [])) >= offset


async def test_a_server_that_became_a_replica_is_left(redis_server: RedisServer, link: Link) -> None:
    """After a failover the address may lead elsewhere."""
    async with RedisServer() as replica, replica.client() as client, proxied(replica.url) as (url, proxy):
        found = Link(url, proxy)
        serving = asyncio.create_task(found.commands.serve())
        await found.ready()
        await client.replicaof("127.0.0.1", redis_server.port)
        with pytest.raises(RedisAway):
            await found.commands.call("SET", "a", "b")
        await until(lambda: found.closed > 0)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_how_many_may_wait_is_bounded(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MAX_WAITING", 10)
    link.proxy.black_hole(True)
    answers = [link.commands.call("PING") for _ in range(15)]
    assert [answer.done() for answer in answers] == [False] * 10 + [True] * 5
    link.proxy.black_hole(False)
    assert await asyncio.gather(*answers[:10]) == [b"PONG"] * 10
    for answer in answers[10:]:
        with pytest.raises(RedisAway):
            await answer


async def test_a_connection_that_breaks_while_it_is_opened_is_made_again(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "LAST_BACKOFF", 0.1)
    async with proxied(redis_server.url) as (url, proxy):
        begun = 0

        async def opened() -> None:
            nonlocal begun
            begun += 1
            if begun == 1:
                await proxy.cut()
                await asyncio.Event().wait()
            if begun == 2:
                raise RedisAway("not yet")

        link = Commands(connector(url), opened=opened, closed=lambda: None)
        serving = asyncio.create_task(link.serve())
        await until(lambda: link.ready)
        assert begun == 3
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
