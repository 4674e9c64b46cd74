"""What was said to each room on this node, and when: enough to find one message again, never its text.

Kept of each message are the first characters of its packet, which hold its name and number, and the last ones, which
hold its offset. Bounded for each room and in all; the rooms that were silent longest are forgotten first. Of the rooms
and connections that one message names, the first are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from time import time
from typing import NamedTuple

from server.realtime.insight.heads import HEAD_CHARS, TAIL_CHARS, name_of, offset_of, seq_of
from server.realtime.rooms import ALL, EVERYONE

MAX_OF_ROOM = 500
_NAMED = (ALL, EVERYONE)

MAX_NAMES = 32  # of rooms, and of what was skipped, that are kept of a message
AND_MORE = "…"  # the last of them, where there were more: no room and no connection is called so

SENT, VOLATILE, PACED = range(3)  # a paced one is sent only where nothing newer takes its place


class Entry(NamedTuple):
    """`at` in seconds since the epoch. `rooms`: those it was sent to together; `skip`: connections and rooms that it
    did not go to. `AND_MORE` ends what is not all of them."""

    at: float
    kind: int
    head: str
    tail: str
    rooms: tuple[str, ...]
    skip: tuple[str, ...]

    @property
    def seq(self) -> int | None:
        return seq_of(self.head)

    @property
    def offset(self) -> str | None:
        return offset_of(self.tail)

    @property
    def event(self) -> str:
        return name_of(self.head)


#: As `Entry`.
_Kept = tuple[float, int, str, str, tuple[str, ...], tuple[str, ...]]


class Ledger:
    def __init__(self, *, most: int = 50_000) -> None:
        """`most`: messages in all; none are kept where it is 0."""
        self._most = most
        self._rooms: dict[tuple[str, str], deque[_Kept]] = {}
        self._kept = 0

    def __len__(self) -> int:
        return self._kept

    def put(
        self, namespace: str, rooms: Sequence[str], kind: int, text: object, numbered: object, skip: Collection[str]
    ) -> None:
        """`text` is an encoded event, `numbered` the same as those get it who can come back, empty where it went to
        none of them. What was for one connection alone nobody asks for: the names of rooms have a colon.

        Each emit passes here: as little as can be is done of what can be done when somebody asks.
        """
        if type(text) is not str or type(numbered) is not str or not self._most:
            return
        entry = (time(), kind, text[:HEAD_CHARS], numbered and numbered[-TAIL_CHARS:], _few(rooms), _few(skip))
        for room in rooms:
            if ":" not in room and room not in _NAMED:
                continue
            entries = self._rooms.get((namespace, room))
            if entries is None:
                entries = self._rooms[namespace, room] = deque(maxlen=MAX_OF_ROOM)
            if len(entries) < MAX_OF_ROOM:
                self._kept += 1
            entries.append(entry)
            if self._kept > self._most:
                self._forget_some()

    def rooms(self, namespace: str) -> list[str]:
        return [room for of, room in self._rooms if of == namespace]

    def of(self, namespace: str, room: str) -> Iterator[Entry]:
        """Oldest first."""
        yield from map(Entry._make, self._rooms.get((namespace, room), ()))

    def _forget_some(self) -> None:
        """A tenth, so that it is seldom."""
        least = self._most * 9 // 10
        for key in sorted(self._rooms, key=lambda each: self._rooms[each][-1][0]):
            entries = self._rooms[key]
            while entries and self._kept > least:
                entries.popleft()
                self._kept -= 1
            if entries:
                return
            del self._rooms[key]


def _few(names: Collection[str]) -> tuple[str, ...]:
    """A copy: what the caller has may be long, and may change."""
    return tuple(names) if len(names) <= MAX_NAMES else (*islice(names, MAX_NAMES - 1), AND_MORE)
