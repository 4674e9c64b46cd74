from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import socketio

from clients.python.connection import Connection
from clients.python.policy import ReconnectPolicy
from clients.python.recovery import Place, RecoveringClient
from clients.python.tokens import TokenSource
from server.realtime import recovery
from server.realtime.rooms import room_name
from tests.conftest import Serve
from tests.support.client import PATIENCE
from tests.support.echo import serving
from tests.support.recovering import abort
from tests.support.running import Running, token

ROOM = room_name(None, "numbered", "1")


class Listener:
    """What a client's handlers were called with."""

    def __init__(self, opened: Connection, *events: str) -> None:
        self.heard: list[Any] = []
        self._greetings: asyncio.Queue[Any] = asyncio.Queue()
        opened.on("connected", self._greetings.put_nowait)
        for event in events:
            opened.on(event, self.heard.append)

    async def greeting(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await self._greetings.get()


@asynccontextmanager
async def listening(
    server: Running, *events: str, namespace: str = "/echo", delay: float = 0.0, **options: Any
) -> AsyncIterator[tuple[Connection, Listener, str]]:
    """And the connection's id."""
    async with aiohttp.ClientSession() as http:
        opened = Connection(
            server.url,
            namespace,
            token=TokenSource(token(**options)),
            policy=ReconnectPolicy(first=delay, longest=max(delay, 0.1)),
            http=http,
        )
        listener = Listener(opened, *events)
        try:
            await opened.open()
            yield opened, listener, (await listener.greeting())["connection_id"]
        finally:
            await opened.close()


def test_the_seams_are_where_they_were() -> None:
    for name in ("_handle_connect", "_handle_event", "_send_packet"):
        assert hasattr(socketio.AsyncClient, name), f"python-socketio moved {name}"
    assert socketio.AsyncClient().packet_class is socketio.packet.Packet


async def test_it_goes_on_where_it_was_again_and_again() -> None:
    async with (
        serving(recovery=recovery.Bounds()) as (server, _),
        listening(server, "news") as (opened, listener, id),
    ):
        assert not opened.recovered
        await opened.call("enter", {"number": 1})
        for number in range(5):
            server.realtime.deliver("/echo", "news", {"n": 4 * number}, room=ROOM)
            await opened.call("ping", {})
            await abort(server)
            server.realtime.deliver("/echo", "news", {"n": 4 * number + 1}, room=ROOM)
            server.realtime.deliver("/echo", "news", {"n": 100}, room=ROOM, volatile=True)
            server.realtime.deliver("/echo", "news", {"n": 4 * number + 2, "b": b"\x01"}, room=id)
            greeting = await listener.greeting()
            assert (greeting["connection_id"], greeting["recovered"], opened.recovered) == (id, True, True)
            server.realtime.deliver("/echo", "news", {"n": 4 * number + 3}, room=ROOM)
        await opened.call("ping", {})
        assert [each["n"] for each in listener.heard] == list(range(20))
        assert opened.state == "connected"


async def test_a_session_that_is_gone_is_a_fresh_one() -> None:
    now = 0.0
    async with (
        serving(recovery=recovery.Bounds(), clock=lambda: now) as (server, namespace),
        listening(server, "news", delay=0.1) as (opened, listener, id),
    ):
        await abort(server)
        await namespace.gone_event.wait()
        now = 1000.0
        greeting = await listener.greeting()
        assert greeting["connection_id"] != id
        assert (greeting["recovered"], opened.recovered) == (False, False)
        await abort(server)
        again = await listener.greeting()
        assert (again["connection_id"], opened.recovered) == (greeting["connection_id"], True)


async def test_who_is_sent_away_does_not_come_back() -> None:
    async with serving(recovery=recovery.Bounds()) as (server, _), listening(server) as (opened, _, id):
        await server.realtime.disconnect(id, namespace="/echo")
        async with asyncio.timeout(PATIENCE):
            assert (await opened.ended()).code == "DISCONNECTED"


async def test_who_says_goodbye_is_gone() -> None:
    async with serving(recovery=recovery.Bounds()) as (server, _):
        place = Place()
        for _ in range(2):
            client = RecoveringClient(place=place, reconnection=False, handle_sigint=False)
            auth = client.asking({"token": token()})
            await client.connect(server.url, namespaces=["/echo"], auth=auth, transports=["websocket"])
            assert not client.recovered
            await client.leave()


@pytest.mark.parametrize("recovering", [None, recovery.Bounds()])
async def test_what_is_no_offset_reaches_handlers(recovering: recovery.Bounds | None) -> None:
    """A server without recovery says nothing of a `pid`; what asks for an answer has no offset."""
    async with serving(recovery=recovering) as (server, _):
        client = RecoveringClient(reconnection=False, handle_sigint=False)
        heard: asyncio.Queue[Any] = asyncio.Queue()

        async def note(*arguments: Any) -> list[Any]:
            heard.put_nowait(arguments)
            return list(arguments)

        client.on("note", note, namespace="/echo")
        auth = client.asking({"token": token()})
        await client.connect(server.url, namespaces=["/echo"], auth=auth, transports=["websocket"])
        id = client.get_sid("/echo")
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        told = {"callback": answered.set_result} if recovering else {}
        await server.realtime.emit("note", ({"n": 1}, "text"), to=id, namespace="/echo", **told)
        async with asyncio.timeout(PATIENCE):
            assert await heard.get() == ({"n": 1}, "text")
            assert not recovering or await answered == [{"n": 1}, "text"]
        await client.leave()


async def test_a_channel_of_a_whole_server(serve: Serve) -> None:
    server = await serve()
    async with listening(server, "chat_message", namespace="/trading") as (opened, listener, id):
        await opened.call("subscribe", {"channel": "general"})
        for message in ("one", "two", "three"):
            await opened.call("chat_message", {"message": message})
            await abort(server)
            assert (await listener.greeting())["connection_id"] == id
        await opened.call("ping", {})
        assert [each["message"] for each in listener.heard] == ["one", "two", "three"]
