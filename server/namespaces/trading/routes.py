"""Trading's HTTP API: its routes and their schemas. What they mean is the services' business, as that of events is."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from server.http.api import Api, Reply, endpoint
from server.identity import Identity
from server.namespaces.trading import bodies, schemas
from server.namespaces.trading.groups import HEAD, Groups
from server.namespaces.trading.service import TradingService
from server.namespaces.trading.statistics import Statistics
from server.realtime.schema import Shape

NAMESPACE = "/trading"
CHANNELS = "/api/channels"
CHANNEL = "/api/channels/{channel}"
GROUP = "/api/groups/{name}"
MEMBER = "/api/groups/{name}/members/{user_id}"

Answer = Mapping[str, object]

_NAME = Shape(schemas.Channel())


def routes(service: TradingService, statistics: Statistics, api: Api) -> list[web.RouteDef]:
    return api.routes(NAMESPACE, PublishRoutes(service), StatisticsRoutes(statistics), GroupRoutes(service.groups))


class PublishRoutes:
    def __init__(self, service: TradingService) -> None:
        self._service = service

    @endpoint("POST", CHANNEL + "/messages", body=bodies.Publish, status=201)
    async def to_channel(
        self,
        identity: Identity,
        channel: str,
        type: str,
        data: object,
        idempotency_key: str | None,
        messages: list[object] | None,
    ) -> Answer | Reply:
        return await self._publish(identity, channel, type, data, idempotency_key, messages)

    @endpoint("POST", "/api/users/{user_id}/messages", body=bodies.Publish, status=201)
    async def to_user(
        self,
        identity: Identity,
        user_id: str,
        type: str,
        data: object,
        idempotency_key: str | None,
        messages: list[object] | None,
    ) -> Answer | Reply:
        return await self._publish(identity, f"user:{user_id}", type, data, idempotency_key, messages)

    async def _publish(
        self,
        identity: Identity,
        channel: str,
        event: str,
        data: object,
        key: str | None,
        messages: list[object] | None,
    ) -> Answer | Reply:
        """A receipt, or for a batch 207 and what became of each."""
        name = _named(channel)
        if messages is None:
            return await self._service.publish(identity, name, event, data, key)
        return Reply(
            HTTPStatus.MULTI_STATUS, {"results": await self._service.publish_all(identity, name, messages, key)}
        )


class StatisticsRoutes:
    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    @endpoint("GET", CHANNELS, query=bodies.ChannelsQuery)
    async def channels(self, identity: Identity, prefix: str, after: str, limit: int) -> Answer:
        return await self._statistics.channels(identity, prefix, after, limit)

    @endpoint("GET", CHANNEL)
    async def channel(self, identity: Identity, channel: str) -> Answer:
        return await self._statistics.channel(identity, _named(channel))

    @endpoint("GET", "/api/trading/stats")
    async def stats(self, identity: Identity) -> Answer:
        return await self._statistics.stats(identity)

    @endpoint("GET", "/api/trading/clients/{client_id}")
    async def client(self, identity: Identity, client_id: str) -> Answer:
        return await self._statistics.client(identity, client_id)


class GroupRoutes:
    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    @endpoint("GET", GROUP, query=bodies.MembersQuery)
    async def members(self, identity: Identity, name: str, after: str, limit: int) -> Answer:
        return await self._groups.members(identity, _group(name), after, limit)

    @endpoint("PUT", MEMBER)
    async def add(self, identity: Identity, name: str, user_id: str) -> Answer:
        return await self._groups.add(identity, _group(name), user_id)

    @endpoint("DELETE", MEMBER)
    async def remove(self, identity: Identity, name: str, user_id: str) -> Answer:
        return await self._groups.remove(identity, _group(name), user_id)


def _named(channel: str) -> str:
    """Raises InvalidMessage for what no channel is called."""
    name: str = _NAME.load({"channel": channel})["channel"]
    return name


def _group(name: str) -> str:
    """As `_named`, of its channel."""
    return _named(HEAD + name).removeprefix(HEAD)
