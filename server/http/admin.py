"""Who is connected, over all nodes, for administrators (SPEC §9). Nothing is changed here.

An admin outside any tenant looks after the server and sees all, one of a tenant those of the tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from aiohttp import web
from marshmallow import fields, validate

from server.errors import Forbidden, NotFound
from server.http.api import Api, endpoint
from server.identity import Identity
from server.realtime.roster import Listed, Roster
from server.realtime.schema import Identifier, Payload
from server.timestamps import iso_utc

ADMIN = "admin"
CONNECTIONS = "/api/admin/connections"
MAX_CONNECTIONS = 1000  # in one answer

Answer = Mapping[str, object]


class ConnectionsQuery(Payload):
    """The oldest first; `total` counts also those that are not shown."""

    namespace = Identifier(load_default=None)
    user_id = Identifier(load_default=None, most=255)
    limit = fields.Integer(validate=validate.Range(1, MAX_CONNECTIONS), load_default=MAX_CONNECTIONS)


def routes(roster: Roster, api: Api) -> list[web.RouteDef]:
    return api.routes("/", ConnectionRoutes(roster))


class ConnectionRoutes:
    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    @endpoint("GET", CONNECTIONS, query=ConnectionsQuery)
    async def connections(self, identity: Identity, namespace: str | None, user_id: str | None, limit: int) -> Answer:
        found = [
            each
            for each in await self._visible(identity)
            if namespace in (None, each.namespace) and user_id in (None, each.user_id)
        ]
        return {"connections": [_to_wire(each) for each in found[:limit]], "total": len(found)}

    @endpoint("GET", CONNECTIONS + "/{connection_id}")
    async def connection(self, identity: Identity, connection_id: str) -> Answer:
        for each in await self._visible(identity):
            if each.id == connection_id:
                return _to_wire(each)
        raise NotFound("No such connection")

    async def _visible(self, identity: Identity) -> list[Listed]:
        """Raises Forbidden."""
        if not identity.has_role(ADMIN):
            raise Forbidden
        listed = await self._roster.connections()
        return [each for each in listed if identity.tenant in (None, each.tenant)]


def _to_wire(listed: Listed) -> Answer:
    return {
        "connection_id": listed.id,
        "namespace": listed.namespace,
        "user_id": listed.user_id,
        "tenant": listed.tenant,
        "address": listed.address,
        "connected_at": iso_utc(datetime.fromtimestamp(listed.connected_at, UTC)),
        "node": listed.node,
    }
