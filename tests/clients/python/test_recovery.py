from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import socketio

from clients.python.connection import Connection, Lost, connect, connection
from server.realtime import recovery
from server.realtime.rooms import room_name
from tests.conftest import Serve
from tests.support.client import PATIENCE
from tests.support.echo import serving
from tests.support.recovering import abort
from tests.support.running import Running, token

ROOM = room_name(None, "numbered", "1")


class Listener:
    """What a client's handlers were called with; a handler of one argument, as anybody writes it."""

    def __init__(self, opened: Connection, *events: str) -> None:
        self.opened = opened
        self.heard: list[Any] = []
        self._greetings: asyncio.Queue[Any] = asyncio.Queue()
        opened.on("connected", self._greetings.put)
        for event in events:
            opened.on(event, self._hear)

    async def _hear(self, payload: Any) -> None:
        self.heard.append(payload)

    async def greeting(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await self._greetings.get()


@asynccontextmanager
async def listening(
    server: Running, *events: str, namespace: str = "/echo", **options: Any
) -> AsyncIterator[tuple[Connection, Listener, str]]:
    """And the connection's id."""
    async with connection(namespace, recovery=True) as opened:
        opened.socket.reconnection_delay = opened.socket.randomization_factor = 0
        listener = Listener(opened, *events)
        await connect(opened, server.url, token(**options))
        yield opened, listener, (await listener.greeting())["connection_id"]


def test_the_seams_are_where_they_were() -> None:
    for name in ("_handle_connect", "_handle_event"):
        assert hasattr(socketio.AsyncClient, name), f"python-socketio moved {name}"
    assert "__disconnect_final" in socketio.AsyncClient.reserved_events


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
        assert not opened.lost.is_set()


async def test_a_session_that_is_gone_is_a_fresh_one() -> None:
    now = 0.0
    async with (
        serving(recovery=recovery.Bounds(), clock=lambda: now) as (server, namespace),
        listening(server, "news") as (opened, listener, id),
    ):
        opened.socket.reconnection_delay = 0.1
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
        with pytest.raises(Lost):
            await opened.until(asyncio.Event().wait())


async def test_texts_that_are_no_offsets_reach_handlers() -> None:
    """A server without recovery says nothing of a `pid`."""
    async with serving() as (server, _), listening(server) as (opened, _, id):
        heard: asyncio.Queue[Any] = asyncio.Queue()

        async def note(*arguments: Any) -> None:
            heard.put_nowait(arguments)

        opened.on("note", note)
        await server.realtime.emit("note", ("one", "two"), to=id, namespace="/echo")
        async with asyncio.timeout(PATIENCE):
            assert await heard.get() == ("one", "two")


async def test_a_question_keeps_all_it_came_with() -> None:
    async with serving(recovery=recovery.Bounds()) as (server, _), listening(server) as (opened, _, id):

        async def question(*arguments: Any) -> list[Any]:
            return list(arguments)

        opened.on("question", question)
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await server.realtime.emit(
            "question", ({"n": 1}, "text"), to=id, namespace="/echo", callback=answered.set_result
        )
        async with asyncio.timeout(PATIENCE):
            assert await answered == [{"n": 1}, "text"]


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
