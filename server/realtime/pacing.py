"""Events of which clients want only the newest, and that no more often than they say. Who they are for is not known."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import structlog

from server.realtime.engine.frames import Packet

log = structlog.get_logger(__name__)

GRID_SECONDS = 0.002  # those due in the same one leave together, in one `send`
MAX_PLACES = 100_000
MAX_KEYS = 1000  # of a place

Send = Callable[[Packet], None]


@dataclass(slots=True)
class _Slot:
    """Of a place to which something was sent a moment ago; `waiting` is what came since, the newest of each key, the
    newest last."""

    seconds: float
    waiting: dict[Hashable, Packet] = field(default_factory=dict)
    send: Send | None = None


class Pacer:
    """Of each place the first event goes at once, and what follows in time: the newest of each key, which says how many
    it replaced. So the last one always goes, and nothing overtakes what was sent before it."""

    def __init__(self, *, most: int = MAX_PLACES) -> None:
        self._most = most
        self._slots: dict[Hashable, _Slot] = {}
        self._due: dict[int, list[Hashable]] = {}  # places, by where they stand on the grid

    def __len__(self) -> int:
        return len(self._slots)

    def offer(self, place: Hashable, seconds: float, packet: Packet, send: Send) -> None:
        """At more places than there is room for, and of more keys, events are not held back."""
        slot = self._slots.get(place)
        if slot is not None:
            older = slot.waiting.pop(packet.key, None)
            if older is None and len(slot.waiting) >= MAX_KEYS:
                self._empty(slot)
            slot.waiting[packet.key] = packet if older is None else packet.after(older)
            slot.send = send
            return
        if len(self._slots) < self._most:
            self._slots[place] = _Slot(seconds)
            self._hold(place, seconds)
        send(packet)

    def _hold(self, place: Hashable, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = math.ceil((loop.time() + seconds) / GRID_SECONDS)
        if (places := self._due.get(due)) is not None:
            places.append(place)
            return
        self._due[due] = [place]
        loop.call_at(due * GRID_SECONDS, self._release, due)

    def _release(self, due: int) -> None:
        for place in self._due.pop(due):
            slot = self._slots[place]
            if not slot.waiting:
                del self._slots[place]
                continue
            self._hold(place, slot.seconds)
            try:
                self._empty(slot)
            except Exception:  # other places are due too
                log.exception("a paced event was not sent")

    @staticmethod
    def _empty(slot: _Slot) -> None:
        waiting, slot.waiting = slot.waiting, {}
        for packet in waiting.values():
            if slot.send is not None:
                slot.send(packet)
