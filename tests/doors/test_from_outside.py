"""All doors at once: nonsense, clients that come and go, requests that are none, and nodes that are killed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as open_socket

from server.realtime.engine.server import Engine
from tests.conftest import Serve
from tests.doors.plain import Plain, address, plain
from tests.support.cluster import Nodes
from tests.support.present import until
from tests.support.process import ROOT, Process, running
from tests.support.redis import RedisServer
from tests.support.rest import Rest
from tests.support.running import Running, token

#: Paths, and the namespaces behind them.
DOORS = {
    "/ws/monitor": "/monitor",
    "/ws/copilot": "/copilot",
    "/ws/trading/c-1": "/trading",
    "/ws/chat/s-1": "/chat",
    "/api/v1/chat/ws/s-2": "/chat",
    "/ws/s-3": "/chat",
}

KINDS = ["connect", "disconnect", "connect_error", "connected", "error", "response", "ack", "pong", "__proto__", "*"]
KINDS += ["x" * 10_000, "", ":", "type", "disconnecting_reason", "request_expired", "equipment_status", "subscribed"]
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1e308,
    10**30,
    -(2**63),
    "",
    "x" * 3000,
    "\x00\u202e상담",
    {},
    [],
    {"type": "ping"},
    [[]],
]
VALUES += [{"type": {"type": 1}, "ok": False, "error": 1}, ["a"] * 20, {"": {"__proto__": []}}, "s-1", "general"]
TEXTS = [
    '{"type":"ping","type":"message"}',
    '{"type":"message","type":"ping"}',
    '{"type":"ping","timestamp":1e400}',
    '{"type":"ping","timestamp":' + "9" * 5000 + "}",
    '{"type":"pi\\ud800ng"}',
    '{"type":"ping","timestamp":"\\udfff"}',
    '{"type":"ping"}{"type":"ping"}',
    '\ufeff{"type":"ping"}',
    "{'type':'ping'}",
    '{"type":"ping",}',
    '{"type":"ping","timestamp":' + "[" * 31 + "]" * 31 + "}",
    " ",
    "\x00",
    b"\x00\xff",
    b"",
]


class Nonsense:
    """Messages from a seed, of every name there is, with the right fields and others."""

    def __init__(self, server: Running, namespace: str, seed: int) -> None:
        self._served: Any = server.realtime._served[namespace]
        self._random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret

    def message(self) -> str | bytes:
        one_of: Callable[[Sequence[Any]], Any] = self._random.choice
        if self._random.random() < 0.1:
            text: str | bytes = one_of(TEXTS)
            return text
        kind = one_of([*KINDS, *self._served._events])
        fields = [*self._served.fields(kind), *["timestamp", "event", "a"][: self._random.randrange(4)]]
        return json.dumps({**{field: one_of(VALUES) for field in fields}, "type": kind})


async def test_nonsense_is_answered_by_errors_and_nothing_else(serve: Serve) -> None:
    server = await serve(TRADING_FEED="none", CHAT_DEFAULT_AGENT="", RATE_LIMIT_ENABLED="false")
    for seed, (path, namespace) in enumerate(DOORS.items()):
        nonsense = Nonsense(server, namespace, seed)
        async with plain(server, path, "alice") as alice:
            for _ in range(20):
                for _ in range(15):
                    await alice.say(nonsense.message())
                await alice.settle()
            for said in alice.received:
                assert isinstance(said["type"], str)
                assert "timestamp" in said
                assert said.get("code") not in ("INTERNAL", "TIMEOUT"), said
                if said["type"] == "error":
                    assert len(json.dumps(said)) < 4000
            assert len(alice.of("error")) > 200


async def test_who_comes_and_goes_in_any_way_leaves_nothing(serve: Serve) -> None:
    server = await serve(TRADING_FEED="none", CHAT_DEFAULT_AGENT="", RATE_LIMIT_CONNECTS_PER_SECOND=1_000_000)
    paths = [*DOORS][:3]

    async def come(number: int) -> None:
        path = "/ws/chat/s-1" if number % 50 == 0 else paths[number % 3]
        socket = await open_socket(address(server, path, "alice"))
        if number % 2:
            await socket.send('{"type":"query","text":"cost"}')
        match number // 3 % 4:
            case 0:
                socket.transport.abort()
            case 1:
                socket.transport.close()
            case 2:
                await socket.close(1001)
            case _:
                await socket.recv()
                await socket.close()
        await socket.wait_closed()

    await asyncio.gather(*map(come, range(60)))
    await until(lambda: left(server) == [0] * 6)
    before = files()
    for start in range(0, 1000, 50):
        await asyncio.gather(*map(come, range(start, start + 50)))
    async with plain(server, "/ws/chat/s-1", "alice") as last:  # behind all who were about to join
        await last.expect("ack")
    await until(lambda: left(server) == [0] * 6)
    assert files() < before + 30  # the database may have opened some more


def files() -> int:
    """That this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def left(server: Running) -> list[int]:
    engine: Engine = server.realtime.eio
    manager, admitted = server.realtime.manager, server.realtime.admission._admitted
    return [*map(len, (engine.sessions, engine._websockets, engine._heartbeat, manager, admitted)), manager._plain]


@pytest.mark.parametrize("path", DOORS)
async def test_what_asks_for_no_websocket_or_not_as_it_must_is_told_so_by_http(serve: Serve, path: str) -> None:
    rest = Rest((await serve()).url)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    for headers in ({}, upgrade, upgrade | {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "short"}):
        assert (await rest.call("GET", path, headers=headers)).error == (400, "BAD_REQUEST")


async def test_who_comes_while_the_server_stops_is_told_so_by_http(serve: Serve) -> None:
    server = await serve()
    server.realtime.eio._stopping = True
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    assert (await Rest(server.url).call("GET", "/ws/monitor", headers=upgrade)).error == (503, "SERVICE_UNAVAILABLE")


async def test_a_channel_that_nobody_looked_at_is_not_echoed_at_length(serve: Serve) -> None:
    """Here the rate of events refuses it before it is known to be no name."""
    async with plain(await serve(RATE_LIMIT_EVENTS_PER_SECOND=1), "/ws/trading/c-1", "alice") as alice:
        for channel in ("x" * 5000, {"type": "x" * 5000}):
            for _ in range(2):
                await alice.send("subscribe", channel=channel)
            said = await alice.expect("subscription_result")
            assert (said["success"], said["code"]) == (False, "RATE_LIMITED")
            assert len(json.dumps(said)) < 500


async def test_a_node_is_killed_under_either_kind_of_client(tmp_path: Path, sqlite_url: str) -> None:
    """A stock client and a plain one in a session, each on a node. Whoever's node goes comes back by the third, and
    both hear once what is said."""
    roaming, session, user = ROOT / "tests/clients/roaming.mjs", "s-1", token("alice")
    async with (
        RedisServer() as redis,
        Nodes(tmp_path, database_url=sqlite_url, redis_urls=[redis.url] * 3) as nodes,
        running("node", roaming, user, session, ",".join(nodes.urls), "1") as stock,
    ):
        await stock.read_until('"joined",true')
        url = [f"{url.replace('http', 'ws', 1)}/ws/chat/{session}?token={user}" for url in nodes.urls]
        async with open_socket(url[2]) as socket:
            plain_client = Plain(socket)
            await plain_client.expect("ack")
            await said(plain_client, stock, "both are there")
            await nodes.kill(0)
            await stock.read_until('[0,"connect",true]')
            await said(plain_client, stock, "one has moved")
            await nodes.kill(2)
            assert await plain_client.closed() == 1006
        async with open_socket(url[1]) as socket:
            plain_client = Plain(socket)
            await plain_client.expect("ack")
            await said(plain_client, stock, "on the third")


async def said(client: Plain, stock: Process, content: str) -> None:
    """By the plain one; both hear it once."""
    await client.send("message", content=content)
    await client.expect("message", lambda heard: heard["content"] == content)
    await stock.read_until(f'"content":"{content}"')
    assert stock.output.count(content) == 1
    await client.settle()
    assert len([heard for heard in client.of("message") if heard["content"] == content]) == 1
