"""Who is asked, and how, whether it is still there: by control frames, or by messages where its dialect has those."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect as websocket

from tests.realtime.inherited.client_frames import CLOSE, PING, PONG, TEXT, masked
from tests.realtime.inherited.wire import eventually
from tests.support.client import PATIENCE
from tests.support.echo import EchoNamespace
from tests.support.plain import ECHO, PINGED, Plain, plain, serving
from tests.support.running import Running, token


class Clock:
    """Monotonic seconds that pass when told; the server's timers are on another, and do not fire in a test's time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Heartbeat:
    """A server under the seed's quick test: pings every 5 s, 3 s for an answer, 3 chances."""

    def __init__(self, server: Running, namespace: EchoNamespace, clock: Clock) -> None:
        self.server = server
        self.namespace = namespace
        self._clock = clock

    def pass_to(self, second: float) -> None:
        self._clock.now = second
        self.server.realtime.eio.beat()

    @property
    def unanswered(self) -> int:
        return len(self.server.realtime.eio._heartbeat._missed)

    @property
    def sessions(self) -> int:
        return len(self.server.realtime.eio.sessions)


@asynccontextmanager
async def beating() -> AsyncIterator[Heartbeat]:
    clock = Clock()
    async with serving(clock=clock, ping_interval=5, ping_timeout=3, most_missed_pongs=3) as (server, namespace):
        yield Heartbeat(server, namespace, clock)


async def heard(one: Plain) -> list[str]:
    """Pings of either kind, the reason it is told and the code it is closed with."""
    found: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while True:
            opcode, body = await one.wire._frame()
            if opcode == PING:
                found.append("control ping")
            elif opcode == CLOSE:
                return [*found, str(int.from_bytes(body, "big"))]
            elif opcode == TEXT:
                message = json.loads(body)
                found.append(message["type"] if message["type"] == "ping" else message["code"])


@pytest.mark.parametrize(("path", "ping"), [(ECHO, "control ping"), (PINGED, "ping")])
async def test_who_answers_none_of_three_is_closed_with_4003(path: str, ping: str) -> None:
    async with beating() as heartbeat, plain(heartbeat.server, path=path) as one:
        ended = next(second for second in range(100) if heartbeat.pass_to(second) or not heartbeat.sessions)
        assert ended == 24  # the seed says about 25
        assert await heard(one) == [*[ping] * 3, "HEARTBEAT_LOST", "4003"]
        await heartbeat.namespace.gone_event.wait()
        assert heartbeat.namespace.gone_reasons == ["ping timeout"]


async def test_any_library_answers_control_frames_by_itself() -> None:
    async with beating() as heartbeat:
        url = heartbeat.server.url.replace("http", "ws")
        async with websocket(f"{url}{ECHO}?token={token()}", ping_interval=None) as client:
            await client.recv()
            for second in range(5, 100, 5):
                heartbeat.pass_to(second)
                assert heartbeat.unanswered == 1
                await eventually(lambda: heartbeat.unanswered == 0)
            assert heartbeat.sessions == 1


async def test_pings_by_message_are_answered_by_message() -> None:
    async with beating() as heartbeat, plain(heartbeat.server, path=PINGED) as one:
        for second in range(5, 50, 5):
            heartbeat.pass_to(second)
            ping = await one.hear("ping")
            assert ping["timestamp"].endswith("Z")
            one.wire.writer.write(masked(b"", opcode=PONG))
            await one.settle()
            assert heartbeat.unanswered == 1, "a library's answer is not the client's"
            await one.say("pong", timestamp=ping["timestamp"])
            await one.settle()
            assert heartbeat.unanswered == 0


async def test_a_late_answer_is_an_answer_and_what_it_says_else_is_none() -> None:
    async with beating() as heartbeat, plain(heartbeat.server, path=PINGED) as one:
        for second in (5, 8, 13, 16, 21):
            heartbeat.pass_to(second)
        await one.settle()
        assert heartbeat.unanswered == 1
        await one.say("pong")
        await one.settle()
        heartbeat.pass_to(24)
        assert heartbeat.sessions == 1


@pytest.mark.parametrize("path", [ECHO, PINGED])
async def test_answers_that_nobody_asked_for_postpone_nothing(path: str) -> None:
    async with beating() as heartbeat, plain(heartbeat.server, path=path) as one:
        for second in (1, 2, 3, 4):
            heartbeat.pass_to(second)
            one.wire.writer.write(masked(b"", opcode=PONG) + masked('{"type":"pong"}'))
            await one.settle()
        heartbeat.pass_to(5)
        assert heartbeat.unanswered == 1


async def test_whose_answer_waits_behind_its_own_work_is_not_given_up() -> None:
    async with beating() as heartbeat, plain(heartbeat.server, path=PINGED) as one:
        for number in range(70):  # more than an inbox holds
            await one.say("wait", number=number)
        [session] = heartbeat.server.realtime.eio.sessions.values()
        await eventually(lambda: session.handling)
        await one.say("pong")
        for second in range(100):
            heartbeat.pass_to(second)
        heartbeat.namespace.gate.set()
        await one.settle()
        assert heartbeat.sessions == 1


async def test_a_ping_of_its_own_is_answered_by_a_pong_that_carries_its_timestamp() -> None:
    async with beating() as heartbeat, plain(heartbeat.server, path=PINGED) as one:
        await one.say("ping", timestamp="2025-11-03T10:30:45.123Z")
        assert await one.hear("pong") == {"type": "pong", "timestamp": "2025-11-03T10:30:45.123Z"}


async def test_it_is_asked_out_of_turn_too() -> None:
    async with beating() as heartbeat, plain(heartbeat.server) as one:
        [id] = heartbeat.server.realtime.eio.sessions
        asking = asyncio.create_task(heartbeat.server.realtime.eio.answers(id, PATIENCE))
        async with asyncio.timeout(PATIENCE):
            assert (await one.wire._frame())[0] == PING
        one.wire.writer.write(masked(b"", opcode=PONG))
        assert await asking
