"""The events of /trading (SPEC §5). What they mean is `service.py`'s."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from server.errors import ConfigError, Forbidden
from server.namespaces.trading import catalogue, schemas
from server.namespaces.trading.catalogue import Catalogue
from server.namespaces.trading.feeds import replay
from server.namespaces.trading.feeds.broadcast import Feed, broadcast, channels
from server.namespaces.trading.service import TradingService
from server.realtime import schema
from server.realtime.connection import Connection
from server.realtime.namespace import Namespace, event

SAMPLE = Path("feeds", "krx-sample.csv")


class TradingNamespace(Namespace):
    path = "/trading"

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        feed: Feed | None = None,
        max_channels: int = 10_000,
        require_auth: bool = True,
    ) -> None:
        super().__init__(require_auth=require_auth)
        self._service = TradingService(self, catalogue, max_channels=max_channels)
        self._feed = feed

    async def start(self) -> None:
        if self._feed is not None:
            self.spawn(broadcast(self._feed, self._service.announce), "feed")

    async def recovered(self, connection: Connection) -> None:
        """Its new token may have fewer roles."""
        await self._service.review(connection)

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
    return TradingNamespace(classes, feed=played, max_channels=max_channels, require_auth=require_auth)
