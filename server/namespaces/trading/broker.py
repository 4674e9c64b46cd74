"""What numbers the messages of channels, keeps the newest and hands them on. Who may publish or subscribe is not asked.

`MemoryBroker` is of one node by itself, `cluster.ClusterBroker` of one among many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import orjson

from server.namespaces.trading.catalogue import ChannelClass, Visible
from server.namespaces.trading.channels import (
    MAX_LOG_BYTES,
    ChannelLog,
    ChannelLogs,
    ChannelState,
    Message,
    audience,
    conflation,
)
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

    async def newest(self, tenant: str | None, kind: ChannelClass) -> list[tuple[str, View]]:
        """For a connection that is in the room of a class: its channels, at most MAX_FOLLOWED of those used last, each
        with its newest message, or the newest of each value, if any are kept; those in MAX_LOG_BYTES."""

    async def states(
        self, tenant: str | None, visible: Visible, after: str = "", limit: int = 100
    ) -> list[ChannelState]:
        """Channels with visible names behind `after`, in their order."""

    async def state(self, tenant: str | None, channel: str) -> ChannelState | None: ...

    async def publish(self, publication: Publication) -> Receipt:
        """`seq` and `epoch` of the message, and how many `subscribers` it was for. Raises LimitExceeded."""


class Rooms(Delivery, Protocol):
    def members(self, room: str | Collection[str]) -> Sequence[Connection]: ...


class MemoryBroker:
    def __init__(self, rooms: Rooms, *, most: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._rooms = rooms
        self._logs = ChannelLogs(lambda room: len(rooms.members(room)), most=most, clock=clock)
        self._receipts = Receipts(clock=clock)

    async def view(self, tenant: str | None, channel: str, kind: ChannelClass, since: Since | None) -> View:
        return view(self._logs, self._logs.open(tenant, channel, kind), since)

    async def newest(self, tenant: str | None, kind: ChannelClass) -> list[tuple[str, View]]:
        return newest(self._logs, tenant, kind)

    async def states(
        self, tenant: str | None, visible: Visible, after: str = "", limit: int = 100
    ) -> list[ChannelState]:
        return self._logs.states(tenant, visible, after, limit)

    async def state(self, tenant: str | None, channel: str) -> ChannelState | None:
        return self._logs.state(tenant, channel)

    async def publish(self, publication: Publication) -> Receipt:
        key = publication.key
        if key is not None and (receipt := self._receipts.get(key)) is not None:
            return receipt
        log = self._logs.open(publication.tenant, publication.channel, publication.kind)
        copies = self._logs.copies(log)
        message = self._logs.append(log, publication.event, publication.body)
        receipt = {"seq": message.seq, "epoch": log.epoch, "subscribers": sum(map(self._reached, [log, *copies]))}
        if key is not None:
            # Before anything is awaited: the same key may come in by another connection meanwhile.
            self._receipts.put(key, receipt)
        await self._emit(log, message)
        for copy in copies:
            if copy in self._logs:
                await self._emit(copy, self._logs.append(copy, message.type, publication.body))
        return receipt

    async def _emit(self, log: ChannelLog, message: Message) -> None:
        """Nothing is awaited between numbering a message and emitting it, so events leave in the order of `seq`."""
        key = conflation(log.kind, log.channel, message.payload)
        to = audience(log.tenant, log.channel, log.kind)
        await self._rooms.emit(message.type, message.payload, room=to, volatile=key is not None, conflate=key)

    def _reached(self, log: ChannelLog) -> int:
        return len(self._rooms.members(audience(log.tenant, log.channel, log.kind)))


def view(logs: ChannelLogs, log: ChannelLog, since: Since | None) -> View:
    missed = None if since is None else logs.after(log, since)
    messages = logs.held(log) if missed is None else missed
    return View(log.seq, log.epoch, missed is not None, [message.to_wire() for message in messages])


def newest(logs: ChannelLogs, tenant: str | None, kind: ChannelClass) -> list[tuple[str, View]]:
    return within(
        [
            (log.channel, View(log.seq, log.epoch, False, [each.to_wire() for each in _newest_of(logs, log)]))
            for log in logs.follow(tenant, kind)
        ]
    )


def _newest_of(logs: ChannelLogs, log: ChannelLog) -> Sequence[Message]:
    held = logs.held(log)
    return held[-1:] if log.kind.conflate_key is None else held


def within(views: Sequence[tuple[str, View]], most_bytes: int = MAX_LOG_BYTES) -> list[tuple[str, View]]:
    """What does not fit goes without its message."""
    kept: list[tuple[str, View]] = []
    for channel, each in views:
        most_bytes -= len(orjson.dumps(each.messages)) if each.messages else 0
        kept.append((channel, each if most_bytes >= 0 else replace(each, messages=())))
    return kept
