"""Connection state recovery on the wire, as stock JS clients know it since 4.6 and as Node's server has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest_asyncio

from server.realtime import recovery
from tests.realtime.protocol.clients import Door, Websocket, door
from tests.realtime.protocol.server import Options, Serving, serving

OPTIONS = Options(host="127.0.0.1", port=0, ping_interval=25, ping_timeout=20)
SECONDS = 10


@dataclass
class Place:
    """A server whose clients may all come back, and its clock."""

    at: Door
    server: Serving
    clock: list[float]
    gone: asyncio.Event

    @asynccontextmanager
    async def connected(self, **auth: object) -> AsyncIterator[tuple[Websocket, list[Any]]]:
        """A client whose CONNECT carries `auth`, and all that it got by its first answer."""
        self.gone.clear()
        async with self.at.websocket() as socket:
            await socket.receive()
            await socket.send(f"40{json.dumps(auth) if auth else ''}")
            heard = [await event(socket)]
            while heard[-1][0] != "CONNECT":
                heard.append(await event(socket))
            await socket.send('42["message"]')
            while heard[-1][0] != "message-back":
                heard.append(await event(socket))
            yield socket, heard

    async def drop(self, **auth: object) -> dict[str, Any]:
        """What a client that was there knows: its id, its `pid`, and the offset of the last event it got."""
        async with self.connected(**auth) as (_, heard):
            pass
        await self.gone.wait()
        [known] = [each[1] for each in heard if each[0] == "CONNECT"]
        return {**known, "offset": heard[-1][-1]}

    async def emit(self, event: str, sid: str, **options: Any) -> None:
        await self.server.realtime.emit(event, 1, to=sid, **options)


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    clock = [0.0]
    async with (
        serving(OPTIONS, clock=lambda: clock[0], recovery=recovery.Bounds(seconds=SECONDS), recover_all=True) as server,
        door(server.url, "socket.io") as at,
    ):
        place = Place(at, server, clock, asyncio.Event())

        def disconnect(sid: str, reason: str) -> None:
            place.gone.set()

        server.realtime.on("disconnect", disconnect)
        yield place


async def event(socket: Websocket) -> list[Any]:
    """A CONNECT is one too, whose argument is its payload."""
    content = json.loads((await socket.text())[2:])
    return ["CONNECT", content] if isinstance(content, dict) else list(content)


def names(heard: list[Any]) -> list[str]:
    return [each[0] for each in heard]


def resumed(known: dict[str, Any], heard: list[Any]) -> bool:
    """Whether the reply to the CONNECT has both ids again; they are new together, too."""
    [reply] = [each[1] for each in heard if each[0] == "CONNECT"]
    assert set(reply) == {"sid", "pid"}
    same = {bool(reply[name] == known[name]) for name in ("sid", "pid")}
    assert len(same) == 1
    return same.pop()


async def test_what_was_missed_comes_before_the_reply_in_order_and_once(place: Place) -> None:
    known = await place.drop()
    for event in ("one", "two", "three"):
        await place.emit(event, known["sid"])
    async with place.connected(pid=known["pid"], offset=known["offset"]) as (_, heard):
        assert names(heard) == ["one", "two", "three", "CONNECT", "auth", "message-back"]
        assert resumed(known, heard)
    offsets = [each[2] for each in heard[:3]]
    await place.gone.wait()
    async with place.connected(pid=known["pid"], offset=offsets[1]) as (_, heard):
        assert names(heard) == ["three", "auth", "message-back", "CONNECT", "auth", "message-back"]
        assert resumed(known, heard)


async def test_what_is_worthless_later_or_asks_for_an_ack_is_not_missed(place: Place) -> None:
    known = await place.drop()
    place.server.realtime.deliver("/", "volatile", {}, room=known["sid"], volatile=True)
    await place.emit("question", known["sid"], callback=print)
    await place.emit("kept", known["sid"])
    async with place.connected(pid=known["pid"], offset=known["offset"]) as (_, heard):
        assert names(heard) == ["kept", "CONNECT", "auth", "message-back"]


async def test_who_got_nothing_yet_sends_no_offset(place: Place) -> None:
    known = await place.drop()
    await place.emit("missed", known["sid"])
    async with place.connected(pid=known["pid"]) as (_, heard):
        assert resumed(known, heard)
        assert "missed" in names(heard)


async def test_a_pid_that_nobody_has_is_a_fresh_session(place: Place) -> None:
    known = await place.drop()
    for auth in (
        {"pid": "unknown"},
        {"pid": 5},
        {"pid": known["pid"], "offset": "x"},
        {"pid": known["pid"], "offset": 1},
    ):
        async with place.connected(**auth) as (_, heard):
            assert not resumed(known, heard)


async def test_who_comes_too_late_is_a_fresh_session(place: Place) -> None:
    known = await place.drop()
    place.clock[0] += SECONDS + 1
    async with place.connected(pid=known["pid"], offset=known["offset"]) as (_, heard):
        assert not resumed(known, heard)


async def test_who_said_goodbye_is_a_fresh_session(place: Place) -> None:
    async with place.connected() as (socket, heard):
        await socket.send("41")
        await place.gone.wait()
    known = {**heard[0][1], "offset": heard[-1][-1]}
    async with place.connected(pid=known["pid"], offset=known["offset"]) as (_, heard):
        assert not resumed(known, heard)


async def test_nobody_is_resumed_twice_at_once(place: Place) -> None:
    known = await place.drop()
    async with place.connected(pid=known["pid"], offset=known["offset"]) as (_, first):
        assert resumed(known, first)
        async with place.connected(pid=known["pid"], offset=known["offset"]) as (_, second):
            assert not resumed(known, second)


async def test_only_who_asks_hears_of_it_unless_all_are_to() -> None:
    async with serving(OPTIONS, recovery=recovery.Bounds()) as server, door(server.url, "socket.io") as at:
        place = Place(at, server, [], asyncio.Event())
        async with place.connected() as (_, heard):
            assert set(heard[0][1]) == {"sid"}
            assert heard[1:] == [["auth", {}], ["message-back"]]
        async with place.connected(recovery=True, token="x") as (_, heard):
            assert set(heard[0][1]) == {"sid", "pid"}
            [event, auth, offset] = heard[1]
            assert (event, auth) == ("auth", {"token": "x"})
            assert isinstance(offset, str)
