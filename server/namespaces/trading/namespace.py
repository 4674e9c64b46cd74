"""The events of /trading (SPEC §5). What they mean is `service.py`'s."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from server.errors import ConfigError, Forbidden
from server.namespaces.trading import catalogue, schemas
from server.namespaces.trading.catalogue import Catalogue
from server.namespaces.trading.cluster import ClusterBroker
from server.namespaces.trading.feeds import replay
from server.namespaces.trading.feeds.broadcast import Feed, broadcast, channels
from server.namespaces.trading.service import TradingService
from server.realtime import schema
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.outside import Sighting
from server.realtime.connection import Connection
from server.realtime.leases import Lease, SoleLease
from server.realtime.namespace import Namespace, event
from server.realtime.presence import Presence

SAMPLE = Path("feeds", "krx-sample.csv")


class TradingNamespace(Namespace):
    path = "/trading"

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        feed: Feed | None = None,
        lease: Lease | None = None,
        presence: Presence | None = None,
        max_channels: int = 10_000,
        require_auth: bool = True,
    ) -> None:
        """`lease`: to play the feed, which one node does."""
        super().__init__(require_auth=require_auth)
        self._service = TradingService(self, catalogue, presence=presence, max_channels=max_channels)
        self._max_channels = max_channels
        self._feed = feed
        self._lease = lease or SoleLease()
        self._cluster: ClusterBroker | None = None

    async def start(self) -> None:
        manager = self.server.manager
        if isinstance(manager, ClusterFanout):
            self._cluster = ClusterBroker(self, manager, self.path, most=self._max_channels)
            self._service.broker = self._cluster
        self.spawn(self._service.presence.serve(), "presence")
        if (feed := self._feed) is not None:
            self.spawn(self._lease.hold(lambda: broadcast(feed, self._announce)), "feed")

    async def _announce(self, channel: str, event: str, data: Mapping[str, object]) -> None:
        if self._lease.held:  # else another node plays the feed
            await self._service.announce(channel, event, data)

    async def stop(self) -> None:
        await self._service.presence.close()

    async def enter(self, connection: Connection, room: str) -> None:
        await super().enter(connection, room)
        self._count([room])

    async def leave(self, connection: Connection, room: str) -> bool:
        was_in = await super().leave(connection, room)
        self._count([room])
        return was_in

    async def recovered(self, connection: Connection) -> None:
        self._count(connection.rooms)
        await self._service.came_back(connection)

    async def left(self, connection: Connection, rooms_left: Collection[str], reason: str) -> None:
        self._count(rooms_left)
        await self._service.presence.drop(connection)

    def _count(self, rooms: Collection[str]) -> None:
        if self._cluster is not None:
            self._cluster.counted({room: len(self.members(room)) for room in rooms})

    async def publish_seen(self, channel: str, message: bytes, sighting: Sighting) -> None:
        """What somebody outside published in Redis: `{type?, data}`, or an object that is the data. Raises ValueError
        or an AtriumError for what is no use."""
        if self._cluster is not None:
            event, data = schemas.published(channel, message)
            await self._cluster.publish_seen(self._service.publication(channel, event, data), sighting)

    @event("subscribe", schemas.Subscribe)
    async def subscribe(
        self, connection: Connection, channel: str | None, since: schemas.Since | None
    ) -> Mapping[str, object]:
        return await self._service.subscribe(connection, channel, since)

    @event("unsubscribe", schemas.Unsubscribe)
    async def unsubscribe(self, connection: Connection, channel: str | None) -> Mapping[str, object]:
        return await self._service.unsubscribe(connection, channel)

    @event("publish", schemas.Publish)
    async def publish(
        self, connection: Connection, channel: str, type: str, data: object, idempotency_key: str | None
    ) -> Mapping[str, object]:
        return await self._service.publish(connection.identity, channel, type, data, idempotency_key)

    @event("chat_message", schemas.ChatMessage, rate="messages")
    async def chat_message(self, connection: Connection, channel: str, message: str) -> Mapping[str, object]:
        return await self._service.chat(connection, channel, message)

    @event("presence", schemas.Presence)
    async def presence(self, connection: Connection, channel: str) -> Mapping[str, object]:
        return await self._service.who(connection, channel)

    @event("authenticate", schema.Authenticate)
    async def authenticate(self, connection: Connection, token: str) -> Mapping[str, object]:
        """A fresh token may have fewer roles: `unsubscribed` says which channels that cost."""
        result = await super().authenticate(connection, token)
        ended = await self._service.review(connection)
        return {**(result or {}), **({"unsubscribed": ended} if ended else {})}


def build(
    config: Path,
    *,
    feed: str = "replay",
    feed_speed: float = 1.0,
    lease: Lease | None = None,
    presence: Presence | None = None,
    max_channels: int = 10_000,
    require_auth: bool = True,
) -> TradingNamespace:
    """Reads `config`'s files. Raises ConfigError."""
    classes = catalogue.load(config / catalogue.FILE)
    played = replay.Replay(replay.read(config / SAMPLE), speed=feed_speed) if feed == "replay" else None
    for channel in sorted(channels(played)) if played is not None else ():
        try:
            classes.find(channel)
        except Forbidden:
            raise ConfigError(
                f"{config / catalogue.FILE}: no channel class for {channel!r}, which has a feed"
            ) from None
    return TradingNamespace(
        classes, feed=played, lease=lease, presence=presence, max_channels=max_channels, require_auth=require_auth
    )
