"""What presence is to chat: which rooms are sessions', and what readers outside are shown of them, as in the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from server.realtime.cluster import keys
from server.realtime.cluster.publication import Published
from server.realtime.connection import Connection
from server.realtime.rooms import room_name
from server.timestamps import iso_utc

SESSION, USER = "session", "user"


def session_room(tenant: str | None, session_id: str) -> str:
    return room_name(tenant, SESSION, session_id)


def session_of(room: str) -> str | None:
    """The session whose room it is."""
    kind, _, name = _parts(room)
    return name if kind == SESSION else None


@dataclass(frozen=True, slots=True)
class SessionUsers:
    key: str

    def text(self, users: Sequence[bytes], notes: Sequence[bytes]) -> bytes:
        return orjson.dumps([user.decode() for user in users])


@dataclass(frozen=True, slots=True)
class UserConnection:
    """The newest of a user's connections. All are known to be alive while they are there."""

    key: str

    def text(self, users: Sequence[bytes], notes: Sequence[bytes]) -> bytes:
        found: list[dict[str, str]] = [orjson.loads(each) for each in notes]
        newest = max(found, key=lambda each: each["connected_at"], default={})
        return orjson.dumps(newest | {"last_ping": iso_utc()})


def note(connection: Connection, session_id: str | None) -> str:
    """About a connection; `session_id` is the session that it joined last."""
    connected_at = iso_utc(datetime.fromtimestamp(connection.connected_at, UTC))
    fields = {"connection_id": connection.id, "session_id": session_id, "connected_at": connected_at}
    return orjson.dumps(fields).decode()


def describe(room: str) -> Published | None:
    kind, tenant, name = _parts(room)
    if kind == SESSION:
        return SessionUsers(keys.session_users(name))
    return UserConnection(keys.user_connection(tenant, name)) if kind == USER else None


def _parts(room: str) -> tuple[str, str | None, str]:
    """What `room_name` made it of, if it did."""
    if room.count(":") < 2:
        return room, None, ""
    kind, length, rest = room.split(":", 2)
    tenant = rest[: int(length)]
    return kind, tenant or None, rest[len(tenant) + 1 :]
