"""A node's channels while Redis is away: numbered for its own clients, in epochs that end when Redis is back.

They count from the clock's microseconds, far above what Redis gives, so that nobody takes one for the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from server.namespaces.trading import broker
from server.namespaces.trading.broker import Publication
from server.namespaces.trading.catalogue import ChannelClass
from server.namespaces.trading.channels import ChannelLog, ChannelLogs, audience, conflation
from server.namespaces.trading.receipts import Receipt
from server.realtime.cluster.ordered import Ordered
from server.realtime.connection import Connection


class Rooms(broker.Rooms, Protocol):
    @property
    def connections(self) -> Sequence[Connection]: ...


class Island:
    def __init__(self, rooms: Rooms, ordered: Ordered, *, most: int, clock: Callable[[], float]) -> None:
        self._rooms = rooms
        self._ordered = ordered
        self._most = most
        self._clock = clock
        self._tenants: set[str | None] | None = None  # that were here when Redis went away
        self.logs = self._new_logs()

    def over(self) -> None:
        if len(self.logs):
            self.logs = self._new_logs()
            self._tenants = None

    def open(self, tenant: str | None, channel: str, kind: ChannelClass) -> ChannelLog:
        """Where it is shared, with the copies of all tenants that are here. Raises LimitExceeded."""
        if kind.shared and tenant is None:
            if self._tenants is None:
                self._tenants = {connection.tenant for connection in self._rooms.connections} - {None}
            for each in self._tenants:
                if self._rooms.members(audience(each, channel, kind)):
                    self.logs.open(each, channel, kind)
        return self.logs.open(tenant, channel, kind)

    def publish(self, publication: Publication, *, deliver: bool) -> tuple[Receipt, int]:
        """The receipt, and a seq that none of the message's is above. Without `deliver` its clients have it already.
        Raises LimitExceeded."""
        log = self.open(publication.tenant, publication.channel, publication.kind)
        conflate = conflation(publication.kind, publication.channel, publication.body)
        subscribers = above = 0
        for each in [log, *self.logs.copies(log)]:
            message = self.logs.append(each, publication.event, publication.body)
            to = audience(each.tenant, each.channel, each.kind)
            above = max(above, message.seq)
            subscribers += len(self._rooms.members(to))
            if deliver:
                self._ordered.deliver_here(to, [message.type, message.payload], conflate)
        return {"seq": log.seq, "epoch": log.epoch, "subscribers": subscribers}, above

    def _new_logs(self) -> ChannelLogs:
        return ChannelLogs(
            lambda room: len(self._rooms.members(room)),
            most=self._most,
            first=time.time_ns() // 1000,
            clock=self._clock,
        )
