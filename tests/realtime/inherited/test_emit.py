"""PYTHON-SOCKETIO.md §1: what an emit costs, whom it makes wait, and that everybody hears the same."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from server.realtime.server import Bounds
from tests.conftest import Connect
from tests.realtime.inherited.wire import connect_packet, eventually, poller, wire
from tests.support.echo import serving
from tests.support.raw import WEBSOCKET


def at_once(work: Coroutine[Any, Any, None]) -> None:
    """Runs what must not suspend."""
    with pytest.raises(StopIteration):
        work.send(None)


async def test_an_emit_makes_no_task_and_does_not_suspend() -> None:
    async with serving() as (server, namespace), AsyncExitStack() as stack:
        members = [await stack.enter_async_context(wire(server.url)) for _ in range(20)]
        for member in members:
            await member.join()
        before = asyncio.all_tasks()
        for _ in range(100):
            at_once(namespace.emit("beat", {}, room="everyone"))
        assert asyncio.all_tasks() == before
        for member in members:
            for _ in range(100):
                await member.expect('42/echo,["beat"')


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_who_is_given_up_for_not_reading_is_seen_off_outside_of_the_emit(transport: str) -> None:
    async with (
        serving(bounds=Bounds(outbox_messages=50, outbox_bytes=50_000)) as (server, namespace),
        (poller if transport == "polling" else wire)(server.url) as silent,
    ):
        await silent.join()
        for _ in range(200):
            at_once(namespace.emit("flood", {"text": "x" * 50_000}, room="everyone"))
            assert namespace.gone_reasons == []
        await namespace.gone_event.wait()
        assert namespace.gone_reasons == ["transport error"]
        await eventually(lambda: not server.realtime.eio.sessions)


@pytest.mark.parametrize("order", list(itertools.permutations(["polling", "websocket", "upgrade"])))
async def test_bytes_are_bytes_on_every_transport(connect: Connect, order: tuple[str, ...]) -> None:
    async with serving() as (server, namespace):
        transports = {"upgrade": ["polling", "websocket"]}
        clients = [await connect(server, "/echo", each, transports=transports.get(each, [each])) for each in order]
        sent = [{"number": 1, "bytes": b"\x00\xff"}, {"number": 2}, {"number": 3, "more": [b"", b"\x81" * 200]}]
        for payload in sent:
            await namespace.emit("blob", payload, room="everyone")
        for client in clients:
            await client.expect("blob", lambda payload: payload["number"] == 3)
            assert client.payloads("blob") == sent


async def test_compressing_and_plain_websockets_hear_the_same_in_order() -> None:
    """What is compressed for all must not meet a compressor that one of them has for itself."""
    async with (
        serving() as (server, namespace),
        aiohttp.ClientSession() as http,
        http.ws_connect(server.url + WEBSOCKET, compress=15) as deflate,
        http.ws_connect(server.url + WEBSOCKET, compress=9) as small_window,
        http.ws_connect(server.url + WEBSOCKET) as plain,
    ):
        sockets = [deflate, small_window, plain]
        for socket in sockets:
            await socket.send_str(connect_packet())
            while "connected" not in await socket.receive_str():
                pass
        for number in range(50):
            await namespace.emit("status", {"number": number, "text": "a status " * (number * 50)}, room="everyone")
            for socket in sockets:
                await socket.send_str(f'42/echo,{number}["echo",{{"text":"{"own " * (number * 20)}"}}]')
            await asyncio.sleep(0)
        for socket in sockets:
            events, acks = [], []
            while len(events) < 50 or len(acks) < 50:
                text = await socket.receive_str()
                if text.startswith("43/echo,"):
                    acks.append(int(text[8:].partition("[")[0]))
                elif text.startswith("42/echo,"):
                    payload = json.loads(text[8:])[1]
                    assert payload["text"] == "a status " * (payload["number"] * 50)
                    events.append(payload["number"])
            assert events == acks == list(range(50))


async def test_a_client_that_went_is_emitted_to_no_more() -> None:
    """Rooms hold no dead: emitting to one that was left costs nothing and raises nothing."""
    async with serving() as (server, namespace):
        async with wire(server.url) as one:
            await one.join()
            [connection] = namespace.connections
            await namespace.enter(connection, "room")
        await namespace.gone_event.wait()
        for room in ("everyone", "room", connection.id):
            assert list(server.realtime.manager.get_participants("/echo", room)) == []
            at_once(namespace.emit("late", {}, room=room))


async def test_what_a_handler_sends_while_connecting_follows_the_connect_packet() -> None:
    async with serving() as (server, namespace), wire(server.url) as one:
        greet = namespace.greet

        async def chatty(connection: Any, **known: Any) -> None:
            for number in range(20):
                await namespace.send(connection, "early", {"number": number})
            await greet(connection, **known)

        namespace.greet = chatty  # type: ignore[method-assign]
        await one.send(connect_packet())
        heard = [await one.receive() for _ in range(23)][1:]
        assert str(heard[0]).startswith("40/echo,")
        assert [str(each)[10:15] for each in heard[1:]] == ["early"] * 20 + ["conne"]
