"""The rules of channels: who subscribes, who publishes, what a message reaches. How bytes travel is the delivery's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from server.errors import Forbidden, InvalidMessage, LimitExceeded
from server.identity import Identity
from server.namespaces.trading import broker
from server.namespaces.trading.broker import Broker, MemoryBroker, Publication
from server.namespaces.trading.catalogue import Action, Catalogue, ChannelClass
from server.namespaces.trading.channels import room
from server.namespaces.trading.schemas import Since
from server.realtime.connection import Connection
from server.realtime.presence import MemoryPresence, Presence

log = structlog.get_logger(__name__)

MAX_USERS = 1000  # named in one ack

_VERBS: Mapping[Action, str] = {
    "subscribe": "subscribe to",
    "publish": "publish on",
    "chat": "send chat messages to",
}


class Rooms(broker.Rooms, Protocol):
    """Delivery, and who is in which room; as `namespace.Namespace` has them."""

    async def enter(self, connection: Connection, room: str) -> None: ...

    async def leave(self, connection: Connection, room: str) -> bool: ...


class TradingService:
    def __init__(
        self,
        rooms: Rooms,
        catalogue: Catalogue,
        *,
        presence: Presence | None = None,
        max_channels: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Of one node by itself; another `broker` may be put in its place before there are clients."""
        self._rooms = rooms
        self._catalogue = catalogue
        self.broker: Broker = MemoryBroker(rooms, most=max_channels, clock=clock)
        self.presence = presence or MemoryPresence(clock=clock)

    async def subscribe(self, connection: Connection, channel: str | None, since: Since | None) -> dict[str, object]:
        """The ack. What it holds and the events with a higher `seq` are together every message, each once."""
        channel = _named(channel, "subscription")
        kind = self._allow(connection.identity, "subscribe", channel)
        entered = room(connection.tenant, channel)
        await self._rooms.enter(connection, entered)
        if kind.presence:
            await self.presence.enter(entered, connection)
        try:
            view = await self.broker.view(connection.tenant, channel, kind, since)
        except LimitExceeded:
            await self._leave(connection, entered)
            raise
        ack: dict[str, object] = {"channel": channel, "success": True, "seq": view.seq, "epoch": view.epoch}
        if since is not None:
            ack["recovered"] = view.recovered
        if view.recovered:
            ack["messages"] = view.messages
        elif kind.history_count:
            ack["snapshot"] = view.messages
        return ack

    async def unsubscribe(self, connection: Connection, channel: str | None) -> dict[str, object]:
        channel = _named(channel, "unsubscription")
        return {"channel": channel, "success": await self._leave(connection, room(connection.tenant, channel))}

    async def publish(
        self, identity: Identity, channel: str, event: str, data: object, idempotency_key: str | None
    ) -> Mapping[str, object]:
        kind = self._allow(identity, "publish", channel)
        key = None if idempotency_key is None else (*identity.scope, channel, idempotency_key)
        return await self.broker.publish(Publication(identity.tenant, channel, kind, event, {"data": data}, key))

    async def chat(self, connection: Connection, channel: str, text: str) -> dict[str, object]:
        kind = self._allow(connection.identity, "chat", channel)
        body = {"client_id": connection.id, "user_id": connection.user_id, "message": text}
        said = await self.broker.publish(Publication(connection.tenant, channel, kind, "chat_message", body))
        return {"channel": channel, "seq": said["seq"], "epoch": said["epoch"]}

    async def announce(self, channel: str, event: str, data: Mapping[str, object]) -> None:
        """What the server itself publishes: to every tenant where the class is shared. Nobody's rights are asked."""
        try:
            await self.broker.publish(self.publication(channel, event, data))
        except LimitExceeded:
            log.warning("no room for a channel of a feed", channel=channel)

    def publication(self, channel: str, event: str, data: object) -> Publication:
        """Of nobody's, and no tenant's. Raises Forbidden for a name that no class has."""
        return Publication(None, channel, self._catalogue.find(channel), event, {"data": data})

    async def who(self, connection: Connection, channel: str) -> dict[str, object]:
        """Users, the longest there first; not all of many. For subscribers only."""
        entered = room(connection.tenant, channel)
        if not self._catalogue.find(channel).presence or entered not in connection.rooms:
            raise Forbidden(f"You may not see who is in {channel!r}")
        users = await self.presence.users(entered)
        return {"channel": channel, "users": users[:MAX_USERS], "count": len(users)}

    async def came_back(self, connection: Connection) -> None:
        """After a drop: into the rooms that it was in, under a token that may allow less."""
        await self.review(connection)
        for entered, channel in self._subscriptions(connection):
            if self._catalogue.find(channel).presence:
                await self.presence.enter(entered, connection)

    async def review(self, connection: Connection) -> list[str]:
        """Ends the subscriptions that a connection's new identity does not allow, and says which."""
        ended = []
        for entered, channel in self._subscriptions(connection):
            if not self._catalogue.find(channel).allows(connection.identity, "subscribe", channel):
                await self._leave(connection, entered)
                ended.append(channel)
        return sorted(ended)

    def _subscriptions(self, connection: Connection) -> list[tuple[str, str]]:
        """Rooms, and the channel of each."""
        prefix = room(connection.tenant, "")
        return [(each, each.removeprefix(prefix)) for each in connection.rooms if each.startswith(prefix)]

    async def _leave(self, connection: Connection, entered: str) -> bool:
        await self.presence.leave(entered, connection)
        return await self._rooms.leave(connection, entered)

    def _allow(self, identity: Identity, action: Action, channel: str) -> ChannelClass:
        kind = self._catalogue.find(channel)
        if not kind.allows(identity, action, channel):
            raise Forbidden(f"You may not {_VERBS[action]} {channel!r}")
        return kind


def _named(channel: str | None, purpose: str) -> str:
    if channel is None:
        message = f"Channel name required for {purpose}"  # as in the seed, to the letter
        raise InvalidMessage(message, details={"channel": [message]})
    return channel
