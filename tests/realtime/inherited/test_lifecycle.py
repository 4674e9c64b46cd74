"""PYTHON-SOCKETIO.md §4: connects that fail and clients that go leave nothing, and cost what they themselves held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
import structlog

from server.realtime.connection import Connection
from server.realtime.server import RealtimeServer
from server.realtime.workers import MAX_IDLE
from tests.realtime.inherited.wire import (
    Wire,
    becomes,
    connect_packet,
    eventually,
    held,
    leaving_nothing,
    poller,
    wire,
)
from tests.support.echo import EchoNamespace, serving
from tests.support.raw import WEBSOCKET
from tests.support.running import Running

PLAIN = "/plain"


class Gate:
    """Holds every CONNECT to a namespace until it is opened."""

    def __init__(self, namespace: EchoNamespace) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self._admit = namespace.admit
        namespace.admit = self._wait  # type: ignore[method-assign]

    async def _wait(self, *arguments: Any, **known: Any) -> Connection:
        self.reached.set()
        await self.opened.wait()
        return await self._admit(*arguments, **known)


@pytest.mark.parametrize("leave", ["abort", "goodbye"])
async def test_a_websocket_that_leaves_while_it_is_admitted_leaves_no_ghost(leave: str) -> None:
    async with serving() as (server, namespace), leaving_nothing(server):
        gate = Gate(namespace)
        async with wire(server.url) as one:
            await one.send(connect_packet())
            await gate.reached.wait()
            if leave == "abort":
                one.abort()
            else:
                await one.send("41/echo,", "1")
            await namespace.emit("early", {}, room="everyone")
            gate.opened.set()
            if leave == "goodbye":
                await one.ended()
        await eventually(lambda: not namespace.connections)


async def test_a_poller_that_leaves_and_one_that_posts_twice_while_admitted_leave_no_ghost() -> None:
    async with serving() as (server, namespace), leaving_nothing(server):
        for goodbye in ("1", "41/echo,\x1e1", connect_packet()):
            gate = Gate(namespace)
            async with poller(server.url) as one:
                connecting = asyncio.create_task(one.post(connect_packet()))
                await gate.reached.wait()
                await one.post(goodbye)  # a POST beside a POST: refused, and the end of the session
                gate.opened.set()
                await connecting
            await eventually(lambda: not namespace.connections)


@asynccontextmanager
async def plain(connect: Any, disconnect: Any = None) -> AsyncIterator[tuple[Running, RealtimeServer]]:
    """A server with handlers as python-socketio has them, on a namespace of their own."""
    async with serving() as (server, _):
        realtime = server.realtime
        realtime.on("connect", connect, namespace=PLAIN)
        if disconnect is not None:
            realtime.on("disconnect", disconnect, namespace=PLAIN)
        yield server, realtime


async def test_a_plain_connect_that_raises_refuses_and_shows_and_leaves_nothing() -> None:
    calls: list[str] = []

    def connect(sid: str, environ: object) -> None:
        calls.append(sid)
        raise RuntimeError("secret detail")

    async with plain(connect) as (server, realtime), leaving_nothing(server), wire(server.url) as one:
        with structlog.testing.capture_logs():
            await one.send(f"40{PLAIN},")
            refused = await one.expect(f"44{PLAIN},")
        assert "secret" not in refused
        assert len(calls) == 1
        await realtime.emit("secret", {}, namespace=PLAIN)
        await realtime.emit("secret", {}, to=calls[0], namespace=PLAIN)
        assert len(realtime.manager) == 0
        await one.send(connect_packet())
        assert (await one.receive())[:8] == "40/echo,"


@pytest.mark.parametrize("auth", ["", '{"token":"x"}'])
async def test_a_plain_connect_is_called_once_whatever_it_raises(auth: str) -> None:
    calls: list[tuple[object, ...]] = []

    def connect(sid: str, environ: object, *auth: object) -> None:
        calls.append(auth)
        raise TypeError("in the handler itself")

    async with plain(connect) as (server, _), leaving_nothing(server), wire(server.url) as one:
        with structlog.testing.capture_logs():
            await one.send(f"40{PLAIN},{auth}")
            await one.expect(f"44{PLAIN},")
    assert len(calls) == 1


async def test_nothing_reaches_a_client_whose_plain_connect_has_not_decided() -> None:
    reached, opened = asyncio.Event(), asyncio.Event()

    async def connect(sid: str, environ: object) -> bool:
        await realtime.enter_room(sid, "room", namespace=PLAIN)
        reached.set()
        await opened.wait()
        return False

    async with plain(connect) as (server, realtime), leaving_nothing(server), wire(server.url) as one:
        await one.send(f"40{PLAIN},")
        await reached.wait()
        await realtime.emit("early", {}, namespace=PLAIN)
        await realtime.emit("early", {}, room="room", namespace=PLAIN)
        opened.set()
        await one.receive()  # the handshake
        assert str(await one.receive()).startswith(f"44{PLAIN},")
        await realtime.emit("late", {}, room="room", namespace=PLAIN)
        await one.send(connect_packet())
        assert (await one.receive())[:8] == "40/echo,"


async def test_a_poller_that_leaves_during_a_plain_connect_leaves_no_ghost() -> None:
    reached, opened = asyncio.Event(), asyncio.Event()

    async def connect(sid: str, environ: object) -> None:
        reached.set()
        await opened.wait()

    async with plain(connect) as (server, realtime), leaving_nothing(server), poller(server.url) as one:
        connecting = asyncio.create_task(one.post(f"40{PLAIN},"))
        await reached.wait()
        await one.post("1")
        opened.set()
        await connecting
        await eventually(lambda: not realtime.eio.sessions)
        assert list(realtime.manager.get_participants(PLAIN, None)) == []


@pytest.mark.parametrize("leave", ["abort", "goodbye", "disconnect"])
async def test_an_exception_while_disconnecting_is_logged_and_leaks_nothing(leave: str) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("secret detail")

    async def broken_left(*arguments: object) -> None:
        broken()

    async with plain(lambda sid, environ: None, broken) as (server, _), leaving_nothing(server):
        namespace = server.realtime._served["/echo"]
        namespace.left = broken_left  # type: ignore[method-assign]
        before = held(server)
        with structlog.testing.capture_logs() as logs:
            async with wire(server.url) as one:
                await one.send(f"40{PLAIN},")
                await one.expect(f"40{PLAIN},")
                await one.join()
                if leave == "abort":
                    one.abort()
                else:
                    await one.send(*(["1"] if leave == "goodbye" else ["41/echo,", f"41{PLAIN},", "1"]))
                    await one.ended()
            await becomes(lambda: held(server), before)
        assert sum(entry["log_level"] == "error" for entry in logs) == 2


async def test_the_address_is_the_peers() -> None:
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with (
        serving() as (server, namespace),
        aiohttp.ClientSession(connector=connector) as http,
        http.ws_connect(server.url + WEBSOCKET) as socket,
    ):
        await socket.send_str(connect_packet())
        while "connected" not in await socket.receive_str():
            pass
        assert [each.address for each in namespace.connections] == ["127.0.0.2"]


async def test_idle_connections_have_no_task_and_no_timer_of_their_own() -> None:
    async with serving() as (server, _), AsyncExitStack() as stack:
        before = len(asyncio.all_tasks()), timers()
        wires: list[Wire] = []
        for number in range(50):
            wires.append(await stack.enter_async_context(wire(server.url)))
            await wires[-1].join(f"user-{number}")
        await eventually(lambda: len(asyncio.all_tasks()) <= before[0] + MAX_IDLE)
        assert timers() <= before[1] + 2


def timers() -> int:
    """Of the loop: it has no public count."""
    return sum(not each.cancelled() for each in asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]
