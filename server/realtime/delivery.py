"""What services need of the realtime layer, as a protocol, so that they know neither sockets nor socketio."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Conflation:
    """Of numbered events: one that replaced older ones of its `key` says how many, as `conflated`. With `seconds` a
    client gets those of a key so far apart at least, the newest of what came meanwhile."""

    key: Hashable
    seconds: float = 0.0


def conflated_by(conflate: Hashable | None) -> tuple[Hashable | None, float | None]:
    """Its key, and the seconds of a `Conflation`."""
    return (conflate.key, conflate.seconds) if isinstance(conflate, Conflation) else (conflate, None)


class Delivery(Protocol):
    async def emit(
        self,
        event: str,
        payload: Mapping[str, object],
        *,
        room: str | Collection[str],
        skip: Collection[str] = (),
        volatile: bool = False,
        conflate: Hashable | None = None,
    ) -> None:
        """To every connection in the room, or in any of several, once; but not to those in a room of `skip`. A
        connection's id is a room that it is in alone.

        A `volatile` event is worthless once a newer one exists (typing, status, ticks): a slow reader may miss it,
        and recovery does not replay it. Of those that wait for a slow reader with the same `conflate`, only the newest
        is kept; all others go ahead of them. It may be a `Conflation`.
        """

    async def emit_missing(self, event: str, payload: Mapping[str, object], *, room: str) -> bool:
        """What a node that died stored some seconds ago at most, and should have emitted then. An event is known by its
        name and its first field, a text. Whether it was missing, and is emitted now."""

    async def flushed(self) -> None:
        """What was emitted before now reaches everybody, should this node die: awaited before something is acked. Takes
        a second at most, and no time while Redis is away."""
