"""/chat on several nodes: who is in a session is the same everywhere, and is told once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest_asyncio
from redis.asyncio import Redis

from server.realtime.cluster.presence import ClusterPresence
from tests.conftest import Connect, Serve
from tests.support.client import Client
from tests.support.present import until
from tests.support.redis import RedisServer
from tests.support.rest import connections
from tests.support.running import Running

OPERATOR = ("operator",)
Start = Callable[..., Awaitable[Running]]


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[Redis]:
    async with RedisServer() as server, server.client() as client:
        client.url = server.url  # type: ignore[attr-defined]
        yield client


@pytest_asyncio.fixture
async def start(redis: Redis, serve: Serve) -> Start:
    async def start(**environ: object) -> Running:
        url = redis.url  # type: ignore[attr-defined]
        return await serve(REDIS_URL=url, CHAT_DEFAULT_AGENT="", TRADING_FEED="none", **environ)

    return start


async def join(client: Client) -> Any:
    return await client.call("join", {"session_id": "s1"})


def presence(server: Running) -> ClusterPresence:
    found = server.realtime._served["/chat"].service._presence  # type: ignore[attr-defined]
    assert isinstance(found, ClusterPresence)
    return found


def drop(server: Running) -> None:
    """All connections, as a network loses them."""
    for session in list(server.realtime.eio.sessions.values()):
        session.end(server.realtime.reason.TRANSPORT_CLOSE)


def told(client: Client) -> list[tuple[str, str]]:
    return [(each["event"], each["user_id"]) for each in client.payloads("system")]


async def lists(server: Running, *users: str) -> bool:
    """A node that has just started is not known yet."""
    return [each["user_id"] for each in await connections(server)] == [*users]


async def shows(redis: Redis, key: str, wanted: Callable[[Any], bool]) -> None:
    async def so() -> bool:
        text = await redis.get(key)
        return wanted(None if text is None else json.loads(text))

    await until(so)


async def test_who_is_online_is_the_same_on_every_node(start: Start, connect: Connect, redis: Redis) -> None:
    here, there = await start(), await start()
    alice, olga = await connect(here, "/chat", "alice"), await connect(there, "/chat", "olga", roles=OPERATOR)
    assert (await join(alice))["online"] == ["alice"]
    assert (await join(olga))["online"] == ["alice", "olga"]
    await alice.expect("system")
    phone = await connect(here, "/chat", "olga", roles=OPERATOR)
    assert (await join(phone))["online"] == ["alice", "olga"]
    await shows(redis, "ws:sessions:s1", lambda users: users == ["alice", "olga"])
    await until(lambda: lists(here, "alice", "olga", "olga"))
    await until(lambda: lists(there, "alice", "olga", "olga"))
    await shows(
        redis,
        "ws:connections:olga",
        lambda each: (each["connection_id"], each["session_id"]) == (phone.sio.get_sid("/chat"), "s1"),
    )
    assert 0 < await redis.ttl("ws:connections:olga") <= 300
    await phone.close()
    await shows(redis, "ws:connections:olga", lambda each: each["connection_id"] == olga.sio.get_sid("/chat"))
    await olga.close()
    gone = await alice.expect("system", lambda each: each["event"] == "user_left")
    assert gone["version"] > alice.payloads("system")[0]["version"]
    assert told(alice) == [("user_joined", "olga"), ("user_left", "olga")]
    await shows(redis, "ws:sessions:s1", lambda users: users == ["alice"])
    await shows(redis, "ws:connections:olga", lambda each: each is None)
    assert told(olga) == told(phone) == []


async def test_nobody_hears_of_who_comes_back_elsewhere_in_time(start: Start, connect: Connect) -> None:
    here, there = await start(), await start()
    olga = await connect(there, "/chat", "olga", roles=OPERATOR)
    await join(olga)
    lost = await connect(here, "/chat", "alice", roles=OPERATOR)
    await join(lost)
    await olga.expect("system")
    drop(here)
    await lost.expect("disconnect")
    again = await connect(there, "/chat", "alice", roles=OPERATOR)
    assert sorted((await join(again))["online"]) == ["alice", "olga"]
    presence(here)._clock = lambda: float("inf")
    await presence(here).settle()
    await olga.settle()
    assert told(olga) == [("user_joined", "alice")]


async def test_a_node_without_clients_tells_who_died_elsewhere(start: Start, connect: Connect) -> None:
    here, there, empty = await start(), await start(), await start()
    olga, alice = [
        await connect(server, "/chat", user, roles=OPERATOR) for server, user in ((there, "olga"), (here, "alice"))
    ]
    await join(olga)
    await join(alice)
    node = here.realtime.node
    assert node is not None
    presence(here)._closed = True  # dead to the others
    await asyncio.gather(*[presence(each).sweep(node.id) for each in (there, empty)])
    await presence(empty).sweep(node.id)
    await olga.expect("system", lambda each: each["event"] == "user_left")
    await olga.settle()
    assert told(olga) == [("user_joined", "alice"), ("user_left", "alice")]


async def test_a_server_that_stops_leaves_its_users_time_to_come_back(start: Start, connect: Connect) -> None:
    here, there = await start(WS_LEAVE_DELAY=1), await start(WS_LEAVE_DELAY=1)
    olga = await connect(there, "/chat", "olga", roles=OPERATOR)
    await join(olga)
    alice, bob = [await connect(here, "/chat", user, roles=OPERATOR) for user in ("alice", "bob")]
    await join(alice)
    await join(bob)
    await here.runner.cleanup()
    await join(await connect(there, "/chat", "bob", roles=OPERATOR))
    await olga.expect("system", lambda each: each["event"] == "user_left")
    assert told(olga) == [("user_joined", "alice"), ("user_joined", "bob"), ("user_left", "alice")]
