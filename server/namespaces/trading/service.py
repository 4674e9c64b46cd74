"""The rules of channels: who subscribes, who publishes, what a message reaches. How bytes travel is the delivery's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog

from server.errors import Forbidden, InvalidMessage, LimitExceeded
from server.identity import Identity
from server.namespaces.trading.catalogue import Action, Catalogue, ChannelClass
from server.namespaces.trading.channels import ChannelLog, ChannelLogs, Message
from server.namespaces.trading.receipts import Receipts
from server.namespaces.trading.schemas import Since
from server.realtime import rooms
from server.realtime.connection import Connection
from server.realtime.delivery import Delivery

log = structlog.get_logger(__name__)

_VERBS: Mapping[Action, str] = {
    "subscribe": "subscribe to",
    "publish": "publish on",
    "chat": "send chat messages to",
}


class Rooms(Delivery, Protocol):
    """Delivery, and who is in which room; as `namespace.Namespace` has them."""

    async def enter(self, connection: Connection, room: str) -> None: ...

    async def leave(self, connection: Connection, room: str) -> bool: ...

    def members(self, room: str) -> Sequence[Connection]: ...


class TradingService:
    def __init__(
        self,
        rooms: Rooms,
        catalogue: Catalogue,
        *,
        max_channels: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rooms = rooms
        self._catalogue = catalogue
        self._logs = ChannelLogs(
            lambda log: bool(rooms.members(_room(log.tenant, log.channel))), most=max_channels, clock=clock
        )
        self._receipts = Receipts(clock=clock)

    async def subscribe(self, connection: Connection, channel: str | None, since: Since | None) -> dict[str, object]:
        """The ack. What it holds and the events with a higher `seq` are together every message, each once."""
        channel = _named(channel, "subscription")
        kind = self._allow(connection.identity, "subscribe", channel)
        room = _room(connection.tenant, channel)
        await self._rooms.enter(connection, room)
        try:
            log = self._logs.open(connection.tenant, channel, kind)
        except LimitExceeded:
            await self._rooms.leave(connection, room)
            raise
        ack: dict[str, object] = {"channel": channel, "success": True, "seq": log.seq, "epoch": log.epoch}
        missed = None if since is None else self._logs.after(log, since)
        if since is not None:
            ack["recovered"] = missed is not None
        if missed is not None:
            ack["messages"] = [message.to_wire() for message in missed]
        elif kind.history_count:
            ack["snapshot"] = [message.to_wire() for message in self._logs.held(log)]
        return ack

    async def unsubscribe(self, connection: Connection, channel: str | None) -> dict[str, object]:
        channel = _named(channel, "unsubscription")
        return {"channel": channel, "success": await self._rooms.leave(connection, _room(connection.tenant, channel))}

    async def publish(
        self, identity: Identity, channel: str, event: str, data: object, idempotency_key: str | None
    ) -> Mapping[str, object]:
        kind = self._allow(identity, "publish", channel)
        key = None if idempotency_key is None else (*identity.scope, channel, idempotency_key)
        if key is not None and (receipt := self._receipts.get(key)) is not None:
            return receipt
        log = self._logs.open(identity.tenant, channel, kind)
        message = self._logs.append(log, event, {"data": data})
        ack = {"seq": message.seq, "epoch": log.epoch, "subscribers": self._reached(log)}
        if key is not None:
            # Before anything is awaited: the same key may come in by another connection meanwhile.
            self._receipts.put(key, ack)
        await self._deliver(log, message, {"data": data})
        return ack

    async def chat(self, connection: Connection, channel: str, text: str) -> dict[str, object]:
        kind = self._allow(connection.identity, "chat", channel)
        log = self._logs.open(connection.tenant, channel, kind)
        body = {"client_id": connection.id, "user_id": connection.user_id, "message": text}
        message = self._logs.append(log, "chat_message", body)
        await self._deliver(log, message, body)
        return {"channel": channel, "seq": message.seq, "epoch": log.epoch}

    async def announce(self, channel: str, event: str, data: Mapping[str, object]) -> None:
        """What the server itself publishes: to every tenant where the class is shared. Nobody's rights are asked."""
        try:
            log_ = self._logs.open(None, channel, self._catalogue.find(channel))
        except LimitExceeded:
            log.warning("no room for a channel of a feed", channel=channel)
            return
        await self._deliver(log_, self._logs.append(log_, event, {"data": data}), {"data": data})

    async def review(self, connection: Connection) -> list[str]:
        """Ends the subscriptions that a connection's new identity does not allow, and says which."""
        prefix = _room(connection.tenant, "")
        ended = []
        for room in [each for each in connection.rooms if each.startswith(prefix)]:
            channel = room.removeprefix(prefix)
            if not self._catalogue.find(channel).allows(connection.identity, "subscribe", channel):
                await self._rooms.leave(connection, room)
                ended.append(channel)
        return sorted(ended)

    def _allow(self, identity: Identity, action: Action, channel: str) -> ChannelClass:
        kind = self._catalogue.find(channel)
        if not kind.allows(identity, action, channel):
            raise Forbidden(f"You may not {_VERBS[action]} {channel!r}")
        return kind

    async def _deliver(self, log: ChannelLog, message: Message, body: Mapping[str, object]) -> None:
        """Nothing is awaited between numbering a message and emitting it, so events leave in the order of `seq`."""
        copies = self._logs.copies(log)
        await self._emit(log, message)
        for copy in copies:
            if copy in self._logs:
                await self._emit(copy, self._logs.append(copy, message.type, body))

    async def _emit(self, log: ChannelLog, message: Message) -> None:
        key = _conflate(log, message)
        await self._rooms.emit(
            message.type, message.payload, room=_audience(log), volatile=key is not None, conflate=key
        )

    def _reached(self, log: ChannelLog) -> int:
        return sum(len(self._rooms.members(_audience(each))) for each in (log, *self._logs.copies(log)))


def _conflate(log: ChannelLog, message: Message) -> tuple[str, str] | None:
    """What a message is a newer version of, for classes that want only the newest."""
    if log.kind.conflate_key is None:
        return None
    data = message.payload.get("data")
    return log.channel, str(data.get(log.kind.conflate_key)) if isinstance(data, Mapping) else ""


def _named(channel: str | None, purpose: str) -> str:
    if channel is None:
        message = f"Channel name required for {purpose}"  # as in the seed, to the letter
        raise InvalidMessage(message, details={"channel": [message]})
    return channel


def _room(tenant: str | None, channel: str) -> str:
    """Who subscribed."""
    return rooms.room_name(tenant, "channel", channel)


def _audience(log: ChannelLog) -> str:
    """Whom a message reaches: the subscribers, or all of the owner's connections, subscribed or not."""
    owner = log.kind.owner(log.channel) if log.kind.personal else None
    return _room(log.tenant, log.channel) if owner is None else rooms.user_room(log.tenant, owner)
