"""Who is connected to one namespace, and what came from each, in order; what it means is a subclass's business."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from server.identity import Identity
from server.realtime.connection import Connection
from server.realtime.insight.meters import Meter
from server.realtime.link import Link, Member
from server.realtime.workers import Inbox

if TYPE_CHECKING:
    from server.realtime.server import RealtimeServer

log = structlog.get_logger(__name__)

Reply = Callable[..., None]


class Membership:
    path: str
    server: RealtimeServer  # set when it is added to one
    handler_timeout: float | None = None
    meter: Meter | None = None  # of those that are metered

    # -- what a subclass says -----------------------------------------------------------------------------------

    async def identify(self, link: Link, auth: Any) -> Identity:
        """Whose connection it will be. Raises a ConnectionClosed that says why it will be none."""
        raise NotImplementedError

    async def admit(self, connection: Connection, auth: Any, *, recovered: bool) -> None:
        """Before its CONNECT. Raises a ConnectionClosed or a ConnectionRefusedError that says why not.

        Who is `recovered` is in its rooms again, and what it missed follows: not what is of rooms it leaves here.
        """

    async def welcome(self, connection: Connection, *, recovered: bool) -> None:
        """Its CONNECT is on the way; what is sent from here on follows it."""

    async def handle(self, connection: Connection, name: str, arguments: Sequence[Any], reply: Reply | None) -> None:
        """One event. Must not raise."""
        raise NotImplementedError

    def forget(self, connection: Connection) -> None:
        """It is no member any more; what it asked for may still be handled."""

    async def ended(self, connection: Connection, rooms_left: Collection[str], reason: str) -> None:
        """After the last event of a connection was handled; it is in no room any more."""

    async def refuse(self, connection: Connection, message: str, reply: Reply | None) -> None:
        """An event that was no use before it could be looked at."""

    async def refuse_ack(self, connection: Connection) -> None:
        """An ack that nothing waits for: late, second or made up."""

    # -- members ------------------------------------------------------------------------------------------------

    @property
    def connections(self) -> list[Connection]:
        return [
            member.connection
            for member in self.server.manager.members(self.path, None)
            if member.connection is not None
        ]

    def connection(self, connection_id: str) -> Connection | None:
        member = self.server.manager.member(connection_id, self.path)
        return None if member is None else member.connection

    def members(self, room: str | Collection[str]) -> list[Connection]:
        """The connections in a room, or in any of several, on this node."""
        return [
            member.connection
            for member in self.server.manager.members(self.path, room)
            if member.connection is not None
        ]

    def fields(self, event: str) -> Collection[str]:
        """Those that an event of this name may have."""
        return ()

    def begin(self, member: Member, connection: Connection) -> None:
        self.server.statistics.total_connections += 1
        member.connection = connection
        member.membership = self
        member.inbox = Inbox(self.server.workers, self.handler_timeout)

    def receive(
        self, member: Member, connection: Connection, name: str, arguments: Sequence[Any], reply: Reply | None
    ) -> Awaitable[None] | None:
        """Queues one event. What it returns is awaited before the next."""
        if member.inbox is None:
            return None
        if (meter := self.meter) is not None:
            meter.events_in += 1
            if reply is not None and not meter.events_in % meter.stride:
                reply = meter.timed(reply)
        return member.inbox.put(partial(self.handle, connection, name, arguments, reply))

    async def begun(self, member: Member) -> None:
        """Events that came before now have begun: an ack does not wait for their end, but it does not overtake them."""
        if member.inbox is not None and member.inbox.busy:
            await asyncio.sleep(0)

    def gone(self, member: Member, reason: str) -> None:
        """It is in no room any more; `ended` hears of it in its turn."""
        connection, inbox = member.connection, member.inbox
        if connection is None or inbox is None:
            return
        rooms_left = frozenset(connection.rooms)
        connection.rooms.clear()
        self.forget(connection)

        async def leave() -> None:
            try:
                await self.ended(connection, rooms_left, reason)
            except Exception:
                log.exception("disconnect handler failed", namespace=self.path, connection=connection.id)

        inbox.close(leave)
