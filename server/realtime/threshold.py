"""Links that are in no namespace: how long they may be so, and how many of an address are told why they are refused."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

from server.errors import ConnectionClosed
from server.realtime.engine.protocol import Refused
from server.realtime.link import Link

MAX_REFUSED_PER_ADDRESS = 20  # are told why at their CONNECT; the others are refused at once, and take no session


class Threshold:
    """`seconds`: how long one that does not enter may stay, by the `clock`."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: dict[str, float] = {}  # how long a link may stay, the oldest first
        self._refused: Counter[str] = Counter()  # links that are refused, by address

    def __len__(self) -> int:
        return len(self._until)

    def watch(self, link: Link) -> None:
        """It is in no namespace; a client that stays so is closed after a while."""
        self._until[link.id] = self._clock() + self._seconds

    def came_in(self, link: Link) -> None:
        self._until.pop(link.id, None)

    def refuse(self, link: Link, refusal: ConnectionClosed) -> None:
        """It is told at its CONNECT. Raises `Refused` where too many of its address wait for that."""
        address = link.handshake.address
        if self._refused[address] >= MAX_REFUSED_PER_ADDRESS:
            raise Refused(4, refusal.message, status=refusal.http_status)
        self._refused[address] += 1
        link.refusal = refusal

    def gone(self, link: Link) -> None:
        """Its transport has closed."""
        self._until.pop(link.id, None)
        if link.refusal is not None:
            self._refused[link.handshake.address] -= 1
            self._refused += Counter()  # drops those that are back at none

    def due(self, now: float) -> list[str]:
        """The ids of those whose time is over."""
        return [link_id for link_id, _ in itertools.takewhile(lambda each: each[1] <= now, self._until.items())]
