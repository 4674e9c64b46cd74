from __future__ import annotations

import asyncio
import json

import pytest

from server.realtime.engine import frames
from server.realtime.engine.dialect import Dialect
from server.realtime.engine.outlet import Outlet
from server.realtime.engine.protocol import Malformed, TooBig
from server.realtime.engine.session import PlainSession, Session


class Owner:
    never_too_big = 0

    def __init__(self) -> None:
        self.heard: list[str | bytes] = []
        self.pongs = 0
        self.reasons: list[str] = []

    def on_message(self, session: Session, data: str | bytes) -> None:
        self.heard.append(data)

    def too_big(self, session: Session, data: str | bytes) -> bool:
        return len(data) > 100

    def on_pong(self, session: Session) -> None:
        self.pongs += 1

    def on_overflow(self, session: Session) -> None:
        raise AssertionError

    def on_closed(self, session: Session, reason: str) -> None:
        self.reasons.append(reason)
        session.end("again, from within")


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def session(owner: Owner) -> Session:
    return Session("id", owner, Outlet())


async def test_packets_go_where_they_belong(session: Session, owner: Owner) -> None:
    for packet in ("4hello", b"bytes", "bAQI=", "3"):
        assert session.receive(packet) is None
    assert (owner.heard, owner.pongs) == (["hello", b"bytes", b"\x01\x02"], 1)


@pytest.mark.parametrize("packet", ["", "0", "2", "2probe", "5", "6", "7", "hello", "b###"])
async def test_what_a_client_may_not_send(session: Session, packet: str) -> None:
    with pytest.raises(Malformed):
        session.receive(packet)


@pytest.mark.parametrize("packet", ["4" * 101, b"x" * 101])
async def test_more_than_it_may_send(session: Session, owner: Owner, packet: str | bytes) -> None:
    with pytest.raises(TooBig):
        session.receive(packet)
    assert owner.heard == []


async def test_it_ends_once(session: Session, owner: Owner) -> None:
    session.end("first")
    session.end("second")
    assert owner.reasons == ["first"]
    session.send(frames.PING)
    assert len(session.outbox) == 0


async def test_a_poll_that_waits_at_the_end_is_told(session: Session) -> None:
    waiting = asyncio.create_task(session.poll(1000))
    await asyncio.sleep(0)
    session.end("server disconnect")
    assert await waiting == [frames.CLOSE]


async def test_what_was_sent_before_the_end_is_polled_before_it(session: Session) -> None:
    session.send(frames.message("last words"))
    session.end("server disconnect")
    assert [packet.parts for packet in await session.poll(1000)] == [("4last words",), ("1",)]


# -- without Engine.IO ----------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["control", "message"])
def plain(owner: Owner, request: pytest.FixtureRequest) -> PlainSession:
    return PlainSession("id", owner, Outlet(), Dialect(pings=request.param))


async def test_a_plain_session_takes_messages_as_they_are(plain: PlainSession, owner: Owner) -> None:
    for message in ("3", "1", "", b"\x01", '{"type":"x"}'):
        plain.receive(message)
    assert owner.heard == ["3", "1", "", b"\x01", '{"type":"x"}']
    assert (owner.pongs, plain.closed) == (0, False)
    with pytest.raises(TooBig):
        plain.receive("x" * 101)


async def test_a_plain_session_is_told_events_and_nothing_else(plain: PlainSession) -> None:
    for text in ('0/x,{"sid":"1"}', '2/x,["a",{"timestamp":"t"}]', '3/x,1[{"ok":true}]', "1/x,"):
        plain.send(frames.message(text))
    plain.send(frames.NOOP)
    assert [packet.parts for packet in plain.outbox.packets] == [('{"type":"a","timestamp":"t"}',)]


async def test_a_plain_session_is_pinged_and_answers_as_its_dialect_has_it(plain: PlainSession, owner: Owner) -> None:
    plain.send(frames.PING)
    [ping] = plain.outbox.packets
    plain.ponged()
    if plain.dialect.pings:
        assert json.loads(str(ping.parts[0]))["type"] == "ping"
        assert owner.pongs == 0
        plain.ponged(by_message=True)
    else:
        assert ping is frames.CONTROL_PING
    assert owner.pongs == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [(None, "client disconnect"), (1000, "client disconnect"), (1001, "transport close"), (4000, "transport close")],
)
async def test_only_a_plain_session_says_goodbye_by_its_close(
    plain: PlainSession, session: Session, code: int | None, reason: str
) -> None:
    assert plain.left(code) == reason
    assert session.left(code) == "transport close"
