"""Who is connected, over all nodes, for administrators (SPEC §9): listed, looked into, put out.

An admin outside any tenant looks after the server and sees all, one of a tenant those of the tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from aiohttp import web
from marshmallow import fields, validate

from server.errors import Forbidden, InvalidMessage, NodeSilent, NotFound
from server.http.api import Api, endpoint
from server.http.fields import Digits, Time
from server.identity import Identity
from server.realtime.insight.census import Census
from server.realtime.insight.inquiry import Inquiry
from server.realtime.insight.views import SORTS, Sight
from server.realtime.schema import Flag, Identifier, Payload, Text
from server.timestamps import iso_utc

log = structlog.get_logger(__name__)

ADMIN = "admin"
CONNECTIONS = "/api/admin/connections"
CONNECTION = CONNECTIONS + "/{connection_id}"
USER = "/api/admin/users/{user_id}"

MAX_SHOWN = 1000  # in one answer
DEFAULT_SHOWN = 100
MAX_OFFSET = 100_000
ROOM_CHARS = 500

Answer = Mapping[str, object]

#: What is a time, wherever it stands.
TIMES = frozenset(
    {
        "at",
        "connected_at",
        "disconnected_at",
        "entered_at",
        "from",
        "last_at",
        "since",
        "started_at",
        "to",
        "token_expires_at",
        "until",
    }
)


class Paged(Payload):
    offset = Digits(most=MAX_OFFSET, load_default=0)
    limit = Digits(least=1, most=MAX_SHOWN, load_default=DEFAULT_SHOWN)
    descending = fields.Boolean(truthy={"true"}, falsy={"false"}, load_default=False)


class ConnectionsQuery(Paged):
    """`total` counts also those that are not shown."""

    namespace = Identifier(load_default=None)
    user_id = Identifier(load_default=None, most=255)
    tenant = Identifier(load_default=None, most=255)
    node = Identifier(load_default=None)
    room = Text(most=ROOM_CHARS, load_default=None)
    address = Identifier(load_default=None)
    transport = fields.String(validate=validate.OneOf(["websocket", "polling"]), load_default=None)
    door = Identifier(load_default=None)
    q = Identifier(load_default=None)
    slow = fields.Boolean(truthy={"true"}, falsy={"false"}, load_default=False)
    sort = fields.String(validate=validate.OneOf(SORTS), load_default="connected_at")


class MissedQuery(Payload):
    room = Text(most=ROOM_CHARS, required=True)
    seq = Digits(most=2**53 - 1, load_default=None)
    offset = fields.String(validate=validate.Regexp(r"[0-9a-f-]{1,50}\Z"), load_default=None)
    at = Time(load_default=None)


class Reason(Payload):
    reason = Text(most=200, load_default="")


class UserReason(Reason):
    """Whose: of the `tenant`, or of the one that the admin is in; of none where there is neither, unless `any_tenant`.
    Elsewhere, the same id is somebody else."""

    namespace = Identifier(load_default=None)
    tenant = Identifier(load_default=None, most=255)
    any_tenant = Flag(load_default=False)


def routes(census: Census, inquiry: Inquiry, api: Api) -> list[web.RouteDef]:
    return api.routes("/", ConnectionRoutes(census, inquiry))


def sight_of(identity: Identity) -> Sight:
    """Raises Forbidden."""
    if not identity.has_role(ADMIN):
        raise Forbidden
    return Sight(identity.tenant is None, identity.tenant)


def check_looks_after_server(identity: Identity) -> None:
    """What is of the whole process is not for one tenant. Raises Forbidden."""
    if not sight_of(identity).everywhere:
        raise Forbidden


def shown(found: Mapping[str, object]) -> Answer:
    """With times as the wire has them."""
    answer: Answer = _to_wire(found)
    return answer


def _to_wire(found: Any, name: str = "") -> Any:
    if isinstance(found, Mapping):
        return {key: _to_wire(each, key) for key, each in found.items()}
    if isinstance(found, list):
        return [_to_wire(each) for each in found]
    if isinstance(found, int | float) and not isinstance(found, bool) and name in TIMES:
        return iso_utc(datetime.fromtimestamp(found, UTC))
    return found


class ConnectionRoutes:
    def __init__(self, census: Census, inquiry: Inquiry) -> None:
        self._census = census
        self._inquiry = inquiry

    @endpoint("GET", CONNECTIONS, query=ConnectionsQuery)
    async def connections(
        self,
        identity: Identity,
        namespace: str | None,
        user_id: str | None,
        tenant: str | None,
        node: str | None,
        room: str | None,
        address: str | None,
        transport: str | None,
        door: str | None,
        q: str | None,
        slow: bool,
        sort: str,
        descending: bool,
        offset: int,
        limit: int,
    ) -> Answer:
        wanted = {
            "namespace": namespace,
            "user_id": user_id,
            "tenant": tenant,
            "node": node,
            "room": room,
            "address": address,
            "transport": transport,
            "door": door,
            "q": q,
            "slow": slow,
        }
        sight = sight_of(identity)
        found = await self._census.connections(
            sight, wanted, by=sort, descending=descending, offset=offset, limit=limit
        )
        return shown(found)

    @endpoint("GET", CONNECTION)
    async def connection(self, identity: Identity, connection_id: str) -> Answer:
        found = await self._census.connection(sight_of(identity), connection_id)
        if found is None:
            raise NotFound("No such connection")
        return shown({name: value for name, value in found.items() if name != "known_rooms"})

    @endpoint("GET", CONNECTION + "/missed", query=MissedQuery)
    async def missed(
        self,
        identity: Identity,
        connection_id: str,
        room: str,
        seq: int | None,
        offset: str | None,
        at: datetime | None,
    ) -> Answer:
        sight = sight_of(identity)
        if sum(each is not None for each in (seq, offset, at)) != 1:
            raise InvalidMessage("One of seq, offset and at says which message is meant")
        when = None if at is None else at.timestamp()
        return shown(await self._inquiry.missed(sight, connection_id, room, seq=seq, offset=offset, at=when))

    @endpoint("POST", CONNECTION + "/disconnect", body=Reason)
    async def disconnect(self, identity: Identity, connection_id: str, reason: str) -> Answer:
        found = await self._census.close(sight_of(identity), connection_id, reason)
        closed = sum(each["closed"] for each in found.answers)
        if not closed and found.silent:
            raise NodeSilent(details={"silent": found.silent})
        if not closed:
            raise NotFound("No such connection")
        log.info("an admin closed a connection", admin=identity.user_id, connection=connection_id)
        return {"disconnected": closed}

    @endpoint("POST", USER + "/disconnect", body=UserReason)
    async def disconnect_user(
        self,
        identity: Identity,
        user_id: str,
        reason: str,
        namespace: str | None,
        tenant: str | None,
        any_tenant: bool,
    ) -> Answer:
        sight = sight_of(identity)
        if any_tenant and tenant is not None:
            raise InvalidMessage(details={"any_tenant": ["It is one tenant, or any."]})
        tenants = None if any_tenant else [tenant or identity.tenant]
        found = await self._census.close_user(sight, user_id, reason, tenants=tenants, namespace=namespace)
        closed = sum(each["closed"] for each in found.answers)
        log.info(
            "an admin closed a user's connections",
            admin=identity.user_id,
            user=user_id,
            tenant=tenant or identity.tenant,
            any_tenant=any_tenant,
            closed=closed,
        )
        return {"disconnected": closed, "silent": found.silent}
