"""What numbers the messages of channels, keeps the newest and hands them on. Who may publish or subscribe is not asked.

`MemoryBroker` is of one node by itself, `cluster.ClusterBroker` of one among many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.namespaces.trading.catalogue import ChannelClass
from server.namespaces.trading.channels import ChannelLog, ChannelLogs, Message, audience, conflation, room
from server.namespaces.trading.receipts import Key, Receipt, Receipts
from server.namespaces.trading.schemas import Since
from server.realtime.connection import Connection
from server.realtime.delivery import Delivery


@dataclass(frozen=True, slots=True)
class View:
    """A channel at one moment. `messages`, oldest first, are all since what a client saw, or where that cannot be told,
    and `recovered` is false, those that are kept."""

    seq: int
    epoch: str
    recovered: bool
    messages: Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Publication:
    """`body` is the payload but for what the broker adds: channel, seq and timestamp. What has the same `key` again is
    not published again."""

    tenant: str | None
    channel: str
    kind: ChannelClass
    event: str
    body: Mapping[str, object]
    key: Key | None = None


class Broker(Protocol):
    async def view(self, tenant: str | None, channel: str, kind: ChannelClass, since: Since | None) -> View:
        """For a connection that is in the channel's room: what it holds and the messages with a higher `seq` are
        together every message, each once. Raises LimitExceeded where there are too many channels."""

    async def publish(self, publication: Publication) -> Receipt:
        """`seq` and `epoch` of the message, and how many `subscribers` it was for. Raises LimitExceeded."""


class Rooms(Delivery, Protocol):
    def members(self, room: str) -> Sequence[Connection]: ...


class MemoryBroker:
    def __init__(self, rooms: Rooms, *, most: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._rooms = rooms
        self._logs = ChannelLogs(lambda log: bool(rooms.members(room(log.tenant, log.channel))), most=most, clock=clock)
        self._receipts = Receipts(clock=clock)

    async def view(self, tenant: str | None, channel: str, kind: ChannelClass, since: Since | None) -> View:
        return view(self._logs, self._logs.open(tenant, channel, kind), since)

    async def publish(self, publication: Publication) -> Receipt:
        key = publication.key
        if key is not None and (receipt := self._receipts.get(key)) is not None:
            return receipt
        log = self._logs.open(publication.tenant, publication.channel, publication.kind)
        message = self._logs.append(log, publication.event, publication.body)
        receipt = {"seq": message.seq, "epoch": log.epoch, "subscribers": self._reached(log)}
        if key is not None:
            # Before anything is awaited: the same key may come in by another connection meanwhile.
            self._receipts.put(key, receipt)
        await self._deliver(log, message, publication.body)
        return receipt

    async def _deliver(self, log: ChannelLog, message: Message, body: Mapping[str, object]) -> None:
        """Nothing is awaited between numbering a message and emitting it, so events leave in the order of `seq`."""
        copies = self._logs.copies(log)
        await self._emit(log, message)
        for copy in copies:
            if copy in self._logs:
                await self._emit(copy, self._logs.append(copy, message.type, body))

    async def _emit(self, log: ChannelLog, message: Message) -> None:
        key = conflation(log.kind, log.channel, message.payload)
        to = audience(log.tenant, log.channel, log.kind)
        await self._rooms.emit(message.type, message.payload, room=to, volatile=key is not None, conflate=key)

    def _reached(self, log: ChannelLog) -> int:
        logs = (log, *self._logs.copies(log))
        return sum(len(self._rooms.members(audience(each.tenant, each.channel, each.kind))) for each in logs)


def view(logs: ChannelLogs, log: ChannelLog, since: Since | None) -> View:
    missed = None if since is None else logs.after(log, since)
    messages = logs.held(log) if missed is None else missed
    return View(log.seq, log.epoch, missed is not None, [message.to_wire() for message in messages])
