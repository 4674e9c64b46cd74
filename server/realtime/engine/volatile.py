"""What a reader that is behind may miss: of volatile packets with one key the newest waits, and knows what it replaced.

How much may wait, and when it goes, is the outbox's.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator

from server.realtime.engine.frames import Packet

MOST_SEARCHED = 16  # of the oldest, for one that nothing can replace: not all, for each that comes
MOST_MISSED = 1000  # keys of dropped packets that are remembered


class Volatile:
    """Keys take turns: a newer packet takes its key's place, or the busiest keys would wait for ever."""

    __slots__ = ("_missed", "_waiting", "bytes")

    def __init__(self) -> None:
        self.bytes = 0  # of frames
        self._waiting: dict[Hashable, Packet] = {}
        self._missed: dict[Hashable, Packet] = {}  # the last one dropped of each key, the last dropped last

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Packet]:
        """As they would go."""
        return iter(self._waiting.values())

    def put(self, packet: Packet) -> Packet | None:
        """The one that it replaced."""
        key = packet if packet.key is None else packet.key
        older = self._waiting.get(key)
        newer = packet if older is None else packet.after(older)
        self.bytes += len(newer.frame) - (0 if older is None else len(older.frame))
        self._waiting[key] = newer
        return older

    def take(self, count: int) -> list[Packet]:
        """The next so many."""
        taken = [self._waiting.pop(key) for key in list(itertools.islice(self._waiting, count))]
        self.bytes -= sum(len(packet.frame) for packet in taken)
        return taken

    def drop(self) -> Packet | None:
        """The oldest, one that nothing can replace before others; None where there is none."""
        if not self._waiting:
            return None
        oldest = itertools.islice(self._waiting.items(), MOST_SEARCHED)
        key = next((key for key, each in oldest if each.key is None), next(iter(self._waiting)))
        dropped = self._waiting.pop(key)
        self.bytes -= len(dropped.frame)
        if dropped.counts:
            self._missed.pop(key, None)
            self._missed[key] = dropped
            if len(self._missed) > MOST_MISSED:
                del self._missed[next(iter(self._missed))]
        return dropped

    # -- what was dropped, and nobody was told of ---------------------------------------------------------------

    @property
    def owes(self) -> bool:
        return bool(self._missed)

    def counting(self, packet: Packet) -> Packet:
        """With those of its key that were dropped before it."""
        missed = self._missed.pop(packet.key, None)
        return packet if missed is None else packet.after(missed)
