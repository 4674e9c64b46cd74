"""How the server is, for administrators: nodes, rooms, figures, alerts; and what is said to everybody (SPEC §9).

What is of the whole process is for an admin outside any tenant; rooms and broadcasts are for one of a tenant too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiohttp import web
from marshmallow import fields, validate

from server.errors import InvalidMessage, NotFound
from server.http.admin import ROOM_CHARS, Paged, check_looks_after_server, shown, sight_of
from server.http.api import Api, endpoint
from server.http.fields import Digits
from server.identity import Identity
from server.realtime import events
from server.realtime.insight.census import Census
from server.realtime.insight.inspector import Inspector
from server.realtime.insight.views import Sight
from server.realtime.namespace import Namespace
from server.realtime.rooms import EVERYONE
from server.realtime.schema import Identifier, Payload, Text

log = structlog.get_logger(__name__)

MAX_SECONDS = 3600
TOLD_AT_ONCE = 100  # connections that one event is addressed to

#: What clients and their libraries act on: an event of this name would be taken for the server's own.
RESERVED = events.RESERVED | {
    "ack",
    "connected",
    "connection_status",
    "disconnecting_reason",
    "error",
    "ping",
    "pong",
    "request_expired",
    "server_draining",
    "token_expiring",
}

Answer = Mapping[str, object]


class RoomsQuery(Paged):
    namespace = Identifier(load_default=None)
    kind = Identifier(load_default=None)
    q = Identifier(load_default=None)
    sort = fields.String(validate=validate.OneOf(["name", "members"]), load_default="name")


class FiguresQuery(Payload):
    """`since` is the newest second that is known already."""

    seconds = Digits(least=1, most=MAX_SECONDS, load_default=300)
    since = Digits(most=2**40, load_default=None)
    node = Identifier(load_default=None)


class Broadcast(Payload):
    namespace = Identifier(required=True)
    room = Text(most=ROOM_CHARS, load_default=None)
    event = Identifier(required=True)
    data = fields.Dict(keys=fields.String(), load_default=dict)


def routes(inspector: Inspector, census: Census, namespaces: Sequence[Namespace], api: Api) -> list[web.RouteDef]:
    return api.routes("/", ServerRoutes(inspector, census, namespaces))


class ServerRoutes:
    def __init__(self, inspector: Inspector, census: Census, namespaces: Sequence[Namespace]) -> None:
        self._inspector = inspector
        self._census = census
        self._namespaces = {each.path: each for each in namespaces}

    @endpoint("GET", "/api/admin/nodes")
    async def nodes(self, identity: Identity) -> Answer:
        check_looks_after_server(identity)
        return shown(await self._inspector.nodes())

    @endpoint("GET", "/api/admin/figures", query=FiguresQuery)
    async def figures(self, identity: Identity, seconds: int, since: int | None, node: str | None) -> Answer:
        check_looks_after_server(identity)
        return await self._inspector.figures(
            after=since, seconds=MAX_SECONDS if since is not None else seconds, node=node
        )

    @endpoint("GET", "/api/admin/alerts")
    async def alerts(self, identity: Identity) -> Answer:
        check_looks_after_server(identity)
        return shown(await self._inspector.alerts())

    @endpoint("GET", "/api/admin/rooms", query=RoomsQuery)
    async def rooms(
        self,
        identity: Identity,
        namespace: str | None,
        kind: str | None,
        q: str | None,
        sort: str,
        descending: bool,
        offset: int,
        limit: int,
    ) -> Answer:
        wanted = {"namespace": namespace, "kind": kind, "q": q, "room": None}
        return await self._census.rooms(
            sight_of(identity), wanted, by=sort, descending=descending, offset=offset, limit=limit
        )

    @endpoint("POST", "/api/admin/broadcast", body=Broadcast)
    async def broadcast(
        self, identity: Identity, namespace: str, room: str | None, event: str, data: Mapping[str, Any]
    ) -> Answer:
        sight = sight_of(identity)
        served = self._namespaces.get(namespace)
        if served is None:
            raise InvalidMessage(details={"namespace": ["There is none of this name."]})
        if event in RESERVED:
            raise InvalidMessage(details={"event": ["The protocol needs this name."]})
        if room is None and not sight.everywhere:
            members, silent = await self._tell_tenant(sight, served, event, data)
        else:
            wanted = {"namespace": namespace, "kind": None, "q": None, "room": room or EVERYONE}
            found = await self._census.rooms(sight, wanted)
            members, silent = sum(each["members"] for each in found["rooms"]), found["silent"]
            if room is not None and not members and not (silent and sight.covers_room(room)):
                raise NotFound("Nobody is in such a room")
            await served.emit(event, data, room=room or EVERYONE)
        log.info(
            "an admin broadcast", admin=identity.user_id, namespace=namespace, room=room, event_name=event, to=members
        )
        return {"event": event, "members": members, "silent": silent}

    async def _tell_tenant(
        self, sight: Sight, served: Namespace, event: str, data: Mapping[str, Any]
    ) -> tuple[int, Sequence[str]]:
        """Everybody of a tenant has no room in common."""
        ids, silent = await self._census.ids(sight, served.path)
        for start in range(0, len(ids), TOLD_AT_ONCE):
            await served.emit(event, data, room=ids[start : start + TOLD_AT_ONCE])
        return len(ids), silent
