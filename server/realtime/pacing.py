"""Events of which clients want only the newest, and that no more often than they say. Who they are for is not known."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from server.realtime.engine.frames import Packet

GRID_SECONDS = 0.01  # those due in the same one leave together, in one `send`
MAX_KEYS = 100_000

Send = Callable[[Packet], None]


@dataclass(slots=True)
class _Slot:
    """Of a key that was sent a moment ago; `packet` is what came since, the newest."""

    seconds: float
    packet: Packet | None = None
    send: Send | None = None


class Pacer:
    """The first event of a key goes at once, and what follows in time: of all that came meanwhile the newest, which
    says how many it replaced. So the last one always goes."""

    def __init__(self, *, most: int = MAX_KEYS) -> None:
        self._most = most
        self._slots: dict[Hashable, _Slot] = {}
        self._due: dict[int, list[Hashable]] = {}  # keys, by the place on the grid

    def __len__(self) -> int:
        return len(self._slots)

    def offer(self, key: Hashable, seconds: float, packet: Packet, send: Send) -> None:
        """More keys than there is room for are not held back."""
        slot = self._slots.get(key)
        if slot is not None:
            slot.packet = packet if slot.packet is None else packet.after(slot.packet)
            slot.send = send
            return
        if len(self._slots) < self._most:
            self._slots[key] = _Slot(seconds)
            self._hold(key, seconds)
        send(packet)

    def _hold(self, key: Hashable, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        place = math.ceil((loop.time() + seconds) / GRID_SECONDS)
        if (keys := self._due.get(place)) is not None:
            keys.append(key)
            return
        self._due[place] = [key]
        loop.call_at(place * GRID_SECONDS, self._release, place)

    def _release(self, place: int) -> None:
        for key in self._due.pop(place):
            slot = self._slots[key]
            packet, send = slot.packet, slot.send
            if packet is None or send is None:
                del self._slots[key]
                continue
            slot.packet = slot.send = None
            self._hold(key, slot.seconds)
            send(packet)
