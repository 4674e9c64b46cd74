"""Plain WebSockets and Socket.IO clients in one room: what each hears, what that costs, and who does not keep up."""

from __future__ import annotations

import asyncio
import json
from collections import Counter as Tally
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from websockets.asyncio.client import connect as websocket
from websockets.extensions.permessage_deflate import PerMessageDeflate

from server.realtime import memory
from server.realtime.delivery import Conflation
from server.realtime.doors import Door
from server.realtime.engine import frames
from server.realtime.engine.dialect import Dialect
from server.realtime.engine.outlet import Counters
from server.realtime.rooms import EVERYONE
from server.realtime.server import Bounds
from tests.conftest import Connect
from tests.realtime.inherited.wire import UNREAD_BYTES, eventually
from tests.support import echo
from tests.support.managers import Cluster, emit, reader
from tests.support.plain import DOORS, ECHO, PINGED, plain, serving
from tests.support.running import token

LARGE = "x" * 50_000


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.calls = 0
        self._function = function

    def of(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> Counted:
        def call(*arguments: Any, **known: Any) -> Any:
            self.calls += 1
            return self._function(*arguments, **known)

        monkeypatch.setattr(owner, name, call)
        return self


def counted(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> Counted:
    return Counted(getattr(owner, name)).of(monkeypatch, owner, name)


async def test_each_hears_each_once_and_in_order_whoever_says_it(connect: Connect) -> None:
    async with serving() as (server, _), plain(server, "p") as one, plain(server, "q", path=PINGED) as other:
        client = await connect(server, "/echo", "s")
        await client.call("enter", {"number": 1})
        await one.enter(1)
        await other.enter(1)
        for number in range(30):
            await client.call("shout", {"text": f"s{number}"})
            await one.say("shout", text=f"p{number}")
            await one.hear("ack")
        await client.settle()
        heard = [f"{who}{number}" for number in range(30) for who in "sp"]
        assert [payload["text"] for payload in client.payloads("shouted")] == heard
        assert [(await other.hear("shouted"))["text"] for _ in heard] == heard


async def test_a_mixed_room_costs_an_encode_for_each_kind(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a compression, where its clients have it."""
    async with serving() as (server, namespace):
        url = server.url.replace("http", "ws")
        clients = [await connect(server, "/echo", f"s{number}") for number in range(3)]
        compressing = [await websocket(f"{url}{ECHO}?token={token(f'p{number}')}") for number in range(3)]
        pinged = [
            await websocket(f"{url}{PINGED}?token={token(f'q{number}')}", compression=None) for number in range(3)
        ]
        await eventually(lambda: len(namespace.connections) == 9)
        for each in (*compressing, *pinged):
            assert json.loads(await each.recv())["type"] == "connected"
        assert [isinstance(each, PerMessageDeflate) for each in compressing[0].protocol.extensions] == [True]
        encoded = counted(monkeypatch, memory, "encode")
        told = counted(monkeypatch, Dialect, "told")
        framed = counted(monkeypatch, frames, "frame")
        deflated = counted(monkeypatch, frames, "_deflated_frame")
        for number in range(5):
            await namespace.emit("news", {"n": number, "text": "x" * 5000}, room=EVERYONE)
        for each in (*compressing, *pinged):
            heard = [json.loads(await each.recv()) for _ in range(5)]
            assert [(one["type"], one["n"], len(one["text"])) for one in heard] == [
                ("news", number, 5000) for number in range(5)
            ]
        for client in clients:
            await client.expect("news", lambda payload: payload["n"] == 4)
        assert (encoded.calls, told.calls, framed.calls, deflated.calls) == (5, 10, 15, 5)
        for each in (*compressing, *pinged):
            await each.close()


async def test_what_a_dialect_fails_at_is_not_told_and_everybody_else_hears_it(connect: Connect) -> None:
    """Whatever comes from outside, no handler has looked at."""
    doors = (Door("/ws/strict", "/echo", Dialect(types={"news": lambda payload: ("news", payload["wanted"])})), *DOORS)
    async with (
        echo.serving(doors=doors) as (server, namespace),
        plain(server, "strict", path="/ws/strict") as strict,
        plain(server, "other") as other,
    ):
        client = await connect(server, "/echo", "s")
        with structlog.testing.capture_logs() as logs:
            await namespace.emit("news", {"n": 1}, room=EVERYONE)
            await namespace.send(namespace.connections[0], "news", {"n": 2})
        assert [each["event"] for each in logs] == ["event not told"] * 2
        await client.expect("news")
        assert await other.until(1) == [1]
        await strict.settle()
        assert strict.heard == []


async def test_without_plain_members_nothing_is_said_their_way(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as (server, namespace):
        client = await connect(server, "/echo", "s")
        async with plain(server, "gone"):
            pass
        await eventually(lambda: len(namespace.connections) == 1)
        told = counted(monkeypatch, Dialect, "told")
        await namespace.emit("news", {"n": 1}, room=EVERYONE)
        await client.expect("news")
        assert told.calls == 0


async def test_events_of_two_nodes_reach_both_kinds_once_and_in_each_nodes_order(cluster: Cluster) -> None:
    servers = [await cluster.add() for _ in range(2)]
    async with (
        plain(servers[0], "a") as here,
        plain(servers[1], "b") as there,
        reader(servers[0], "c") as near,
        reader(servers[1], "d") as far,
    ):
        everyone = (here, there, near, far)
        for each in everyone:
            await each.enter(1)
        for number in range(100):
            emit(servers[number % 2], number)
        for each in everyone:
            for last in (98, 99):
                await each.until(last)
            assert [number for number in each.heard if number % 2 == 0] == list(range(0, 100, 2))
            assert [number for number in each.heard if number % 2] == list(range(1, 100, 2))
        await there.say("shout", text="to all")
        assert (await here.hear("shouted"))["text"] == "to all"


# -- who does not keep up -------------------------------------------------------------------------------------------


async def test_of_what_a_sleeper_missed_it_hears_the_newest_and_how_many_that_replaced() -> None:
    conflation = Conflation("symbol", 0.0)
    async with serving() as (server, namespace), plain(server, "awake") as awake:
        async with plain(server, "sleeper", unread_bytes=UNREAD_BYTES) as sleeper:
            outbox = next(
                each.outbox for each in server.realtime.manager.members("/echo", None) if each.sid == sleeper.id
            )
            while not len(outbox):
                await namespace.emit("large", {"text": LARGE}, room=sleeper.id)
                await asyncio.sleep(0)
            for number in range(100):
                await namespace.emit("tick", {"number": number}, room=EVERYONE, volatile=True, conflate=conflation)
                await namespace.emit("message", {"number": number}, room=EVERYONE)
                await asyncio.sleep(0)
            assert server.realtime.eio.counters == Counters(conflated=99)
            heard: list[dict[str, Any]] = []
            while not heard or heard[-1]["type"] != "tick":
                heard.append(await sleeper.receive())
            messages = [each["number"] for each in heard if each["type"] == "message"]
            assert messages == list(range(100))
            assert (heard[-1]["number"], heard[-1]["conflated"]) == (99, 99)
        heard = [await awake.receive() for _ in range(200)]
        assert Tally(each["type"] for each in heard) == {"tick": 100, "message": 100}
        assert [each["number"] for each in heard if each["type"] == "tick"] == list(range(100))
        assert not any("conflated" in each for each in heard)


async def test_a_sleeper_that_is_too_far_behind_is_closed_with_4008_and_delays_nobody() -> None:
    async with serving(bounds=Bounds(outbox_messages=20)) as (server, namespace), plain(server, "awake") as awake:
        async with plain(server, "sleeper", unread_bytes=UNREAD_BYTES) as sleeper:
            count = 0
            while len(namespace.connections) == 2:
                await namespace.emit("large", {"text": LARGE, "number": count}, room=EVERYONE)
                count += 1
                await awake.hear("large")
                assert count < 1000
            assert await sleeper.wire.ended() == 4008
        assert server.realtime.eio.counters.too_slow == 1
        assert namespace.gone_reasons == ["transport error"]
        assert server.realtime.manager._plain == 1
