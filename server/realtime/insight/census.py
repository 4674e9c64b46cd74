"""Who is connected, to which rooms, on all nodes: found, shown and put out. Each node answers for itself.

Who may ask is decided by who asks; a `Sight` says how far they see.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from server.errors import DisconnectedByAdmin
from server.realtime.connection import Connection
from server.realtime.insight import views
from server.realtime.insight.gathering import Gathered, Gathering
from server.realtime.insight.views import Sight, View
from server.realtime.link import Member
from server.realtime.others import Body
from server.realtime.rooms import parse_room
from server.realtime.server import RealtimeServer

MAX_ROOMS = 10_000  # that a node names

CONNECTIONS, CONNECTION = "admin connections", "admin connection"
ROOMS, CLOSE, IDS = "admin rooms", "admin close", "admin ids"


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
            (member, connection)
            for member, connection in self._members()
            if sight.covers(connection) and views.matches(member, connection, wanted)
        ]
        total = len(found)
        if body["by"] == "connected_at":  # only what is shown is looked at more closely
            pick = heapq.nlargest if body["descending"] else heapq.nsmallest
            found = pick(most, found, key=lambda each: (each[1].connected_at, each[1].id))
        shown = [views.of_connection(member, connection, self.node) for member, connection in found]
        return {"connections": views.sort(shown, body["by"], descending=body["descending"])[:most], "total": total}

    async def ids(self, sight: Sight, namespace: str) -> tuple[list[str], Sequence[str]]:
        """Of all connections to a namespace; and the nodes that did not say theirs."""
        found = await self._gathering.ask(IDS, {**sight.to_wire(), "namespace": namespace})
        return [id for each in found.answers for id in each["ids"]], found.silent

    async def _ids_here(self, body: Body) -> Body:
        sight = Sight.of(body)
        return {
            "ids": [
                connection.id
                for _, connection in self._members()
                if connection.namespace == body["namespace"] and sight.covers(connection)
            ]
        }

    async def connection(self, sight: Sight, connection_id: str) -> View | None:
        """One that is connected, or was a while ago; None where nobody remembers it."""
        found = await self.known(sight, connection_id)
        return found[0] if found else None

    async def known(self, sight: Sight, connection_id: str) -> list[View]:
        """Of each node that has it or had it; where it is connected first, then the last one that had it."""
        body = {**sight.to_wire(), "connection_id": connection_id}
        found = await self._gathering.ask(CONNECTION, body)
        known = [dict(each) for each in found.answers if each]
        return sorted(known, key=lambda each: (each["state"] != "connected", -(each["disconnected_at"] or 0.0)))

    async def _connection_here(self, body: Body) -> Body:
        record = self._server.insight.recorder.find(body["connection_id"])
        if record is None or not Sight.of(body).covers(record.connection):
            return {}
        member = self._server.manager.member(record.connection.id, record.connection.namespace)
        return views.of_record(record, member if member is not None and member.connected else None, self.node)

    async def close(self, sight: Sight, who: Mapping[str, str | None], reason: str) -> Gathered:
        """`who`: a `connection_id`; or a `user_id`, in a `namespace` and of a `tenant`, or in any. How many were
        closed is each answer's `closed`."""
        wanted = {name: who.get(name) for name in ("connection_id", "user_id", "namespace", "tenant")}
        return await self._gathering.ask(CLOSE, {**sight.to_wire(), "who": wanted, "reason": reason})

    async def _close_here(self, body: Body) -> Body:
        sight, who = Sight.of(body), body["who"]
        found = [
            connection
            for _, connection in self._members()
            if sight.covers(connection)
            and who["connection_id"] in (None, connection.id)
            and who["user_id"] in (None, connection.user_id)
            and who["namespace"] in (None, connection.namespace)
            and who["tenant"] in (None, connection.tenant)
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
            for namespace, room, count in each["rooms"]:
                members.setdefault((namespace, room), {})[each["node"]] = count
        shown = [
            {"namespace": namespace, **views.of_room(room), "members": sum(nodes.values()), "nodes": nodes}
            for (namespace, room), nodes in members.items()
        ]
        shown.sort(key=lambda each: (each["namespace"], each["kind"], each["name"], each["room"]))
        if by == "members":
            shown.sort(key=lambda each: each["members"], reverse=descending)
        elif descending:
            shown.reverse()
        return {
            "rooms": shown[offset : offset + limit],
            "total": len(shown),
            "truncated": any(each["truncated"] for each in found.answers),
            "silent": found.silent,
        }

    async def _rooms_here(self, body: Body) -> Body:
        sight, wanted = Sight.of(body), body["wanted"]
        found = [
            (namespace, room, count)
            for namespace, room, count in self._server.manager.rooms()
            if wanted["namespace"] in (None, namespace)
            and wanted["room"] in (None, room)
            and sight.covers_room(room)
            and _named(room, wanted["kind"], wanted["q"])
        ]
        largest = heapq.nlargest(MAX_ROOMS, found, key=lambda each: each[2])
        return {"node": self.node, "rooms": largest, "truncated": len(found) > MAX_ROOMS}

    def _members(self) -> Iterator[tuple[Member, Connection]]:
        for namespace in self._server.served:
            for member in list(self._server.manager.members(namespace.path, None)):
                if member.connection is not None and member.connected:
                    yield member, member.connection


def _named(room: str, kind: str | None, part: str | None) -> bool:
    if kind is None and part is None:
        return True
    named = parse_room(room)
    return kind in (None, named.kind) and (part is None or part.casefold() in named.name.casefold())
