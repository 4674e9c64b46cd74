"""Some sessions without a transport, connected to one namespace of a manager."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from server.identity import Identity
from server.realtime.fanout import Fanout
from server.realtime.insight.hooks import Insight
from server.realtime.link import Handshake, Link, Member
from server.realtime.memory import MemoryFanout
from server.realtime.recovery import Bounds
from server.realtime.statistics import Statistics
from tests.support.managers import clustered


class Outbox:
    def __init__(self, sent: list[Any]) -> None:
        self.sent = sent

    def replay(self, packets: Any) -> None:
        self.sent += [packet.parts for packet in packets]

    def breathe(self) -> None:
        """Nothing is corked here."""


class Outlet:
    def broadcast(self, packet: Any, outboxes: Any) -> None:
        for outbox in outboxes:
            outbox.sent.append(packet.parts)


class Session:
    def __init__(self, id: str) -> None:
        self.id = id
        self.sent: list[Any] = []
        self.outbox = Outbox(self.sent)
        self.user_session: dict[str, Any] | None = None
        self.state = Link(self, Handshake("", None, None))  # type: ignore[arg-type]

    def send(self, packet: Any) -> None:
        self.sent.append(packet.parts)


class Room:
    """Some sessions, connected to `/x` unless said otherwise."""

    def __init__(self, *ids: str, recovery: Bounds | None = None, fanout: Fanout | None = None) -> None:
        """Of a manager in memory, unless given another."""
        self.sessions = {id: Session(id) for id in ids}
        self.now = 0.0
        self.fanout = MemoryFanout(recovery, clock=lambda: self.now) if fanout is None else fanout
        engine = SimpleNamespace(sessions=self.sessions, outlet=Outlet())
        self.fanout.set_server(SimpleNamespace(eio=engine, statistics=Statistics(), insight=Insight()))  # type: ignore[arg-type]
        self.sids: dict[str, str] = {}
        self.members: dict[str, Member] = {}

    async def connect(self, *ids: str, recoverable: bool = False) -> None:
        for id in ids or self.sessions:
            member = self.members[id] = self.fanout.join(self.sessions[id].state, "/x")
            self.sids[id] = member.sid
            if recoverable:
                self.fanout.open_recoverable(member, Identity(id))
            self.fanout.connect(member)
            self.sessions[id].sent.clear()

    def heard(self) -> dict[str, int]:
        return {id: len(session.sent) for id, session in self.sessions.items() if session.sent}


@asynccontextmanager
async def opened(redis_url: str | None, *ids: str, recovery: Bounds | None = None) -> AsyncIterator[Room]:
    """Of a manager on that Redis, if there is one."""
    if redis_url is None:
        yield Room(*ids, recovery=recovery)
        return
    fanout = clustered(redis_url, recovery=recovery)
    await fanout.node.start()
    yield Room(*ids, fanout=fanout)
    await fanout.node.stop()
