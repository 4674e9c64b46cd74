"""What every connection to Redis has in common; what each is for is tested in test_commands and test_listener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio.connection import AbstractConnection
from structlog.testing import capture_logs

from server.realtime.cluster.address import Connect, RedisAway, connector
from server.realtime.cluster.wire import FIRST_BACKOFF, LAST_BACKOFF, WATCH_SECONDS, Wire, fail, promise
from tests.support.client import PATIENCE
from tests.support.managers import until
from tests.support.redis import RedisServer


class Plain(Wire):
    """Says what is sent on it, and hears what comes, as it is."""

    def __init__(self, connect: Connect) -> None:
        super().__init__(connect, opened=self._opens, closed=self._closes)
        self.answers: list[object] = []
        self.events: list[str] = []
        self.dead = False

    def say(self, *command: str) -> None:
        self._send(*command)

    async def _begin(self) -> None:
        self.events.append("begin")
        self._send("ECHO", "begun")

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            self.answers.append(await connection.read_response(disable_decoding=True, timeout=None))

    def _dead(self) -> bool:
        return self.dead

    def _broke(self) -> None:
        self.events.append("broke")

    async def _opens(self) -> None:
        self.events.append("opened")

    def _closes(self) -> None:
        self.events.append("closed")


@pytest_asyncio.fixture
async def serving() -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_it_begins_is_opened_breaks_and_begins_again(
    redis_server: RedisServer, serving: list[asyncio.Task[None]]
) -> None:
    plain = Plain(connector(redis_server.url))
    plain.say("ECHO", "to nobody")
    serving.append(asyncio.create_task(plain.serve()))
    await until(lambda: plain.ready)
    plain.say("ECHO", "one")
    plain.say("ECHO", "two")
    await until(lambda: len(plain.answers) == 3)
    assert plain.answers == [b"begun", b"one", b"two"]
    assert plain.events == ["begin", "opened"]
    plain.dead = True
    await until(lambda: "closed" in plain.events)
    plain.dead = False
    await until(lambda: plain.ready)
    assert plain.events == ["begin", "opened", "broke", "closed", "begin", "opened"]


async def test_what_was_not_sent_on_one_connection_is_not_sent_on_the_next(
    redis_server: RedisServer, serving: list[asyncio.Task[None]]
) -> None:
    plain = Plain(connector(redis_server.url))
    serving.append(asyncio.create_task(plain.serve()))
    await until(lambda: plain.ready)
    assert plain._connection is not None
    await plain._connection.disconnect(nowait=True)
    plain.say("ECHO", "lost")
    await until(lambda: plain.events.count("opened") == 2)
    plain.say("ECHO", "end")
    await until(lambda: plain.answers[-1:] == [b"end"])
    assert plain.answers == [b"begun", b"begun", b"end"]


async def test_a_transport_that_was_closed_meanwhile_is_a_break(
    redis_server: RedisServer, serving: list[asyncio.Task[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop's raises a RuntimeError before the reader hears that it was closed."""

    async def closed(*_: object, **__: object) -> None:
        raise RuntimeError("the handler is closed")

    plain = Plain(connector(redis_server.url))
    serving.append(asyncio.create_task(plain.serve()))
    await until(lambda: plain.ready)
    monkeypatch.setattr(plain._connection, "send_packed_command", closed)
    with capture_logs() as logs:
        plain.say("ECHO", "lost")
        await until(lambda: plain.events.count("opened") == 2)
    assert [(entry["log_level"], entry["event"]) for entry in logs][:1] == [("warning", "redis is away")]
    assert plain.events == ["begin", "opened", "broke", "closed", "begin", "opened"]


async def test_when_it_ends_nothing_is_left(redis_server: RedisServer) -> None:
    plain = Plain(connector(redis_server.url))
    task = asyncio.create_task(plain.serve())
    await until(lambda: plain.ready)
    before = asyncio.all_tasks()
    connection = plain._connection
    assert connection is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert plain.events[-1] == "broke"
    assert not connection.is_connected
    assert before - asyncio.all_tasks() >= {task}


async def test_tries_are_spaced_and_do_not_come_in_step(
    monkeypatch: pytest.MonkeyPatch, serving: list[asyncio.Task[None]]
) -> None:
    waits: list[float] = []
    enough = asyncio.Event()
    sleep = asyncio.sleep

    async def count(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 12:
            enough.set()
        await sleep(0)

    async def away() -> AbstractConnection:
        raise RedisAway("refused")

    monkeypatch.setattr("server.realtime.cluster.wire.asyncio.sleep", count)
    plain = Plain(away)
    serving.append(asyncio.create_task(plain.serve()))
    async with asyncio.timeout(PATIENCE):
        await enough.wait()
    monkeypatch.undo()
    bounds = [min(FIRST_BACKOFF * 2**number, LAST_BACKOFF) for number in range(12)]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, bounds, strict=False))
    assert waits[-1] >= LAST_BACKOFF / 2
    assert plain.events == ["closed"] * len(waits)


async def test_after_it_was_ready_the_first_try_is_soon(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, serving: list[asyncio.Task[None]]
) -> None:
    """However long it was away before."""
    waits: list[float] = []
    sleep, connect = asyncio.sleep, connector(redis_server.url)

    async def count(seconds: float) -> None:
        if seconds >= FIRST_BACKOFF / 2 and seconds != WATCH_SECONDS:  # others sleep too
            waits.append(seconds)
            seconds = 0
        await sleep(seconds)

    async def late() -> AbstractConnection:
        if len(waits) < 6:
            raise RedisAway("refused")
        return await connect()

    monkeypatch.setattr("server.realtime.cluster.wire.asyncio.sleep", count)
    plain = Plain(late)
    serving.append(asyncio.create_task(plain.serve()))
    await until(lambda: plain.ready)
    assert plain._connection is not None
    await plain._connection.disconnect(nowait=True)
    await until(lambda: plain.events.count("opened") == 2)
    monkeypatch.undo()
    assert waits[5] > 2 * FIRST_BACKOFF >= 2 * waits[6]


async def test_an_error_of_ours_does_not_end_it(serving: list[asyncio.Task[None]], redis_server: RedisServer) -> None:
    tried: list[int] = []
    connect = connector(redis_server.url)

    async def odd() -> AbstractConnection:
        tried.append(1)
        if len(tried) == 1:
            raise LookupError("a fault")
        return await connect()

    plain = Plain(odd)
    serving.append(asyncio.create_task(plain.serve()))
    await until(lambda: plain.ready)


async def test_nobody_has_to_await_a_promise() -> None:
    for settle in (lambda future: fail(future, "x"), lambda future: future.cancel(), lambda future: None):
        future = promise()
        settle(future)
        fail(future, "again")
    future = promise()
    future.set_result(1)
    fail(future, "too late")
    assert await future == 1
