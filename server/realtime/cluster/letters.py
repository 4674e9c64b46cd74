"""How an event travels between nodes: its encoded packet, and whom it is for. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Letter:
    """`origin` is the node that sent it, and `number` its count of logged events in the namespace; a volatile one has
    none. `parts` are the packet's text and its attachments. `key`: of volatile ones with the same, the newest is
    enough. `was` is the offset that it had before Redis lost what it knew."""

    origin: str
    number: int
    namespace: str
    rooms: Sequence[str]
    skip: Sequence[str]
    parts: tuple[str | bytes, ...]
    key: str | None = None
    was: int = 0

    def encode(self) -> bytes:
        parts = [part.encode() if isinstance(part, str) else part for part in self.parts]
        sizes = [len(part) for part in parts]
        header = (self.origin, self.number, self.namespace, self.rooms, self.skip, self.key, sizes, self.was)
        return b"".join((orjson.dumps(header), b"\n", *parts))


def conflate_key(event: str, conflate: Hashable) -> str:
    """What events that replace each other have in common, as nodes tell each other."""
    return repr((event, conflate))


def decode(letter: bytes) -> Letter:
    """Raises ValueError for what no node wrote."""
    header, _, body = letter.partition(b"\n")
    origin, number, namespace, rooms, skip, key, sizes, *was = orjson.loads(header)
    parts: list[str | bytes] = []
    start = 0
    for size in sizes:
        part = body[start : start + size]
        parts.append(part if parts else part.decode())
        start += size
    return Letter(origin, number, namespace, rooms, skip, tuple(parts), key, *was)
