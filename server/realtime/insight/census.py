"""Who is connected, to which rooms, on all nodes: found, shown and put out. Each node answers for itself.

Who may ask is decided by who asks; a `Sight` says how far they see. Admin pages ask every few seconds: what looks at
all connections or rooms lets others have the loop in between, and looks closely only at what is shown.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeVar

from server.errors import DisconnectedByAdmin, NodeSilent
from server.realtime.connection import Connection
from server.realtime.insight import views
from server.realtime.insight.gathering import Gathered, Gathering
from server.realtime.insight.views import Sight, View
from server.realtime.link import Member
from server.realtime.others import Body
from server.realtime.rooms import parse_room
from server.realtime.server import RealtimeServer

MAX_ROOMS = 10_000  # that a node names
SLICE = 250  # connections or rooms that are looked at in one turn of the loop: a millisecond, about

CONNECTIONS, CONNECTION = "admin connections", "admin connection"
ROOMS, CLOSE, IDS = "admin rooms", "admin close", "admin ids"

_T = TypeVar("_T")


class Census:
    def __init__(self, server: RealtimeServer, gathering: Gathering) -> None:
        self._server = server
        self._gathering = gathering
        gathering.on(CONNECTIONS, self._connections_here)
        gathering.on(CONNECTION, self._connection_here)
        gathering.on(ROOMS, self._rooms_here)
        gathering.on(CLOSE, self._close_here)
        gathering.on(IDS, self._ids_here)

    @property
    def node(self) -> str:
        """Empty where there is only one."""
        return "" if self._server.node is None else self._server.node.id

    # -- connections --------------------------------------------------------------------------------------------

    async def connections(
        self, sight: Sight, wanted: Mapping[str, Any], *, by: str, descending: bool, offset: int, limit: int
    ) -> View:
        """`wanted` as `views.matches` takes it, and a `node`."""
        body = {
            **sight.to_wire(),
            "wanted": dict(wanted),
            "by": by,
            "descending": descending,
            "most": offset + limit,
        }
        found = await self._gathering.ask(CONNECTIONS, body)
        shown = [row for each in found.answers for row in each["connections"]]
        shown = views.sort(shown, by, descending=descending)[offset : offset + limit]
        total = sum(each["total"] for each in found.answers)
        return {"connections": shown, "total": total, "silent": found.silent}

    async def _connections_here(self, body: Body) -> Body:
        sight, wanted, most = Sight.of(body), body["wanted"], body["most"]
        if wanted["node"] not in (None, self.node):
            return {"connections": [], "total": 0}
        found = [
            (views.place(member, connection, body["by"]), member, connection)
            async for member, connection in in_slices(self._members())
            if member.connected and sight.covers(connection) and views.matches(member, connection, wanted)
        ]
        pick = heapq.nlargest if body["descending"] else heapq.nsmallest
        first = pick(most, found, key=itemgetter(0))
        shown = [views.of_connection(it, connection, self.node) async for _, it, connection in in_slices(first)]
        return {"connections": views.sort(shown, body["by"], descending=body["descending"]), "total": len(found)}

    async def ids(self, sight: Sight, namespace: str) -> tuple[list[str], Sequence[str]]:
        """Of all connections to a namespace; and the nodes that did not say theirs."""
        found = await self._gathering.ask(IDS, {**sight.to_wire(), "namespace": namespace})
        return [id for each in found.answers for id in each["ids"]], found.silent

    async def _ids_here(self, body: Body) -> Body:
        sight = Sight.of(body)
        return {
            "ids": [
                connection.id
                async for _, connection in in_slices(self._members())
                if connection.namespace == body["namespace"] and sight.covers(connection)
            ]
        }

    async def connection(self, sight: Sight, connection_id: str) -> View | None:
        """One that is connected, or was a while ago; None where nobody remembers it. Raises NodeSilent where somebody
        may who did not answer."""
        found = await self.known(sight, connection_id)
        return found[0] if found else None

    async def known(self, sight: Sight, connection_id: str) -> list[View]:
        """Of each node that has it or had it; where it is connected first, then the last one that had it. Raises
        NodeSilent where none is found and one did not answer."""
        body = {**sight.to_wire(), "connection_id": connection_id}
        found = await self._gathering.ask(CONNECTION, body)
        known = [dict(each) for each in found.answers if each]
        if not known and found.silent:
            raise NodeSilent(details={"silent": found.silent})
        return sorted(known, key=lambda each: (each["state"] != "connected", -(each["disconnected_at"] or 0.0)))

    async def _connection_here(self, body: Body) -> Body:
        record = self._server.insight.recorder.find(body["connection_id"])
        if record is None or not Sight.of(body).covers(record.connection):
            return {}
        member = self._server.manager.member(record.connection.id, record.connection.namespace)
        return views.of_record(record, member if member is not None and member.connected else None, self.node)

    async def close(self, sight: Sight, connection_id: str, reason: str) -> Gathered:
        """How many were closed is each answer's `closed`."""
        return await self._gathering.ask(
            CLOSE, {**sight.to_wire(), "connection_id": connection_id, "user": None, "reason": reason}
        )

    async def close_user(
        self,
        sight: Sight,
        user_id: str,
        reason: str,
        *,
        tenants: Collection[str | None] | None,
        namespace: str | None = None,
    ) -> Gathered:
        """As `close`. Who has the same id in two `tenants` is two users; in those, None are those without a tenant.
        None instead of tenants, or of a namespace, is any."""
        user = {
            "user_id": user_id,
            "tenants": None if tenants is None else list(tenants),
            "namespace": namespace,
        }
        return await self._gathering.ask(
            CLOSE, {**sight.to_wire(), "connection_id": None, "user": user, "reason": reason}
        )

    async def _close_here(self, body: Body) -> Body:
        sight, id, user = Sight.of(body), body["connection_id"], body["user"]
        found = [
            connection
            async for _, connection in in_slices(self._members())
            if sight.covers(connection) and (connection.id == id if user is None else _is_of(connection, user))
        ]
        for each in found:
            await self._server.close(each, DisconnectedByAdmin(body["reason"]))
        return {"closed": len(found)}

    # -- rooms --------------------------------------------------------------------------------------------------

    async def rooms(
        self,
        sight: Sight,
        wanted: Mapping[str, str | None],
        *,
        by: str = "name",
        descending: bool = False,
        offset: int = 0,
        limit: int = 1000,
    ) -> View:
        """`wanted`: a `namespace`, a `kind`, `q`, a part of the name, or one `room`; what is None is any."""
        found = await self._gathering.ask(ROOMS, {**sight.to_wire(), "wanted": dict(wanted)})
        members: dict[tuple[str, str], dict[str, int]] = {}
        for each in found.answers:
            async for namespace, room, count in in_slices(each["rooms"]):
                members.setdefault((namespace, room), {})[each["node"]] = count
        by_members = 0 if by != "members" else -1 if descending else 1
        places = [
            (by_members * sum(nodes.values()), namespace, *parse_room(room)[::2], room)
            async for (namespace, room), nodes in in_slices(members.items())
        ]
        pick = heapq.nlargest if descending and not by_members else heapq.nsmallest
        shown = [
            {"namespace": namespace, **views.of_room(room), "members": sum(nodes.values()), "nodes": nodes}
            for _, namespace, _, _, room in pick(offset + limit, places)[offset:]
            for nodes in (members[namespace, room],)
        ]
        return {
            "rooms": shown,
            "total": len(places),
            "truncated": any(each["truncated"] for each in found.answers),
            "silent": found.silent,
        }

    async def _rooms_here(self, body: Body) -> Body:
        sight, wanted = Sight.of(body), body["wanted"]
        found = [
            (namespace, room, count)
            async for namespace, room, count in in_slices(self._server.manager.rooms())
            if wanted["namespace"] in (None, namespace)
            and wanted["room"] in (None, room)
            and sight.covers_room(room)
            and _named(room, wanted["kind"], wanted["q"])
        ]
        truncated = len(found) > MAX_ROOMS
        if truncated:
            found.sort(key=itemgetter(2), reverse=True)
            del found[MAX_ROOMS:]
        return {"node": self.node, "rooms": found, "truncated": truncated}

    def _members(self) -> Iterator[tuple[Member, Connection]]:
        for namespace in self._server.served:
            for member in self._server.manager.members(namespace.path, None):
                if member.connection is not None and member.connected:
                    yield member, member.connection


async def in_slices(items: Iterable[_T]) -> AsyncIterator[_T]:
    """As they are now, whatever becomes of them meanwhile; others have the loop after each `SLICE`."""
    for number, each in enumerate(list(items), 1):
        yield each
        if not number % SLICE:
            await asyncio.sleep(0)


def _is_of(connection: Connection, user: Mapping[str, Any]) -> bool:
    return (
        connection.user_id == user["user_id"]
        and (user["tenants"] is None or connection.tenant in user["tenants"])
        and user["namespace"] in (None, connection.namespace)
    )


def _named(room: str, kind: str | None, part: str | None) -> bool:
    if kind is None and part is None:
        return True
    named = parse_room(room)
    return kind in (None, named.kind) and (part is None or part.casefold() in named.name.casefold())
