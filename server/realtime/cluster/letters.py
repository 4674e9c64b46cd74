"""How an event travels between nodes: its encoded packet, and whom it is for. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import orjson

from server.realtime.delivery import conflated_by


@dataclass(frozen=True, slots=True)
class Letter:
    """`origin` is the node that sent it, and `number` its count of logged events in the namespace; a volatile one has
    none. `parts` are the packet's text and its attachments. `key`: of volatile ones with the same, the newest is
    enough; `seconds` is that of a `delivery.Conflation`. `was` is the offset that it had before Redis lost what it
    knew."""

    origin: str
    number: int
    namespace: str
    rooms: Sequence[str]
    skip: Sequence[str]
    parts: tuple[str | bytes, ...]
    key: str | None = None
    was: int = 0
    seconds: float | None = None

    def encode(self) -> bytes:
        parts = [part.encode() if isinstance(part, str) else part for part in self.parts]
        sizes = [len(part) for part in parts]
        key = self.key if self.seconds is None else (self.key, self.seconds)
        header = (self.origin, self.number, self.namespace, self.rooms, self.skip, key, sizes, self.was)
        return b"".join((orjson.dumps(header), b"\n", *parts))


def conflation(event: str, conflate: Hashable | None) -> tuple[str | None, float | None]:
    """What events that replace each other have in common, as nodes tell each other, and `Letter.seconds`."""
    key, seconds = conflated_by(conflate)
    return (None if key is None else repr((event, key))), seconds


def decode(letter: bytes) -> Letter:
    """Raises ValueError for what no node wrote."""
    header, _, body = letter.partition(b"\n")
    origin, number, namespace, rooms, skip, key, sizes, *was = orjson.loads(header)
    key, seconds = key if isinstance(key, list) else (key, None)
    parts: list[str | bytes] = []
    start = 0
    for size in sizes:
        part = body[start : start + size]
        parts.append(part if parts else part.decode())
        start += size
    return Letter(origin, number, namespace, rooms, skip, tuple(parts), key, was[0] if was else 0, seconds)
