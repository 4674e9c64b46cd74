"""How rooms are named, in one place: every name carries the tenant, so tenants cannot meet in one (SPEC §2)."""

from __future__ import annotations

from typing import NamedTuple

#: The room that everybody in a namespace is in without having entered it: an `emit` without a room.
ALL = ""
EVERYONE = "everyone"  # all admitted connections of a namespace, whatever their tenant


def room_name(tenant: str | None, kind: str, name: str) -> str:
    """`kind` is a word of ours (`session`, `channel`, `user`); `name` may hold anything a client sent.

    The tenant's length comes first, so that no choice of tenant and name can spell another tenant's room.
    """
    tenant = tenant or ""
    return f"{kind}:{len(tenant)}:{tenant}:{name}"


def user_room(tenant: str | None, user_id: str) -> str:
    """All of one user's connections in a namespace; each enters it at connect."""
    return room_name(tenant, "user", user_id)


class RoomName(NamedTuple):
    """What `room_name` was given; of a room that it did not name, its first word and the rest."""

    kind: str
    tenant: str | None
    name: str


def parse_room(room: str) -> RoomName:
    kind, _, rest = room.partition(":")
    size, _, tail = rest.partition(":")
    length = int(size) if size.isascii() and size.isdigit() and len(size) < 5 else -1
    if length < 0 or tail[length : length + 1] != ":":
        return RoomName(kind, None, rest)
    return RoomName(kind, tail[:length] or None, tail[length + 1 :])
