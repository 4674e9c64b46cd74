"""The events of /trading (SPEC §5). What they mean is `service.py`'s."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from server.errors import ConfigError, Forbidden
from server.namespaces.trading import catalogue, schemas, told
from server.namespaces.trading.catalogue import Catalogue
from server.namespaces.trading.cluster import ClusterBroker
from server.namespaces.trading.feeds import FEEDS, Build, FeedOptions
from server.namespaces.trading.feeds.broadcast import Feed, broadcast, channels
from server.namespaces.trading.service import TradingService
from server.namespaces.trading.statistics import COUNTERS, Statistics
from server.realtime import schema
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.outside import Sighting
from server.realtime.connection import Connection
from server.realtime.events import event
from server.realtime.leases import Lease, SoleLease
from server.realtime.namespace import Namespace
from server.realtime.others import NoOthers, Others
from server.realtime.presence import Presence
from server.realtime.told import PongAck
from server.storage.database import Database
from server.timestamps import iso_utc

NO_FEED = "none"


class TradingNamespace(Namespace):
    path = "/trading"
    tells = told.TELLS

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        database: Database | None = None,
        others: Others | None = None,
        feed: Feed | None = None,
        lease: Lease | None = None,
        presence: Presence | None = None,
        max_channels: int = 10_000,
        require_auth: bool = True,
    ) -> None:
        """`lease`: to play the feed, which one node does. Without a `database` groups are those of tokens' roles."""
        super().__init__(require_auth=require_auth)
        others = others or NoOthers()
        self.service = TradingService(
            self, catalogue, database=database, others=others, presence=presence, max_channels=max_channels
        )
        self.statistics = Statistics(self, catalogue, self.service, others)
        self._max_channels = max_channels
        self._feed = feed
        self._lease = lease or SoleLease()
        self._cluster: ClusterBroker | None = None
        self._pinged: dict[str, str] = {}  # by connection

    async def start(self) -> None:
        manager = self.server.manager
        if isinstance(manager, ClusterFanout):
            self._cluster = ClusterBroker(
                self, manager, self.path, following=self.service.following, most=self._max_channels
            )
            self.service.broker = self._cluster
        self.spawn(self.service.presence.serve(), "presence")
        self.spawn(self.service.groups.serve(), "groups")
        if (feed := self._feed) is not None:
            self.spawn(self._lease.hold(lambda: broadcast(feed, self._announce)), "feed")

    async def _announce(self, channel: str, event: str, data: Mapping[str, object]) -> None:
        if self._lease.held:  # else another node plays the feed
            await self.service.announce(channel, event, data)

    async def stop(self) -> None:
        await self.service.presence.close()

    async def enter(self, connection: Connection, room: str) -> None:
        await super().enter(connection, room)
        await self._count([room])

    async def leave(self, connection: Connection, room: str) -> bool:
        was_in = await super().leave(connection, room)
        await self._count([room])
        return was_in

    async def greet(self, connection: Connection, *, recovered: bool) -> None:
        """From here on it hears what its groups are told."""
        await self.service.came(connection)
        await super().greet(connection, recovered=recovered)

    async def recovered(self, connection: Connection) -> None:
        await self._count(connection.rooms)
        await self.service.came_back(connection)

    async def left(self, connection: Connection, rooms_left: Collection[str], reason: str) -> None:
        await self._count(rooms_left)
        self._pinged.pop(connection.id, None)
        await self.service.left(connection)

    async def _count(self, rooms: Collection[str]) -> None:
        if self._cluster is not None:
            await self._cluster.counted({room: len(self.members(room)) for room in rooms})

    # -- what statistics ask ------------------------------------------------------------------------------------

    @property
    def node_name(self) -> str:
        return "local" if self.server.node is None else self.server.node.id

    @property
    def counters(self) -> Mapping[str, int]:
        return {name: getattr(self.server.statistics, name) for name in COUNTERS}

    def pinged_at(self, connection: Connection) -> str | None:
        return self._pinged.get(connection.id)

    # -- events -------------------------------------------------------------------------------------------------

    async def publish_seen(self, channel: str, message: bytes, sighting: Sighting) -> None:
        """What somebody outside published in Redis: `{type?, data}`, or an object that is the data. Raises ValueError
        or an AtriumError for what is no use."""
        if self._cluster is not None:
            event, data = schemas.published(channel, message)
            await self._cluster.publish_seen(self.service.publication(channel, event, data), sighting)

    def audience(self, channel: str) -> Collection[str]:
        """The rooms of what is said on a channel, or on all of a class, outside any tenant."""
        return self.service.audience(channel)

    @event("subscribe", schemas.Subscribe, ack=told.Subscribed)
    async def subscribe(
        self, connection: Connection, channel: str | None, since: schemas.Since | None
    ) -> Mapping[str, object]:
        """Hears of a channel, or by a pattern of all channels of a class, from here on; `since` is the last message
        that was seen."""
        return await self.service.subscribe(connection, channel, since)

    @event("unsubscribe", schemas.Unsubscribe, ack=told.UnsubscribedAck)
    async def unsubscribe(self, connection: Connection, channel: str | None) -> Mapping[str, object]:
        """Hears of the channel no more."""
        return await self.service.unsubscribe(connection, channel)

    @event("publish", schemas.Publish, ack=told.Receipt)
    async def publish(
        self, connection: Connection, channel: str, type: str, data: object, idempotency_key: str | None
    ) -> Mapping[str, object]:
        """On a channel that allows it. Sent again with the same `idempotency_key` it is published once."""
        return await self.service.publish(connection.identity, channel, type, data, idempotency_key)

    @event("chat_message", schemas.ChatMessage, rate="messages", ack=told.ChatReceipt)
    async def chat_message(
        self, connection: Connection, channel: str, message: str, client_id: str | None
    ) -> Mapping[str, object]:
        """To all who subscribed to the channel."""
        return await self.service.chat(connection, channel, message, client_id)

    @event("presence", schemas.Channel, ack=told.Presence)
    async def presence(self, connection: Connection, channel: str) -> Mapping[str, object]:
        """Who is subscribed to a channel that one has subscribed to oneself."""
        return await self.service.who(connection, channel)

    @event("stats", ack=told.Stats)
    async def stats(self, connection: Connection) -> Mapping[str, object]:
        """Of all nodes, for admins."""
        return await self.statistics.stats(connection.identity)

    @event("channel_info", schemas.Channel, ack=told.ChannelInfo)
    async def channel_info(self, connection: Connection, channel: str) -> Mapping[str, object]:
        """What there is to know of a channel."""
        return await self.statistics.channel(connection.identity, channel)

    @event("client_info", schemas.Client, ack=told.ClientInfo)
    async def client_info(self, connection: Connection, client_id: str) -> Mapping[str, object]:
        """What there is to know of a connection, for admins."""
        return await self.statistics.client(connection.identity, client_id)

    @event("ping", schema.Ping, ack=PongAck)
    async def ping(self, connection: Connection, timestamp: object) -> Mapping[str, object]:
        """Is answered by `pong`, and in the ack."""
        self._pinged[connection.id] = iso_utc()
        return await super().ping(connection, timestamp) or {}

    @event("authenticate", schema.Authenticate, ack=told.AuthenticatedAck)
    async def authenticate(self, connection: Connection, token: str) -> Mapping[str, object]:
        """A fresh token for the same user and tenant keeps the connection; `unsubscribed`: which channels it cost."""
        result = await super().authenticate(connection, token)
        ended = await self.service.renewed(connection)
        return {**(result or {}), **({"unsubscribed": ended} if ended else {})}


def build(
    config: Path,
    *,
    database: Database | None = None,
    others: Others | None = None,
    feed: str = "replay",
    feed_speed: float = 1.0,
    feed_seed: int = 0,
    feeds: Mapping[str, Build] | None = None,
    more_classes: Sequence[tuple[str, str, Mapping[str, object]]] = (),
    lease: Lease | None = None,
    presence: Presence | None = None,
    max_channels: int = 10_000,
    require_auth: bool = True,
) -> TradingNamespace:
    """Reads `config`'s files. `feeds`, and `more_classes` as `catalogue.load` takes them, are there beside ours. Raises
    ConfigError."""
    path = config / catalogue.FILE
    classes = catalogue.load(path, more_classes)
    played = _played(feed, {**FEEDS, **(feeds or {})}, FeedOptions(config, feed_speed, feed_seed))
    for channel in sorted(channels(played)) if played is not None else ():
        try:
            classes.find(channel)
        except Forbidden:
            raise ConfigError(f"{path}: no channel class for {channel!r}, which has a feed") from None
    return TradingNamespace(
        classes,
        database=database,
        others=others,
        feed=played,
        lease=lease,
        presence=presence,
        max_channels=max_channels,
        require_auth=require_auth,
    )


def _played(name: str, feeds: Mapping[str, Build], options: FeedOptions) -> Feed | None:
    if name == NO_FEED:
        return None
    if name not in feeds:
        raise ConfigError(f"TRADING_FEED: there is no feed {name!r}, only {', '.join([NO_FEED, *sorted(feeds)])}")
    return feeds[name](options)
