"""The life of a plain WebSocket: how it comes in or is refused, in which order it hears, and every way it ends."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import structlog

from server.auth.tokens import mint
from server.realtime.engine import frames
from server.realtime.engine.protocol import Refused
from server.realtime.engine.session import Session
from server.realtime.engine.websocket import Websocket
from server.realtime.entrance import Entrance
from server.realtime.namespace import Namespace
from server.realtime.recovery import Bounds as RecoveryBounds
from server.realtime.rooms import EVERYONE
from server.realtime.server import Bounds
from tests.conftest import Connect
from tests.realtime.inherited.client_frames import masked
from tests.realtime.inherited.wire import eventually, held, leaving_nothing, wire
from tests.support.echo import EchoNamespace
from tests.support.plain import ECHO, Plain, opening, plain, serving
from tests.support.running import SECRET, Running, token


@asynccontextmanager
async def seeing_off(server: Running) -> AsyncIterator[None]:
    """No plain member is counted at the end, nor anything kept of one."""
    async with leaving_nothing(server):
        yield
    assert server.realtime.manager._plain == 0
    assert len(server.realtime.eio._heartbeat) == 0
    assert len(server.realtime.threshold) == 0
    await eventually(lambda: not server.realtime.eio._websockets)


# -- coming in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "error", "code"),
    [
        ("", "TOKEN_MISSING", 1008),
        ("?token=nonsense", "TOKEN_INVALID", 4001),
        (f"?token={token(lifetime=-3600)}", "TOKEN_EXPIRED", 4001),
    ],
)
async def test_who_is_refused_is_told_why_and_leaves_nothing(query: str, error: str, code: int) -> None:
    async with serving() as (server, namespace), seeing_off(server), wire(server.url, ECHO + query) as one:
        await one.send('{"type":"note","number":1}')
        told = json.loads(await one.receive())
        assert (told["type"], told["code"], "close_code" in told) == ("error", error, False)
        assert await one.ended() == code
        assert namespace.order == []


async def test_a_full_server_closes_with_1013() -> None:
    async with serving(bounds=Bounds(max_connections=1)) as (server, _), plain(server) as one:
        async with opening(server, "bob") as late:
            assert (await late.hear("error"))["code"] == "SERVER_FULL"
            assert await late.wire.ended() == 1013
        server.realtime.eio.max_sessions = 1  # which is what it has
        async with opening(server, "bob") as later:
            assert await later.wire.ended() == 1013
        assert len(server.realtime.eio.sessions) == 1
        await one.settle()


async def test_what_asks_for_no_websocket_is_refused_by_http() -> None:
    async with serving() as (server, _), seeing_off(server), aiohttp.ClientSession() as http:
        async with http.get(f"{server.url}{ECHO}") as response:
            assert response.status == 400
        async with http.post(f"{server.url}{ECHO}") as response:
            assert response.status == 405


@pytest.mark.parametrize("refused", [False, True])
async def test_who_is_gone_before_its_websocket_opens_leaves_nothing(
    refused: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reached, gone = asyncio.Event(), asyncio.Event()

    async def waits(address: str) -> None:
        reached.set()
        await gone.wait()
        if refused:
            raise Refused(4, "Server full", status=503)

    async with serving() as (server, _), seeing_off(server):
        monkeypatch.setattr(server.realtime.admission, "arrive", waits)
        port = int(server.url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET {ECHO}?token={token()} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        await reached.wait()
        assert server.runner.server is not None
        [handler] = server.runner.server.connections
        writer.transport.abort()
        await eventually(lambda: handler.transport is None)
        gone.set()
        await eventually(lambda: not server.realtime.eio.sessions)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("leave", ["abort", "close", "shutdown"])
async def test_who_leaves_while_it_is_admitted_leaves_no_ghost(leave: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, opened = asyncio.Event(), asyncio.Event()
    admit = Namespace.admit

    async def wait(namespace: Namespace, *arguments: Any, **known: Any) -> None:
        reached.set()
        await opened.wait()
        await admit(namespace, *arguments, **known)

    monkeypatch.setattr(EchoNamespace, "admit", wait)
    async with serving() as (server, namespace), seeing_off(server), opening(server) as one:
        await reached.wait()
        if leave == "abort":
            one.wire.abort()
        elif leave == "close":
            one.wire.writer.write(masked(b"\x03\xe8", opcode=8))
        else:
            server.realtime.close_idle(float("inf"))
        await namespace.emit("early", {}, room=EVERYONE)
        opened.set()
        if leave != "abort":
            assert await one.wire.ended() == 1000
        await eventually(lambda: not namespace.connections)


async def test_a_session_that_ends_while_its_request_is_looked_at_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as (server, _), seeing_off(server):
        arrive = server.realtime.admission.arrive

        async def stops(address: str) -> Any:
            [id] = server.realtime.eio.sessions
            server.realtime.eio.close(id, 1001)
            return await arrive(address)

        monkeypatch.setattr(server.realtime.admission, "arrive", stops)
        for path in (ECHO, "/socket.io/?EIO=4&transport=websocket"):
            async with wire(server.url, path) as one:
                assert await one.ended() == 1001


async def test_a_session_that_ends_before_it_has_its_turn_to_enter_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    serve = Websocket.serve

    def ends(websocket: Websocket, session: Session, first: Any = None) -> None:
        serve(websocket, session, first)
        session.end("server disconnect", 1001)

    monkeypatch.setattr(Websocket, "serve", ends)
    async with serving() as (server, _), seeing_off(server), opening(server) as one:
        with structlog.testing.capture_logs() as logs:
            assert await one.wire.ended() == 1001
        assert logs == []


async def test_it_cannot_resume_a_session_even_where_everybody_can() -> None:
    async with serving(recover_all=True, recovery=RecoveryBounds()) as (server, _), plain(server):
        [member] = server.realtime.manager.members("/echo", None)
        assert member.recoverable is None


# -- order ----------------------------------------------------------------------------------------------------------


async def test_what_it_says_before_it_is_connected_is_answered_after() -> None:
    async with serving() as (server, _), opening(server) as one:
        for number in range(100):
            await one.say("any", value=number)
        assert (await one.receive())["type"] == "connected"
        assert [(await one.receive())["value"] for _ in range(100)] == list(range(100))


async def test_what_others_say_while_it_is_welcomed_comes_behind_its_connect() -> None:
    async with serving() as (server, namespace):
        welcome = namespace.welcome

        async def welcomed(connection: Any, **known: Any) -> None:
            await namespace.send(connection, "first", {})
            await welcome(connection, **known)

        namespace.welcome = welcomed  # type: ignore[method-assign]
        async with opening(server) as one:
            assert [(await one.receive())["type"] for _ in range(2)] == ["first", "connected"]


async def test_replies_and_events_come_in_the_order_they_were_said() -> None:
    async with serving() as (server, _), plain(server) as one:
        await one.enter(1)
        for number in range(50):
            await one.say("shout", text=str(number))
        heard = [await one.receive() for _ in range(100)]
        assert [each["type"] for each in heard] == ["shouted", "ack"] * 50
        assert [each["text"] for each in heard[::2]] == [str(number) for number in range(50)]


# -- the end --------------------------------------------------------------------------------------------------------


async def reason(one: Plain) -> tuple[str, int, int]:
    """What it is told, with the close code, and the code that it is closed with."""
    told = await one.hear("disconnecting_reason")
    code = await one.wire.ended()
    assert code is not None
    return told["code"], told["close_code"], code


async def test_who_is_put_out_of_its_namespace_is_closed() -> None:
    async with serving() as (server, namespace), seeing_off(server), plain(server) as one:
        [connection] = namespace.connections
        await server.realtime.disconnect(connection.id, namespace="/echo")
        assert await one.wire.ended() == 1000
        await namespace.gone_event.wait()
        assert namespace.gone_reasons == ["server disconnect"]


async def test_more_than_a_message_may_be_is_named_before_it_closes() -> None:
    async with serving() as (server, _), seeing_off(server), plain(server) as one:
        await one.say("any", value="x" * 66_000)
        assert await reason(one) == ("MESSAGE_TOO_BIG", 1009, 1009)


async def test_its_namespace_may_allow_larger_messages() -> None:
    bounds = Bounds(namespace_message_bytes={"/echo": 1_000_000})
    async with serving(bounds=bounds) as (server, _), plain(server) as one:
        await one.say("any", value="x" * 900_000)
        assert len((await one.hear("ack"))["value"]) == 900_000
        await one.say("any", value="x" * 1_000_001)
        assert await one.wire.ended() == 1009


async def test_a_token_that_runs_out_ends_it_unless_it_brings_another() -> None:
    now = [1_800_000_000.0]

    def signed(lifetime: float) -> str:
        return mint(SECRET, "alice", lifetime=lifetime, now=lambda: now[0])

    async with serving(now=lambda: now[0]) as (server, _), seeing_off(server):
        short = signed(100)
        async with plain(server, token=short) as one, plain(server, token=short) as other:
            now[0] += 50
            await server.realtime.expire_tokens(now[0])
            for each in (one, other):
                assert (await each.hear("token_expiring"))["expires_in"] == 50
            await one.say("authenticate", token=signed(1000))
            await one.hear("ack")
            now[0] += 60
            await server.realtime.expire_tokens(now[0])
            assert await reason(other) == ("TOKEN_EXPIRED", 4001, 4001)
            await one.settle()


@pytest.mark.parametrize("former", ["plain", "socketio"])
async def test_a_newer_session_of_its_user_replaces_it_whatever_kind_either_is(former: str, connect: Connect) -> None:
    async with serving(single_session=True) as (server, namespace):
        if former == "plain":
            async with plain(server) as one:
                newer = await connect(server, "/echo", "alice")
                assert await reason(one) == ("SESSION_REPLACED", 4009, 4009)
                await newer.settle()
        else:
            older = await connect(server, "/echo", "alice")
            async with plain(server) as one:
                assert (await older.expect("disconnecting_reason"))["code"] == "SESSION_REPLACED"
                await older.expect("disconnect")
                await one.settle()
        assert len(namespace.connections) == 1


async def test_it_hears_that_the_server_drains_and_goes() -> None:
    async with serving() as (server, _), plain(server) as one:
        stopping = asyncio.create_task(server.runner.cleanup())
        assert (await one.hear("server_draining"))["reconnect_after_ms"] > 0
        assert await reason(one) == ("GOING_AWAY", 1001, 1001)
        one.wire.abort()
        await stopping
        assert held(server)["sessions"] == 0


async def test_it_hears_that_the_server_stops() -> None:
    async with serving() as (server, _), plain(server) as one:
        stopping = asyncio.create_task(server.realtime.stop())
        assert await reason(one) == ("GOING_AWAY", 1001, 1001)
        one.wire.abort()
        await stopping


async def test_who_goes_without_a_word_is_gone() -> None:
    async with serving() as (server, namespace), seeing_off(server):
        async with plain(server) as one:
            one.wire.abort()
        await namespace.gone_event.wait()
        assert namespace.gone_reasons == ["transport close"]


async def test_what_is_no_event_is_not_said_to_it() -> None:
    async with serving() as (server, namespace), plain(server) as one:
        [session] = server.realtime.eio.sessions.values()
        session.send(frames.NOOP)
        session.send(frames.message('40/echo,{"sid":"x"}'))
        await namespace.emit("picture", {"bytes": b"\0"}, room=EVERYONE)
        await one.say("ping")
        assert (await one.receive())["type"] == "pong"


async def test_a_fault_of_our_own_while_it_enters_closes_with_1011(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(Entrance, "connect", fails)
    async with serving() as (server, _), seeing_off(server), opening(server) as one:
        assert await one.wire.ended() == 1011
