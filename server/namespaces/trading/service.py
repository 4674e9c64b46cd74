"""The rules of channels: who subscribes, who publishes, what a message reaches. How bytes travel is the delivery's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import structlog

from server.errors import AtriumError, Forbidden, InvalidMessage, LimitExceeded
from server.identity import Identity
from server.namespaces.trading import broker, groups, schemas
from server.namespaces.trading.broker import Broker, MemoryBroker, Publication
from server.namespaces.trading.catalogue import Action, Catalogue, ChannelClass
from server.namespaces.trading.channels import audience, room, wildcard_room
from server.namespaces.trading.groups import Groups
from server.namespaces.trading.newest import Newest
from server.namespaces.trading.schemas import NO_WILDCARD, WILDCARD, Since
from server.realtime.connection import Connection
from server.realtime.others import NoOthers, Others
from server.realtime.presence import MemoryPresence, Presence
from server.realtime.schema import Shape
from server.storage.database import Database

log = structlog.get_logger(__name__)

MAX_USERS = 1000  # named in one ack
MESSAGES_A_TURN = 250  # of a batch: no turn of the loop puts more into readers' outboxes than they hold

_VERBS: Mapping[Action, str] = {
    "subscribe": "subscribe to",
    "publish": "publish on",
    "chat": "send chat messages to",
}
_MESSAGE = Shape(schemas.Message())


class Rooms(broker.Rooms, groups.Rooms, Protocol):
    """Delivery, and who is in which room; as `namespace.Namespace` has them."""


class TradingService:
    def __init__(
        self,
        rooms: Rooms,
        catalogue: Catalogue,
        *,
        database: Database | None = None,
        others: Others | None = None,
        presence: Presence | None = None,
        max_channels: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Of one node by itself; another `broker` may be put in its place before there are clients."""
        self._rooms = rooms
        self._catalogue = catalogue
        self.broker: Broker = MemoryBroker(rooms, most=max_channels, clock=clock)
        self._newest = Newest(lambda tenant, kind: self.broker.newest(tenant, kind), clock=clock)
        self.presence = presence or MemoryPresence(clock=clock)
        self.groups = Groups(database, rooms, catalogue, others or NoOthers(), self._regroup)

    async def subscribe(self, connection: Connection, channel: str | None, since: Since | None) -> dict[str, object]:
        """The ack. What it holds and the events with a higher `seq` are together every message, each once."""
        channel = _named(channel, "subscription")
        kind = await self._allow(connection.identity, "subscribe", channel)
        entered = room(connection.tenant, channel)
        await self._rooms.enter(connection, entered)
        if kind.presence and WILDCARD not in channel:
            await self.presence.enter(entered, connection)
        try:
            if WILDCARD in channel:
                return await self._whole_class(connection, channel, kind, since)
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

    async def _whole_class(
        self, connection: Connection, pattern: str, kind: ChannelClass, since: Since | None
    ) -> dict[str, object]:
        """Each channel has a `seq` of its own, so there is none to go on from."""
        newest = await self._newest.read(connection.tenant, kind)
        return {
            "channel": pattern,
            "success": True,
            "seq": None,
            "epoch": None,
            **({} if since is None else {"recovered": False}),
            "channels": {name: {"seq": view.seq, "epoch": view.epoch} for name, view in newest},
            "snapshot": [message for _, view in newest for message in view.messages],
        }

    async def unsubscribe(self, connection: Connection, channel: str | None) -> dict[str, object]:
        channel = _named(channel, "unsubscription")
        return {"channel": channel, "success": await self._leave(connection, room(connection.tenant, channel))}

    async def publish(
        self, identity: Identity, channel: str, event: str, data: object, idempotency_key: str | None
    ) -> Mapping[str, object]:
        kind = await self._allow(identity, "publish", channel)
        return await self._publish(identity, channel, kind, event, data, idempotency_key)

    async def publish_all(
        self, identity: Identity, channel: str, messages: Sequence[object], key: str | None
    ) -> list[dict[str, object]]:
        """What became of each, in their order, with the `status` that it would have alone. They are published in their
        order. A message without an idempotency key of its own has the `key` with its number."""
        kind = await self._allow(identity, "publish", channel)

        async def publish(number: int, message: object) -> dict[str, object]:
            try:
                loaded = _MESSAGE.load(message)
                own = loaded["idempotency_key"] or (None if key is None else f"{key}:{number}")
                said = await self._publish(identity, channel, kind, loaded["type"], loaded["data"], own)
            except AtriumError as error:
                return {"status": error.http_status, "error": error.to_wire()}
            return {"status": 201, **said}

        results: list[dict[str, object]] = []
        for first in range(0, len(messages), MESSAGES_A_TURN):
            some = enumerate(messages[first : first + MESSAGES_A_TURN], first)
            results += await asyncio.gather(*(publish(number, message) for number, message in some))
        return results

    async def _publish(
        self, identity: Identity, channel: str, kind: ChannelClass, event: str, data: object, key: str | None
    ) -> Mapping[str, object]:
        receipt = None if key is None else (*identity.scope, channel, key)
        return await self.broker.publish(Publication(identity.tenant, channel, kind, event, {"data": data}, receipt))

    async def chat(
        self, connection: Connection, channel: str, text: str, client_id: str | None = None
    ) -> dict[str, object]:
        kind = await self._allow(connection.identity, "chat", channel)
        body = {"client_id": client_id or connection.id, "user_id": connection.user_id, "message": text}
        said = await self.broker.publish(Publication(connection.tenant, channel, kind, "chat_message", body))
        return {"channel": channel, "seq": said["seq"], "epoch": said["epoch"]}

    async def announce(self, channel: str, event: str, data: Mapping[str, object]) -> None:
        """What the server itself publishes: to every tenant where the class is shared. Nobody's rights are asked."""
        try:
            await self.broker.publish(self.publication(channel, event, data))
        except LimitExceeded:
            log.warning("no room for a channel of a feed", channel=channel)

    def audience(self, channel: str) -> Collection[str]:
        """The rooms of what is said on a channel, or on all of a class, outside any tenant."""
        if (whole := self._catalogue.find_wildcard(channel)) is not None:
            return (wildcard_room(None, whole),)
        try:
            return audience(None, channel, self._catalogue.find(channel))
        except Forbidden:
            return (room(None, channel),)

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

    def following(self) -> list[tuple[str, str, ChannelClass]]:
        """Tenants' subscriptions to channels, and classes, that are shared; each once."""
        found = {
            (connection.tenant, channel): self._configured(channel)
            for connection in self._rooms.connections
            if connection.tenant is not None
            for _, channel in self._subscriptions(connection)
        }
        return [
            (tenant, channel, kind) for (tenant, channel), kind in found.items() if kind is not None and kind.shared
        ]

    # -- those who come and go ----------------------------------------------------------------------------------

    async def came(self, connection: Connection) -> None:
        await self.groups.came(connection)

    async def came_back(self, connection: Connection) -> None:
        """After a drop: into the rooms that it was in, under a token that may allow less."""
        await self.groups.came(connection)
        await self._regroup(connection)
        for entered, channel in self._subscriptions(connection):
            if WILDCARD not in channel and self._catalogue.find(channel).presence:
                await self.presence.enter(entered, connection)

    async def left(self, connection: Connection) -> None:
        self.groups.left(connection)
        await self.presence.drop(connection)

    async def renewed(self, connection: Connection) -> list[str]:
        """It has a new token, of the same user: the subscriptions that ended by it."""
        await self.groups.came(connection)
        return await self.review(connection)

    async def review(self, connection: Connection) -> list[str]:
        """Ends the subscriptions that a connection's new identity does not allow, and says which."""
        member = self.groups.member(connection.identity)
        ended = []
        for entered, channel in self._subscriptions(connection):
            kind = self._configured(channel)
            if kind is None or not kind.allows(member, "subscribe", channel):
                await self._leave(connection, entered)
                ended.append(channel)
        return sorted(ended)

    async def _regroup(self, connection: Connection) -> None:
        """The client did not ask, so it is told."""
        for channel in await self.review(connection):
            await self._rooms.emit("unsubscribed", {"channel": channel}, room=connection.id)

    def _subscriptions(self, connection: Connection) -> list[tuple[str, str]]:
        """Rooms, and the channel of each, or the pattern that a whole class goes by."""
        prefix = room(connection.tenant, "")
        return [(each, each.removeprefix(prefix)) for each in connection.rooms if each.startswith(prefix)]

    async def _leave(self, connection: Connection, entered: str) -> bool:
        await self.presence.leave(entered, connection)
        return await self._rooms.leave(connection, entered)

    async def _allow(self, identity: Identity, action: Action, channel: str) -> ChannelClass:
        kind = self._kind(channel)
        if kind.allows(identity, action, channel):
            return kind
        if kind.group and kind.allows(await self.groups.looked_up(identity), action, channel):
            return kind
        raise Forbidden(f"You may not {_VERBS[action]} {channel!r}")

    def _configured(self, channel: str) -> ChannelClass | None:
        """None for a room from a node whose configuration was another."""
        try:
            return self._kind(channel)
        except (Forbidden, InvalidMessage):
            return None

    def _kind(self, channel: str) -> ChannelClass:
        """Of a channel, or the class that goes by this pattern. Raises Forbidden, InvalidMessage."""
        if WILDCARD not in channel:
            return self._catalogue.find(channel)
        kind = self._catalogue.find_wildcard(channel)
        if kind is None:
            raise InvalidMessage(details={"channel": [NO_WILDCARD]})
        return kind


def _named(channel: str | None, purpose: str) -> str:
    if channel is None:
        message = f"Channel name required for {purpose}"  # as in the seed, to the letter
        raise InvalidMessage(message, details={"channel": [message]})
    return channel
