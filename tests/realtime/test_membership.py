from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import pytest
import pytest_asyncio
import structlog

from server.identity import anonymous
from server.realtime.connection import Connection
from server.realtime.link import Member
from server.realtime.membership import Membership, Reply
from server.realtime.server import RealtimeServer
from server.realtime.workers import MAX_WAITING
from tests.realtime.test_link import link


class Recorded(Membership):
    """Writes down what it hears; "hold" waits for the gate."""

    path = "/recorded"

    def __init__(self, server: RealtimeServer) -> None:
        self.server = server
        self.heard: list[object] = []
        self.gate = asyncio.Event()
        self.over = asyncio.Event()

    async def handle(self, connection: Connection, name: str, arguments: Sequence[Any], reply: Reply | None) -> None:
        self.heard.append(f"{name} begins")
        if name == "hold":
            await self.gate.wait()
        self.heard.append(name)

    def forget(self, connection: Connection) -> None:
        self.heard.append("forgotten")

    async def ended(self, connection: Connection, rooms_left: Collection[str], reason: str) -> None:
        self.heard.append((sorted(rooms_left), reason))
        self.over.set()

    def enter(self, name: str, *rooms: str) -> tuple[Member, Connection]:
        member = self.server.manager.join(link(name), self.path)
        connection = Connection(member.sid, self.path, anonymous(), "127.0.0.1", rooms=member.rooms)
        for room in rooms:
            self.server.manager.enter(member, room)
        self.begin(member, connection)
        return member, connection


@pytest_asyncio.fixture
async def membership() -> AsyncIterator[Recorded]:
    server = RealtimeServer()
    yield Recorded(server)
    await server.tasks.close()


async def test_who_is_in_it_and_in_its_rooms(membership: Recorded) -> None:
    member, connection = membership.enter("one", "red", "blue")
    _, other = membership.enter("other", "blue")
    membership.server.manager.join(link("entering"), membership.path)  # it has no connection yet
    assert membership.connections == [connection, other]
    assert membership.members("red") == [connection]
    assert membership.members("blue") == [connection, other]
    assert membership.members("green") == []
    assert membership.connection(connection.id) is connection
    assert membership.connection("nobody") is None
    assert (member.membership, member.connection) == (membership, connection)
    membership.server.manager.drop(member)
    assert membership.connections == [other]
    assert membership.connection(connection.id) is None


async def test_events_are_handled_in_order_and_the_end_after_them(membership: Recorded) -> None:
    member, connection = membership.enter("one", "red")
    for name in ("hold", "next"):
        assert membership.receive(member, connection, name, [], None) is None
    await asyncio.sleep(0)
    membership.gone(member, "client disconnect")
    assert connection.rooms == set()
    assert membership.heard == ["hold begins", "forgotten"]
    assert membership.receive(member, connection, "late", [], None) is None
    membership.gate.set()
    await membership.over.wait()
    assert membership.heard[2:] == ["hold", "next begins", "next", (["red"], "client disconnect")]


async def test_one_that_waits_holds_up_its_own_connection_only(membership: Recorded) -> None:
    (member, connection), (other, its_connection) = membership.enter("one"), membership.enter("other")
    membership.receive(member, connection, "hold", [], None)
    membership.receive(member, connection, "behind", [], None)
    await asyncio.sleep(0)
    membership.receive(other, its_connection, "aside", [], None)
    while "aside" not in membership.heard:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert membership.heard == ["hold begins", "aside begins", "aside"]


async def test_a_full_inbox_is_waited_for(membership: Recorded) -> None:
    member, connection = membership.enter("one")
    membership.receive(member, connection, "hold", [], None)
    await asyncio.sleep(0)
    waits = [membership.receive(member, connection, "more", [], None) for _ in range(MAX_WAITING)]
    assert waits[:-1] == [None] * (MAX_WAITING - 1)
    assert waits[-1] is not None
    membership.gate.set()
    await waits[-1]
    assert "more begins" in membership.heard


async def test_an_ack_does_not_overtake_events_and_does_not_wait_for_their_end(membership: Recorded) -> None:
    member, connection = membership.enter("one")
    await membership.begun(member)
    assert membership.heard == []
    membership.receive(member, connection, "hold", [], None)
    await membership.begun(member)
    assert membership.heard == ["hold begins"]


async def test_other_work_has_its_turn_among_events(membership: Recorded) -> None:
    member, connection = membership.enter("one")

    async def work() -> None:
        membership.heard.append("work")

    membership.receive(member, connection, "hold", [], None)
    assert member.inbox is not None
    member.inbox.put(work)
    membership.receive(member, connection, "next", [], None)
    membership.gate.set()
    membership.gone(member, "over")
    await membership.over.wait()
    assert [each for each in membership.heard if each in ("hold", "work", "next")] == ["hold", "work", "next"]


async def test_an_end_that_fails_is_logged(membership: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        membership.over.set()
        raise RuntimeError

    monkeypatch.setattr(membership, "ended", fail)
    member, connection = membership.enter("one")
    with structlog.testing.capture_logs() as logs:
        membership.gone(member, "over")
        await membership.over.wait()
        while not logs:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert [(entry["event"], entry["connection"]) for entry in logs] == [("disconnect handler failed", connection.id)]


async def test_one_that_has_not_begun_hears_nothing(membership: Recorded) -> None:
    _, connection = membership.enter("one")
    member = membership.server.manager.join(link("entering"), membership.path)
    assert membership.receive(member, connection, "early", [], None) is None
    membership.gone(member, "over")
    await membership.begun(member)
    assert membership.heard == []
