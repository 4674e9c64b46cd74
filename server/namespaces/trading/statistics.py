"""What there is to know of channels, clients and nodes, over all nodes, as in the trading seed. It changes nothing.

An admin outside any tenant looks after the server and sees all its clients, one of a tenant those of the tenant.
Channels are always of one's own tenant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from server.errors import Forbidden, NotFound
from server.identity import Identity
from server.namespaces.trading.broker import Broker
from server.namespaces.trading.catalogue import Catalogue, ChannelClass
from server.namespaces.trading.channels import ChannelState, room
from server.namespaces.trading.groups import ADMIN, Groups
from server.realtime.connection import Connection
from server.realtime.others import Body, Others
from server.timestamps import iso_utc

MAX_IDS = 1000  # of a channel's subscribers
MAX_CHANNELS = 10_000  # that a node names

COUNTED = "trading stats"
SUBSCRIBERS = "trading subscribers"
CLIENT = "trading client"

COUNTERS = ("total_connections", "messages_sent", "messages_received", "errors")

Answer = dict[str, object]


class Node(Protocol):
    """This one; its `connections` are those to trading."""

    @property
    def node_name(self) -> str: ...

    @property
    def counters(self) -> Mapping[str, int]:
        """COUNTERS of the whole process."""

    @property
    def connections(self) -> Sequence[Connection]: ...

    def connection(self, connection_id: str) -> Connection | None: ...

    def members(self, room: str) -> Sequence[Connection]: ...

    def pinged_at(self, connection: Connection) -> str | None:
        """When its application asked for a pong last, and was given it."""


class Service(Protocol):
    @property
    def broker(self) -> Broker: ...

    @property
    def groups(self) -> Groups: ...


class Statistics:
    def __init__(self, node: Node, catalogue: Catalogue, service: Service, others: Others) -> None:
        self._node = node
        self._catalogue = catalogue
        self._service = service
        self._others = others
        others.on(COUNTED, self._counted_here)
        others.on(SUBSCRIBERS, self._subscribers_here)
        others.on(CLIENT, self._client_here)

    # -- channels -----------------------------------------------------------------------------------------------

    async def channel(self, identity: Identity, channel: str) -> Answer:
        """Raises Forbidden for one that may not be subscribed to, whether or not it is there."""
        kind = self._catalogue.find(channel)
        member = await self._member(identity, kind)
        if not _may_see(member, kind, channel):
            raise Forbidden(f"You may not see {channel!r}")
        state = await self._service.broker.state(identity.tenant, channel)
        shown = _shown(kind, channel, state)
        if _sees_ids(member, kind, channel):
            body = {"tenant": identity.tenant, "channel": channel}
            answers = [await self._subscribers_here(body), *await self._others.ask_all(SUBSCRIBERS, body)]
            shown["subscribers"] = sorted(id for each in answers for id in each["ids"])[:MAX_IDS]
        return shown

    async def channels(self, identity: Identity, prefix: str, after: str, limit: int) -> Answer:
        """Those that one may subscribe to, by name, without their subscribers; `next` is what to go on after, null at
        the end."""
        broker = self._service.broker
        visible = self._catalogue.visible(await self._service.groups.looked_up(identity))
        found: list[ChannelState] = []
        if prefix > after:
            exactly = await broker.state(identity.tenant, prefix) if prefix in visible else None
            found += [] if exactly is None else [exactly]
            after = prefix
        found += await broker.states(identity.tenant, visible, after, limit + 1)
        shown = [each for each in found if each.channel.startswith(prefix)]
        return {
            "channels": [_shown(self._catalogue.find(each.channel), each.channel, each) for each in shown[:limit]],
            "next": shown[limit - 1].channel if len(shown) > limit else None,
        }

    async def _member(self, identity: Identity, kind: ChannelClass) -> Identity:
        return await self._service.groups.looked_up(identity) if kind.group else identity

    async def _subscribers_here(self, body: Body) -> Body:
        """By its own name, as they are counted."""
        members = self._node.members(room(body["tenant"], body["channel"]))
        return {"ids": [each.id for each in members[:MAX_IDS]]}

    # -- for admins ---------------------------------------------------------------------------------------------

    async def stats(self, identity: Identity) -> Answer:
        """What the whole process has counted is for who looks after it. Raises Forbidden."""
        _check_admin(identity)
        body = {"everywhere": identity.tenant is None, "tenant": identity.tenant}
        nodes = [await self._counted_here(body), *await self._others.ask_all(COUNTED, body)]
        summed = _sum(nodes)
        return {**summed, "nodes": {each["node"]: _sum([each]) for each in nodes}}

    async def _counted_here(self, body: Body) -> Body:
        connections = [each for each in self._node.connections if body["everywhere"] or each.tenant == body["tenant"]]
        channels = {room for each in connections for room in each.rooms if room.startswith("channel:")}
        return {
            "node": self._node.node_name,
            "counters": dict(self._node.counters) if body["everywhere"] else {},
            "active_connections": len(connections),
            "channels": sorted(channels)[:MAX_CHANNELS],
            "users": sorted({repr(each.identity.scope) for each in connections}),
        }

    async def client(self, identity: Identity, client_id: str) -> Mapping[str, object]:
        """On whichever node it is. Raises Forbidden, NotFound."""
        _check_admin(identity)
        body = {"client_id": client_id, "everywhere": identity.tenant is None, "tenant": identity.tenant}
        found = await self._client_here(body)
        for each in () if found else await self._others.ask_all(CLIENT, body):
            found = found or each
        if not found:
            raise NotFound("No such client is connected")
        return found

    async def _client_here(self, body: Body) -> Body:
        connection = self._node.connection(body["client_id"])
        if connection is None or not (body["everywhere"] or connection.tenant == body["tenant"]):
            return {}
        prefix, identity = room(connection.tenant, ""), connection.identity
        pinged_at = self._node.pinged_at(connection)
        return {
            "client_id": connection.id,
            "user_id": connection.user_id,
            "channels": sorted(each.removeprefix(prefix) for each in connection.rooms if each.startswith(prefix)),
            "state": "connected",
            "last_ping": pinged_at,
            "last_pong": pinged_at,
            "metadata": {
                "tenant": connection.tenant,
                "username": identity.username,
                "roles": sorted(identity.roles),
                "address": connection.address,
                "connected_at": iso_utc(datetime.fromtimestamp(connection.connected_at, UTC)),
                "node": self._node.node_name,
            },
        }


def _check_admin(identity: Identity) -> None:
    """Raises Forbidden."""
    if not identity.has_role(ADMIN):
        raise Forbidden


def _sees_ids(identity: Identity, kind: ChannelClass, channel: str) -> bool:
    return identity.has_role(ADMIN) or kind.allows(identity, "publish", channel)


def _may_see(identity: Identity, kind: ChannelClass, channel: str) -> bool:
    return kind.allows(identity, "subscribe", channel) or _sees_ids(identity, kind, channel)


def _shown(kind: ChannelClass, channel: str, state: ChannelState | None) -> Answer:
    return {
        "channel": channel,
        "subscriber_count": 0 if state is None else state.subscribers,
        "seq": 0 if state is None else state.seq,
        "epoch": None if state is None else state.epoch,
        "last_published": None
        if state is None or state.last_published is None
        else iso_utc(datetime.fromtimestamp(state.last_published, UTC)),
        "history": {
            "held": 0 if state is None else state.held,
            "count": kind.history_count,
            "seconds": kind.history_seconds,
        },
        "conflated": kind.conflate_key is not None,
        "priority": kind.priority,
        "presence": kind.presence,
    }


def _sum(nodes: Sequence[Mapping[str, Any]]) -> Answer:
    """What is the same on two nodes counts once."""
    counted = [each["counters"] for each in nodes if each["counters"]]
    return {
        **{name: sum(each[name] for each in counted) for name in COUNTERS if counted},
        "active_connections": sum(each["active_connections"] for each in nodes),
        "channels": len({channel for each in nodes for channel in each["channels"]}),
        "users_with_connections": len({user for each in nodes for user in each["users"]}),
    }
