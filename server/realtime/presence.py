"""Who is where in one namespace: users by room, a user with several connections being one; it tells no client.

A user whose connection was lost is there until a while has passed, and if they are back by then nobody hears of either.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from server.realtime.connection import Connection

LEAVE_SECONDS = 3.0  # a stock client is back after 0.5 to 1.5 s
TICK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Change:
    """A user came or went. Of two changes in a namespace the later has the higher `version`."""

    room: str
    user_id: str
    present: bool
    version: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One connection in one room."""

    room: str
    connection_id: str
    user_id: str


async def _unheard(change: Change) -> None:
    pass


class Presence(ABC):
    """Rooms carry their tenant, so in each a user_id is one user. Bounded by the rooms a connection may be in."""

    def __init__(self, *, delay: float = LEAVE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        """`delay` in seconds, on the `clock`, from the loss of a connection to its user's being absent."""
        self.delay = delay
        self.changed: Callable[[Change], Awaitable[None]] = _unheard  # told of what no call here returned
        self._clock = clock
        self._here: dict[str, dict[str, dict[str, str]]] = {}  # room -> user -> connection -> note
        self._joined: dict[str, set[str]] = {}  # connection -> rooms; of those not lost
        self._lost: dict[Entry, float] = {}  # when they go, the first first
        self._version = time.time_ns() // 1000  # above those from before a restart

    # -- what its owner uses ------------------------------------------------------------------------------------

    @abstractmethod
    async def enter(self, room: str, connection: Connection, note: str = "") -> Change | None:
        """The change, where its user was not there before. Entering anew replaces the note: a JSON object that may be
        published about the connection."""

    async def leave(self, room: str, connection: Connection) -> Change | None:
        """The change, where its user was there and is no more."""
        if not self.holds(room, connection):
            return None
        entry = self._part(room, connection)
        return next(iter(await self._remove([entry])), None)

    async def leave_all(self, connection: Connection) -> list[Change]:
        entries = [self._part(room, connection) for room in self.rooms(connection)]
        return await self._remove(entries) if entries else []

    async def drop(self, connection: Connection) -> None:
        """It was lost, and may come back."""
        due = self._clock() + self.delay
        for room in self.rooms(connection):
            self._lost[self._part(room, connection)] = due
        if not self.delay:
            await self.settle()

    def holds(self, room: str, connection: Connection) -> bool:
        return room in self._joined.get(connection.id, ())

    def rooms(self, connection: Connection) -> list[str]:
        """Those that a connection of this node is in."""
        return sorted(self._joined.get(connection.id, ()))

    async def users(self, room: str) -> list[str]:
        """The longest there first."""
        return list(self._here.get(room, ()))

    async def count(self, room: str) -> int:
        return len(self._here.get(room, ()))

    async def serve(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self.settle()

    async def settle(self) -> None:
        """Those that were lost too long ago by now are gone."""
        now = self._clock()
        due = [entry for entry, _ in itertools.takewhile(lambda each: each[1] <= now, self._lost.items())]
        for entry in due:
            del self._lost[entry]
        for change in await self._remove(due) if due else ():
            await self.changed(change)

    @abstractmethod
    async def close(self) -> None:
        """The server stops: those who are still here may come back elsewhere."""

    # -- what is here -------------------------------------------------------------------------------------------

    @abstractmethod
    async def _remove(self, entries: Sequence[Entry]) -> list[Change]:
        """The changes, where users are there no more."""

    def _add(self, room: str, connection: Connection, note: str) -> Entry:
        entry = Entry(room, connection.id, connection.user_id)
        self._lost.pop(entry, None)
        self._joined.setdefault(connection.id, set()).add(room)
        self._here.setdefault(room, {}).setdefault(connection.user_id, {})[connection.id] = note
        return entry

    def _part(self, room: str, connection: Connection) -> Entry:
        """Of a connection and its room: it is still among those that are here."""
        joined = self._joined[connection.id]
        joined.remove(room)
        if not joined:
            del self._joined[connection.id]
        return Entry(room, connection.id, connection.user_id)

    def _forget(self, entry: Entry) -> bool:
        """Whether its user is here no more."""
        users = self._here[entry.room]
        connections = users[entry.user_id]
        del connections[entry.connection_id]
        if connections:
            return False
        del users[entry.user_id]
        if not users:
            del self._here[entry.room]
        return True

    def _is_here(self, room: str, user_id: str) -> bool:
        return user_id in self._here.get(room, ())

    def _change(self, room: str, user_id: str, *, present: bool) -> Change:
        self._version += 1
        return Change(room, user_id, present, self._version)


class MemoryPresence(Presence):
    """Of one node by itself."""

    async def enter(self, room: str, connection: Connection, note: str = "") -> Change | None:
        arrived = not self._is_here(room, connection.user_id)
        self._add(room, connection, note)
        return self._change(room, connection.user_id, present=True) if arrived else None

    async def _remove(self, entries: Sequence[Entry]) -> list[Change]:
        return [self._change(entry.room, entry.user_id, present=False) for entry in entries if self._forget(entry)]

    async def close(self) -> None:
        """There is no elsewhere."""
