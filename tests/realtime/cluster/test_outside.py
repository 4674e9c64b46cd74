"""Programs outside, with the stock manager and with plain PUBLISH, and clients on two nodes."""

from __future__ import annotations

import asyncio
import json
import pickle
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import socketio

from server.realtime import rooms
from server.realtime.cluster.outside import CLAIM_SECONDS, MAX_BYTES, MAX_SIGHTINGS, Sightings, room_of
from tests.conftest import Connect, Serve
from tests.support.client import Client
from tests.support.managers import node_of, until_up
from tests.support.redis import RedisServer
from tests.support.running import Running

pytestmark = pytest.mark.undeclared("what others tell by Redis")


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server


@pytest.fixture
def prefix() -> str:
    return secrets.token_hex(4)


@pytest_asyncio.fixture
async def nodes(redis: RedisServer, prefix: str, serve: Serve) -> list[Running]:
    options = {"TRADING_FEED": "none", "REDIS_URL": redis.url, "REDIS_CHANNEL_PREFIX": prefix}
    found = [await serve(**options, CHAT_DEFAULT_AGENT="") for _ in range(3)]
    await until_up(*map(node_of, found))
    return found


@pytest_asyncio.fixture
async def readers(nodes: list[Running], connect: Connect) -> list[Client]:
    found = [await connect(node, "/trading", f"reader-{number}") for number, node in enumerate(nodes[:2])]
    for reader in found:
        for channel in ("alerts", "general", "ticks:A"):
            assert (await reader.call("subscribe", {"channel": channel}))["ok"]
    return found


@pytest_asyncio.fixture
async def stock(redis: RedisServer) -> AsyncIterator[socketio.AsyncRedisManager]:
    manager = socketio.AsyncRedisManager(redis.url, write_only=True)
    yield manager
    await manager.redis.aclose()


class Publisher:
    def __init__(self, redis: RedisServer, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    async def say(self, channel: str, *messages: object) -> None:
        async with self._redis.client() as client:
            for each in messages:
                text = each if isinstance(each, str | bytes) else json.dumps(each)
                await client.publish(f"{self._prefix}:{channel}", text)


@pytest.fixture
def publisher(redis: RedisServer, prefix: str) -> Publisher:
    return Publisher(redis, prefix)


async def until(client: Client, event: str, data: object) -> list[Any]:
    await client.expect(event, lambda payload: payload["data"] == data)
    return [(payload["seq"], payload["data"]) for payload in client.payloads(event)]


# -- plain PUBLISH ------------------------------------------------------------------------------------------------


async def test_a_plain_publish_is_one_message_of_its_channel(readers: list[Client], publisher: Publisher) -> None:
    await publisher.say("alerts", {"data": 1}, {"type": "message", "data": [2]}, {"price": 3}, {"data": "end"})
    expected = [(1, 1), (2, [2]), (3, {"price": 3}), (4, "end")]
    for reader in readers:
        assert await until(reader, "message", "end") == expected
        ack = await reader.call("subscribe", {"channel": "alerts"})
        assert [(each["seq"], each["data"]) for each in ack["snapshot"]] == expected


async def test_its_type_is_the_event(readers: list[Client], publisher: Publisher) -> None:
    await publisher.say("ticks:A", {"type": "tick", "data": {"symbol": "A", "price": 5}})
    for reader in readers:
        payload = await reader.expect("tick")
        assert (payload["channel"], payload["seq"], payload["data"]["price"]) == ("ticks:A", 1, 5)


async def test_many_come_each_once_and_in_order_the_same_ones_too(
    readers: list[Client], publisher: Publisher, nodes: list[Running], connect: Connect
) -> None:
    inside = await connect(nodes[2], "/trading", "feed", roles=("publisher",))
    saying = asyncio.gather(
        *(inside.call("publish", {"channel": "alerts", "data": f"inside {number}"}) for number in range(50))
    )
    await publisher.say("alerts", *({"data": number % 3} for number in range(100)), {"data": "end"})
    await saying
    await inside.call("publish", {"channel": "alerts", "data": "last"})
    for reader in readers:
        told = await until(reader, "message", "last")
        assert [seq for seq, _ in told] == list(range(1, 153))
        assert [data for _, data in told if isinstance(data, int)] == [number % 3 for number in range(100)]


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ("alerts", "no json"),
        ("alerts", [1]),
        ("alerts", "NaN"),
        ("alerts", {"type": "disconnect", "data": 1}),
        ("alerts", {"type": 5, "data": 1}),
        ("alerts", "[" * 5000),
        ("alerts", json.dumps({"data": "x" * MAX_BYTES})),
        ("alerts", pickle.dumps({"data": 1})),
        ("unknown", {"data": 1}),
        ("ticks:*", {"data": 1}),
        ("", {"data": 1}),
    ],
)
async def test_what_is_no_use_is_dropped(
    readers: list[Client], publisher: Publisher, channel: str, message: object
) -> None:
    await publisher.say(channel, message)
    await publisher.say("alerts", {"data": "end"})
    for reader in readers:
        assert await until(reader, "message", "end") == [(1, "end")]


async def test_a_users_channel_is_theirs(nodes: list[Running], connect: Connect, publisher: Publisher) -> None:
    alice = [await connect(node, "/trading", "alice") for node in nodes]
    bob = await connect(nodes[0], "/trading", "bob")
    await publisher.say("user:alice", {"data": 1})
    for each in alice:
        assert await until(each, "message", 1) == [(1, 1)]
    await bob.settle()
    assert bob.payloads("message") == []


# -- the stock manager --------------------------------------------------------------------------------------------


async def test_the_stock_manager_reaches_every_namespace(
    nodes: list[Running], connect: Connect, stock: socketio.AsyncRedisManager
) -> None:
    for namespace in ("/chat", "/trading", "/monitor", "/copilot"):
        clients = [await connect(node, namespace, "alice") for node in nodes[:2]]
        for number in (1, 1, 2):
            await stock.emit("news", {"n": number}, namespace=namespace)
        for client in clients:
            await client.expect("news", lambda payload: payload["n"] == 2)
            assert [payload["n"] for payload in client.payloads("news")] == [1, 1, 2]


async def test_it_sends_to_rooms_as_outsiders_name_them(
    nodes: list[Running], connect: Connect, stock: socketio.AsyncRedisManager
) -> None:
    first, second = [await connect(node, "/chat", name) for node, name in zip(nodes, ("alice", "bob"), strict=False)]
    assert (await first.call("join", {"session_id": "s1"}))["ok"]
    channel = await connect(nodes[1], "/trading", "carol")
    assert (await channel.call("subscribe", {"channel": "general"}))["ok"]
    await stock.emit("news", {"for": "session"}, namespace="/chat", room="s1")
    await stock.emit("news", {"for": "sid"}, namespace="/chat", room=second.sio.get_sid("/chat"))
    await stock.emit("news", {"for": "user"}, namespace="/chat", room="user:bob")
    await stock.emit("news", {"for": "both"}, namespace="/chat", room=["user:alice", "user:bob", "s1"])
    await stock.emit("news", {"for": "one"}, namespace="/chat", skip_sid=first.sio.get_sid("/chat"))
    await stock.emit("news", {"for": "channel"}, namespace="/trading", room="general")
    await stock.emit("news", {"for": "end"}, namespace="/chat")
    await stock.emit("news", {"for": "end"}, namespace="/trading", room=rooms.EVERYONE)
    for client, expected in (
        (first, ["session", "both", "end"]),
        (second, ["sid", "user", "both", "one", "end"]),
        (channel, ["channel", "end"]),
    ):
        await client.expect("news", lambda payload: payload["for"] == "end")
        assert [payload["for"] for payload in client.payloads("news")] == expected


@pytest.mark.parametrize(
    ("data", "expected"), [(b"\x00\xff", [b"\x00\xff"]), (({"a": b"1"}, "x"), [{"a": b"1"}, "x"]), (None, [])]
)
async def test_what_it_sends_is_what_arrives(
    nodes: list[Running], connect: Connect, stock: socketio.AsyncRedisManager, data: Any, expected: list[Any]
) -> None:
    alice = await connect(nodes[0], "/chat", "alice")
    arrived: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    alice.sio.on("news", lambda *arguments: arrived.set_result(list(arguments)), namespace="/chat")
    await stock.emit("news", data, namespace="/chat", room="user:alice")
    assert await asyncio.wait_for(arrived, 10) == expected


async def test_it_moves_and_disconnects(
    redis: RedisServer, nodes: list[Running], connect: Connect, stock: socketio.AsyncRedisManager
) -> None:
    alice, bob = [await connect(node, "/chat", name) for node, name in zip(nodes, ("alice", "bob"), strict=False)]
    sid = alice.sio.get_sid("/chat")
    await stock.enter_room(sid, "/chat", "hall")
    await stock.emit("news", {"n": 1}, namespace="/chat", room="hall")
    await alice.expect("news")
    await stock.leave_room(sid, "/chat", "hall")
    await stock.emit("news", {"n": 2}, namespace="/chat", room="hall")
    await stock.enter_room(sid, "/chat", "hall")
    await stock.close_room("hall", "/chat")
    await stock.emit("news", {"n": 3}, namespace="/chat", room="hall")
    await stock.emit("news", {"n": 4}, namespace="/chat")
    await alice.expect("news", lambda payload: payload["n"] == 4)
    assert [payload["n"] for payload in alice.payloads("news")] == [1, 4]
    async with redis.client() as client:  # `disconnect` of a write-only manager wants a server
        await client.publish("socketio", json.dumps({"method": "disconnect", "sid": sid, "namespace": "/chat"}))
    await alice.expect("disconnect")
    await bob.settle()


@pytest.mark.parametrize(
    "message",
    [
        pickle.dumps({"method": "emit", "event": "news", "data": [1], "namespace": "/chat"}),
        b"[]",
        b'{"method": "emit"}',
        b'{"method": "emit", "event": 5, "data": [1], "namespace": "/chat"}',
        b'{"method": "emit", "event": "news", "data": [1], "namespace": "chat"}',
        b'{"method": "emit", "event": "news", "data": [1], "namespace": "/chat", "room": {}}',
        b'{"method": "emit", "event": "news", "data": [[{"_placeholder": true, "num": 3}]], "binary": true}',
        b'{"method": "enter_room", "sid": 5, "room": [], "namespace": "/chat"}',
        b'{"method": "callback"}',
    ],
)
async def test_what_is_no_stock_message_is_dropped(
    redis: RedisServer, nodes: list[Running], connect: Connect, stock: socketio.AsyncRedisManager, message: bytes
) -> None:
    alice = await connect(nodes[0], "/chat", "alice")
    async with redis.client() as client:
        await client.publish("socketio", message)
    await stock.emit("news", {"n": 1}, namespace="/chat")
    await alice.expect("news")
    assert len(alice.payloads("news")) == 1


# -- who acts -----------------------------------------------------------------------------------------------------


def test_the_same_is_counted_for_a_while() -> None:
    now = 0.0
    sightings = Sightings(clock=lambda: now)
    first = sightings.add("c", b"x")
    assert [sightings.add("c", b"x").count for _ in range(3)] == [2, 3, 4]
    assert sightings.add("c", b"y").count == sightings.add("d", b"x").count == 1
    now = 2.0 * CLAIM_SECONDS
    assert sightings.add("c", b"x").count == 5
    now = 4.0 * CLAIM_SECONDS + 1
    assert sightings.add("c", b"x") == first


def test_what_was_seen_is_bounded() -> None:
    sightings = Sightings(clock=lambda: 0.0)
    for number in range(MAX_SIGHTINGS + 10):
        sightings.add("c", b"%d" % number)
    assert len(sightings._seen) == MAX_SIGHTINGS


@pytest.mark.parametrize(
    ("namespace", "name", "room"),
    [
        ("/chat", "s1", rooms.room_name(None, "session", "s1")),
        ("/trading", "ticks:A", rooms.room_name(None, "channel", "ticks:A")),
        ("/chat", "user:bob", rooms.user_room(None, "bob")),
        ("/trading", "user:bob", rooms.user_room(None, "bob")),
        ("/chat", rooms.room_name("acme", "session", "s1"), rooms.room_name("acme", "session", "s1")),
        ("/chat", f"{'0123456789'}-{'x' * 20}", f"{'0123456789'}-{'x' * 20}"),
        ("/chat", rooms.EVERYONE, rooms.EVERYONE),
        ("/custom", "lobby", "lobby"),
    ],
)
def test_what_outsiders_call_rooms(namespace: str, name: str, room: str) -> None:
    assert room_of(namespace, name) == room


async def test_the_stock_manager_reaches_groups_and_whole_classes(
    nodes: list[Running], connect: Connect, stock: socketio.AsyncRedisManager
) -> None:
    members = [await connect(node, "/trading", "alice", roles=("group:desk-1",)) for node in nodes[:2]]
    whole = await connect(nodes[0], "/trading", "bob")
    for channel in ("ticks:*", "ticks:A"):
        assert (await whole.call("subscribe", {"channel": channel}))["ok"]
    for room in ("group:desk-1", "ticks:A", "ticks:*"):
        await stock.emit("note", {"room": room}, namespace="/trading", room=room)
    for member in members:
        await member.expect("note")
    await whole.expect("note", lambda payload: payload["room"] == "ticks:*")
    assert [each["room"] for each in whole.payloads("note")] == ["ticks:A", "ticks:*"]
    for member in members:
        assert [each["room"] for each in member.payloads("note")] == ["group:desk-1"]
