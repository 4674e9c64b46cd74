"""What is shown of connections, rooms and records, as values of JSON that nodes can send each other; times in seconds
since the epoch. Who may see it is decided before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from server.realtime.connection import Connection
from server.realtime.insight.hooks import SOCKET_IO
from server.realtime.insight.recorder import Event, Record, Run
from server.realtime.insight.verdict import Verdict
from server.realtime.link import Member
from server.realtime.rooms import parse_room

View = dict[str, Any]


class _Order(NamedTuple):
    """By what connections are put in order: of one that is here, so that only what is shown is looked at closely, and
    of one that is shown."""

    of_member: Callable[[Member, Connection], Any]
    of_view: Callable[[View], Any]


_ORDERS: Mapping[str, _Order] = {
    "connected_at": _Order(lambda _, it: it.connected_at, lambda it: it["connected_at"]),
    "user_id": _Order(lambda _, it: it.user_id, lambda it: it["user_id"]),
    "outbox_messages": _Order(lambda it, _: len(it.outbox), lambda it: it["outbox"]["messages"]),
    "outbox_bytes": _Order(lambda it, _: it.outbox.waiting_bytes, lambda it: it["outbox"]["bytes"]),
    "peak_messages": _Order(lambda it, _: it.outbox.peak_messages, lambda it: it["outbox"]["peak_messages"]),
    "peak_bytes": _Order(lambda it, _: it.outbox.peak_bytes, lambda it: it["outbox"]["peak_bytes"]),
    "dropped": _Order(lambda it, _: it.record.dropped if it.record else 0, lambda it: it["outbox"]["dropped"]),
}
SORTS = tuple(_ORDERS)


@dataclass(frozen=True, slots=True)
class Sight:
    """Whose: one who looks after the server sees `everywhere`, another the connections and rooms of a tenant."""

    everywhere: bool
    tenant: str | None

    def to_wire(self) -> View:
        return {"everywhere": self.everywhere, "tenant": self.tenant}

    @classmethod
    def of(cls, wire: Mapping[str, Any]) -> Sight:
        return cls(wire["everywhere"], wire["tenant"])

    def covers(self, connection: Connection) -> bool:
        return self.everywhere or connection.tenant == self.tenant

    def covers_room(self, room: str) -> bool:
        return self.everywhere or parse_room(room).tenant == self.tenant


def matches(member: Member, connection: Connection, wanted: Mapping[str, Any]) -> bool:
    """`wanted`: what is None is anything."""
    link = member.link
    if wanted["namespace"] not in (None, connection.namespace):
        return False
    if wanted["user_id"] not in (None, connection.user_id) or wanted["tenant"] not in (None, connection.tenant):
        return False
    if wanted["address"] not in (None, connection.address) or wanted["transport"] not in (None, link.session.transport):
        return False
    if wanted["door"] not in (None, link.door or SOCKET_IO):
        return False
    if wanted["room"] is not None and wanted["room"] not in member.rooms:
        return False
    if wanted["slow"] and not (link.behind or len(member.outbox) or (member.record and member.record.dropped)):
        return False
    if (part := wanted["q"]) is not None:
        part = part.casefold()
        return any(part in each.casefold() for each in (connection.id, connection.user_id, connection.address))
    return True


def place(member: Member, connection: Connection, by: str) -> tuple[Any, float, str]:
    """One's place in an order, unlike every other's."""
    return _ORDERS[by].of_member(member, connection), connection.connected_at, connection.id


def sort(views: list[View], by: str, *, descending: bool) -> list[View]:
    """Those of many nodes in the order of their `place`."""
    of_view = _ORDERS[by].of_view
    views.sort(key=lambda it: (of_view(it), it["connected_at"], it["connection_id"]), reverse=descending)
    return views


def of_connection(member: Member, connection: Connection, node: str) -> View:
    link, record = member.link, member.record
    outbox = member.outbox
    return _who(connection, node) | {
        "transport": link.session.transport,
        "door": link.door or SOCKET_IO,
        "recoverable": member.recoverable is not None,
        "recovered": member.resumed,
        "rooms": len(connection.rooms),
        "outbox": {
            "messages": len(outbox),
            "bytes": outbox.waiting_bytes,
            "peak_messages": outbox.peak_messages,
            "peak_bytes": outbox.peak_bytes,
            "dropped": 0 if record is None else record.dropped,
            "conflated": 0 if record is None else record.conflated,
        },
    }


def of_record(record: Record, member: Member | None, node: str) -> View:
    """Of a connection that is here, or was."""
    connection, identity = record.connection, record.connection.identity
    if member is not None:
        view = of_connection(member, connection, node)
    else:
        view = _who(connection, node) | {
            "transport": record.transport,
            "door": record.door,
            "recoverable": any(each.what == "disconnected" and each.fields[1] for each in record.events[-1:]),
            "recovered": record.recovered,
            "outbox": None,
        }
    entered = {each.fields[0]: each.at for each in record.events if each.what == "joined"}
    rooms = () if member is None else sorted(connection.rooms)
    ends = [each for each in record.events if each.what == "disconnected"]
    return view | {
        "state": "gone" if member is None else "connected",
        "username": identity.username,
        "roles": sorted(identity.roles),
        "token_expires_at": identity.expires_at,
        "rooms": [of_room(each) | {"entered_at": entered.get(each)} for each in rooms],
        "known_rooms": sorted({*rooms, *entered, *record.began_rooms}),
        "disconnected_at": record.gone_at,
        "reason": ends[-1].fields[0] if ends and member is None else None,
        "record": [each.to_wire() for each in record.shown()],
        "record_lost": record.lost,
        "missed": [of_run(each) for each in record.runs or ()],
    }


def _who(connection: Connection, node: str) -> View:
    return {
        "connection_id": connection.id,
        "namespace": connection.namespace,
        "user_id": connection.user_id,
        "tenant": connection.tenant,
        "address": connection.address,
        "connected_at": connection.connected_at,
        "node": node,
    }


def of_room(room: str) -> View:
    named = parse_room(room)
    return {"room": room, "kind": named.kind, "name": named.name, "tenant": named.tenant}


def of_run(run: Run) -> View:
    return {
        "room": run.room,
        "how": run.how,
        "first_seq": run.first_seq,
        "last_seq": run.last_seq,
        "count": run.count,
        "from": run.since,
        "to": run.until,
    }


def of_verdict(verdict: Verdict) -> View:
    entry = verdict.entry
    message = None
    if entry is not None:
        message = {
            "seq": entry.seq,
            "offset": entry.offset,
            "at": entry.at,
            "event": entry.event,
            "volatile": bool(entry.kind),
        }
    evidence: list[View] = [*map(Event.to_wire, verdict.evidence), *map(_run_as_event, verdict.runs)]
    return {"code": verdict.code, "text": verdict.text, "message": message, "evidence": evidence}


def _run_as_event(run: Run) -> View:
    return {"at": run.since, "what": run.how, **of_run(run)}
