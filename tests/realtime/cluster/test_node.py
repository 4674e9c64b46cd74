"""Nodes on a real Redis: they start, speak, live and die."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from server.errors import Forbidden
from server.realtime.cluster import commands, wire
from server.realtime.cluster import node as module
from server.realtime.cluster.address import RedisAway, connector
from server.realtime.cluster.keys import NODES
from server.realtime.cluster.node import DEAD_SECONDS, Node, NodeGone
from tests.support.client import PATIENCE
from tests.support.managers import proxied, until
from tests.support.redis import RedisServer

Body = Mapping[str, Any]
Start = Callable[..., Awaitable[Node]]
PREFIX = "test"


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[RedisServer]:
    """Of the test's own: it is killed and emptied."""
    async with RedisServer() as server:
        yield server


@pytest_asyncio.fixture
async def client(redis: RedisServer) -> AsyncIterator[Redis]:
    async with redis.client() as client:
        yield client


@pytest_asyncio.fixture
async def start(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    monkeypatch.setattr(module, "PULSE_SECONDS", 0.05)
    monkeypatch.setattr(wire, "LAST_BACKOFF", 0.1)
    started: list[Node] = []

    async def start(url: str | None = None) -> Node:
        node = Node(connector(url or redis.url), PREFIX)
        started.append(node)
        await node.start()
        return node

    yield start
    for node in started:
        await node.stop()


class Calls:
    """A hook that counts. It fails as often as it is told."""

    def __init__(self, *, failing: int = 0) -> None:
        self.of: list[str] = []
        self._failing = failing

    async def __call__(self, node: str = "") -> None:
        self.of.append(node)
        if len(self.of) <= self._failing:
            raise RuntimeError("not yet")


# -- starts and stops -----------------------------------------------------------------------------------------------


async def test_it_is_up_when_start_returns(start: Start) -> None:
    node = await start()
    assert node.up
    await node.check()


async def test_without_redis_it_starts_too_and_says_so(
    start: Start, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.05)
    await redis.kill()
    node = await start()
    assert not node.up
    for refused in (node.check(), node.call("PING"), node.ask("a" * 10, "verb", {}), node.tell("a" * 10, "verb", {})):
        with pytest.raises(RedisAway):
            await refused
    await redis.start()
    await until(lambda: node.up)
    await node.check()


async def test_it_is_not_up_where_its_password_is_not_taken(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.3)
    async with RedisServer(password="it-is-a-secret") as server:
        node = await start(f"redis://127.0.0.1:{server.port}/0")
        assert not node.up
        await node.stop()


async def test_who_stops_is_not_found_dead(start: Start, client: Redis) -> None:
    one, other = await start(), await start()
    alive = one.keys.key(NODES, "alive")
    swept = Calls()
    other.sweeps.append(swept)
    assert await client.zrange(alive, 0, -1) == sorted([one.id.encode(), other.id.encode()])
    await one.stop()
    assert await client.zrange(alive, 0, -1) == [other.id.encode()]
    assert swept.of == []


# -- speaks ---------------------------------------------------------------------------------------------------------


async def test_nodes_ask_and_tell_each_other(start: Start) -> None:
    one, other = await start(), await start()
    told: list[Body] = []

    async def double(body: Body) -> Body:
        return {"double": 2 * body["number"], "text": body["text"]}

    async def keep(body: Body) -> None:
        told.append(body)

    other.on("double", double)
    other.on("keep", keep)
    asked = (one.ask(other.id, "double", {"number": number, "text": "\n안녕"}) for number in range(100))
    assert await asyncio.gather(*asked) == [{"double": 2 * number, "text": "\n안녕"} for number in range(100)]
    assert await one.tell(other.id, "keep", {"n": 1}) is True
    await until(lambda: told == [{"n": 1}])
    assert await one.ask(other.id, "keep", {"n": 2}) == {}
    assert not one._questions


async def test_who_is_not_there_is_gone_at_once(start: Start) -> None:
    node = await start()
    with pytest.raises(NodeGone):
        await node.ask("f" * 10, "verb", {}, patience=PATIENCE * 10)
    assert await node.tell("f" * 10, "verb", {}) is False


async def test_who_does_not_answer_in_time_is_gone(start: Start) -> None:
    one, other = await start(), await start()
    gate = asyncio.Event()

    async def late(body: Body) -> Body:
        await gate.wait()
        return {}

    other.on("late", late)
    for verb in ("late", "unknown"):
        with pytest.raises(NodeGone):
            await one.ask(other.id, verb, {}, patience=0.05)
    gate.set()
    assert await one.ask(other.id, "late", {}) == {}
    assert not one._questions


async def test_what_a_rule_refuses_goes_back_as_an_answer(start: Start) -> None:
    one, other = await start(), await start()

    async def refuse(body: Body) -> Body:
        raise Forbidden("Not you")

    other.on("refuse", refuse)
    answer = await one.ask(other.id, "refuse", {})
    assert answer["error"]["code"] == "FORBIDDEN"


async def test_all_others_that_live_are_asked_at_once(start: Start, client: Redis) -> None:
    one, *others = [await start() for _ in range(4)]
    both = asyncio.Barrier(2)

    def tells(name: str) -> Callable[[Body], Any]:
        async def answer(body: Body) -> Body:
            async with asyncio.timeout(PATIENCE):
                await both.wait()
            return {"name": name, **body}

        return answer

    async def late(body: Body) -> Body:
        await asyncio.Event().wait()
        return {}

    async def never(body: Body) -> Body:
        raise AssertionError("it asks itself")

    one.on("who", never)
    others[0].on("who", tells("a"))
    others[1].on("who", tells("b"))
    others[2].on("who", late)
    alive = one.keys.key(NODES, "alive")
    await client.zadd(alive, {"d" * 10: (await client.time())[0]})  # it died just now
    answers = await one.ask_all("who", {"n": 1}, patience=0.3)
    assert sorted(answer["name"] for answer in answers) == ["a", "b"]
    assert all(answer["n"] == 1 for answer in answers)
    assert not one._questions


async def test_without_redis_there_is_nobody_to_ask(start: Start, redis: RedisServer) -> None:
    one, other = await start(), await start()

    async def answer(body: Body) -> Body:
        return {"ok": True}

    other.on("verb", answer)
    assert await one.ask_all("verb", {}) == [{"ok": True}]
    await redis.kill()
    await until(lambda: not one.up)
    assert await one.ask_all("verb", {}) == []
    await redis.start()
    await until(lambda: one.up and other.up)
    assert await one.ask_all("verb", {}) == [{"ok": True}]


async def test_how_many_questions_are_open_is_bounded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUESTIONS", 2)
    one, other = await start(), await start()
    gate = asyncio.Event()

    async def late(body: Body) -> Body:
        await gate.wait()
        return {}

    other.on("late", late)
    asked = [asyncio.create_task(one.ask(other.id, "late", {}, patience=PATIENCE)) for _ in range(2)]
    await until(lambda: len(one._questions) == 2)
    with pytest.raises(NodeGone):
        await one.ask(other.id, "late", {})
    gate.set()
    assert await asyncio.gather(*asked) == [{}, {}]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"node ",
        b"node []",
        b'node ["ask"]',
        b"node {",
        b"pulse x",
        b"\xff\xfe",
        b"1 ",
        b'node ["answer","n","q","v",{}]',
    ],
)
async def test_what_no_node_would_say_does_no_harm(start: Start, client: Redis, message: bytes) -> None:
    one, other = await start(), await start()

    async def answer(body: Body) -> Body:
        return {"ok": True}

    other.on("verb", answer)
    await client.publish(other.channel, message)
    assert await one.ask(other.id, "verb", {}) == {"ok": True}
    assert other.up


# -- waits ----------------------------------------------------------------------------------------------------------


async def test_nobody_waits_long_for_a_redis_that_does_not_answer(
    start: Start, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALLED_SECONDS", 0.1)
    monkeypatch.setattr(commands, "DEAD_SECONDS", 60)
    async with proxied(redis.url) as (url, proxy):
        node = await start(url)
        proxy.black_hole(True)
        with pytest.raises(RedisAway):
            await node.call("PING")
        clock = node.commands._clock
        node.commands._clock = lambda: clock() + commands.STALLED_SECONDS
        assert not node.up
        with pytest.raises(RedisAway):
            await node.check()
        proxy.black_hole(False)
        node.commands._clock = clock
        await until(lambda: node.up)
        await node.check()


async def test_what_redis_refuses_is_away_for_who_asked(start: Start) -> None:
    node = await start()
    with pytest.raises(RedisAway):
        await node.call("GET")
    assert await node.call("PING") == b"PONG"


# -- lives and dies -------------------------------------------------------------------------------------------------


async def test_hooks_are_called_when_redis_comes_and_goes(start: Start, redis: RedisServer) -> None:
    """What is to be written anew is, after Redis came back empty; and once at first."""
    node = Node(connector(redis.url), PREFIX)
    returns, renewals, pulses = Calls(), Calls(), Calls()
    broke: list[int] = []
    node.returns.append(returns)
    node.renewals.append(renewals)
    node.pulses.append(pulses)
    node.breaks.append(lambda: broke.append(1))
    await node.start()
    await until(lambda: len(pulses.of) >= 3)
    assert (len(returns.of), len(renewals.of), broke) == (1, 1, [])
    await redis.kill()
    await until(lambda: bool(broke))
    await redis.start()
    await until(lambda: len(renewals.of) == 2)
    assert (len(returns.of), broke) == (2, [1])
    seen = len(pulses.of)
    await until(lambda: len(pulses.of) > seen)
    await node.stop()


async def test_who_is_found_dead_is_swept_by_who_lives(start: Start, client: Redis) -> None:
    node = await start()
    alive = node.keys.key(NODES, "alive")
    swept = Calls()
    node.sweeps.append(swept)
    now = (await client.time())[0]
    await client.zadd(alive, {"d" * 10: now - DEAD_SECONDS, "e" * 10: now - DEAD_SECONDS + 5})
    await until(lambda: swept.of == ["d" * 10])
    await until_gone(client, alive, "d" * 10)
    assert await client.zscore(alive, "e" * 10) is not None


async def until_gone(client: Redis, alive: str, node: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await client.zscore(alive, node) is not None:  # noqa: ASYNC110 - it is not told
            await asyncio.sleep(0.01)


async def test_a_sweep_that_fails_is_tried_again_and_stops_nothing_else(start: Start, client: Redis) -> None:
    node = await start()
    alive = node.keys.key(NODES, "alive")
    failing, pulses = Calls(failing=10**6), Calls()
    node.sweeps.append(failing)
    node.pulses.append(pulses)
    await client.zadd(alive, {"d" * 10: 0})
    await until(lambda: len(failing.of) >= 3)
    assert len(pulses.of) >= 2
    failing._failing = 0
    await until_gone(client, alive, "d" * 10)


async def test_a_pulse_that_fails_stops_no_other(start: Start) -> None:
    node = await start()
    failing, pulses = Calls(failing=10**6), Calls()
    node.pulses += [failing, pulses]
    await until(lambda: len(failing.of) >= 3)
    assert len(pulses.of) >= 2


async def test_who_was_given_up_as_dead_and_lives_writes_anew(start: Start, client: Redis) -> None:
    node = await start()
    renewals = Calls()
    node.renewals.append(renewals)
    await client.zrem(node.keys.key(NODES, "alive"), node.id)
    await until(lambda: len(renewals.of) == 1)


async def test_its_beat_keeps_it_alive(start: Start, client: Redis) -> None:
    node = await start()
    alive = node.keys.key(NODES, "alive")
    await client.zadd(alive, {node.id: time.time() - 5})
    async with asyncio.timeout(PATIENCE):
        while (await client.zscore(alive, node.id) or 0) < time.time() - 3:  # noqa: ASYNC110 - it is not told
            await asyncio.sleep(0.01)


async def test_a_node_in_nobodys_rooms_hears_enough_not_to_be_deaf(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no clients, and so nothing else is said to it."""
    node = await start()
    heard = node.listener._heard_at
    await until(lambda: node.listener._heard_at > heard)


@pytest.mark.parametrize("prefix", ["a*", "a?b", "a[b]c", "a\\b", "[^/]", "{x}"])
async def test_a_prefix_is_taken_as_it_is(redis: RedisServer, client: Redis, prefix: str) -> None:
    node = Node(connector(redis.url), prefix)
    heard: list[str] = []
    node.hears = lambda channel, message: heard.append(channel)
    await node.start()
    for name in ("axx:general", "ab:general", f"{prefix}:general"):
        await client.publish(name, "x")
    await until(lambda: f"{prefix}:general" in heard)
    assert heard == [f"{prefix}:general"]
    await node.stop()
