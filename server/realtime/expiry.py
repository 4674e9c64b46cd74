"""When connections' tokens run out: a pure schedule that is told the time; what happens then is the server's."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from enum import Enum

from server.realtime.connection import Connection

WARNING_SECONDS = 60  # SPEC §2


class Due(Enum):
    WARN = "warn"
    END = "end"


class ExpirySchedule:
    """Seconds since the epoch throughout. A connection is watched until `forget`; watching it anew replaces."""

    def __init__(self, leeway: float) -> None:
        """`leeway`: how long after its expiry a token still opens a connection, in seconds."""
        self._leeway = leeway
        self._heap: list[tuple[float, int, Due, Connection]] = []
        self._turn: dict[Connection, int] = {}
        self._turns = 0

    def __len__(self) -> int:
        return len(self._turn)

    def watch(self, connection: Connection, now: float) -> None:
        self.forget(connection)
        expires_at = connection.identity.expires_at
        if expires_at is None:
            return
        self._turns += 1
        self._turn[connection] = self._turns
        # A token accepted within the leeway must not be ended at once for having expired.
        end = expires_at if expires_at > now else expires_at + self._leeway
        heapq.heappush(self._heap, (expires_at - WARNING_SECONDS, self._turns, Due.WARN, connection))
        heapq.heappush(self._heap, (end, self._turns, Due.END, connection))

    def forget(self, connection: Connection) -> None:
        self._turn.pop(connection, None)
        if len(self._heap) > 4 * len(self._turn) + 64:
            self._heap = [entry for entry in self._heap if self._turn.get(entry[3]) == entry[1]]
            heapq.heapify(self._heap)

    def due(self, now: float) -> Iterator[tuple[Due, Connection]]:
        """What has fallen due by `now`, oldest first, each once."""
        while self._heap and self._heap[0][0] <= now:
            _, turn, due, connection = heapq.heappop(self._heap)
            if self._turn.get(connection) == turn:
                if due is Due.END:
                    del self._turn[connection]
                yield due, connection
