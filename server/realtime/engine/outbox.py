"""The one way out of a session: packets wait for a poll, or leave by the websocket, in the order they were put."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.realtime.engine.frames import Packet

#: In one poll: python-engineio's client drops a payload of more.
MOST_POLLED = 16


class Cork:
    """Holds what is written during one turn of the event loop, and lets it go together at its end: several packets
    for one websocket leave in one `send`, which is nearly all that a packet costs (5 of 6 µs)."""

    def __init__(self) -> None:
        self._dirty: list[Outbox] = []

    def hold(self, outbox: Outbox) -> None:
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self.release)
        self._dirty.append(outbox)

    def release(self) -> None:
        dirty, self._dirty = self._dirty, []
        joined: dict[tuple[int, ...], bytes] = {}
        for outbox in dirty:
            outbox.flush(joined)


class Outbox:
    """Bounded in packets and bytes: past its bound it drops everything and takes nothing more.

    `on_overflow` is then called, once; it closes the session.
    """

    __slots__ = (
        "_bytes",
        "_cork",
        "_full",
        "_held",
        "_most",
        "_most_bytes",
        "_on_overflow",
        "_packets",
        "_transport",
        "_wake",
    )

    def __init__(self, cork: Cork, on_overflow: Callable[[], None], *, most: int, most_bytes: int) -> None:
        self._cork = cork
        self._on_overflow = on_overflow
        self._most = most
        self._most_bytes = most_bytes
        self._packets: list[Packet] = []
        self._bytes = 0
        self._held = False
        self._full = False
        self._transport: asyncio.WriteTransport | None = None
        self._wake: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._packets)

    def put(self, packet: Packet) -> None:
        if self._full:
            return
        self._packets.append(packet)
        self._bytes += len(packet.data)
        waiting = self._bytes
        if self._transport is not None:
            waiting += self._transport.get_write_buffer_size()
            if not self._held:
                self._held = True
                self._cork.hold(self)
        else:
            self.wake()
        if waiting > self._most_bytes or len(self._packets) > self._most:
            self._full = True
            self._packets.clear()
            self._bytes = 0
            self._on_overflow()

    def attach(self, transport: asyncio.WriteTransport) -> None:
        """From here on packets leave by this transport, those that wait first."""
        self._transport = transport
        self.flush({})

    def flush(self, joined: dict[tuple[int, ...], bytes]) -> None:
        """`joined` holds what others with the same packets have joined already."""
        self._held = False
        packets = self._packets
        if not packets or self._transport is None:
            return
        self._packets = []
        self._bytes = 0
        if self._transport.is_closing():
            return
        if len(packets) == 1:
            self._transport.write(packets[0].frame)
            return
        key = tuple(map(id, packets))
        together = joined.get(key)
        if together is None:
            together = joined[key] = b"".join(packet.frame for packet in packets)
        self._transport.write(together)

    def take(self, most_bytes: int) -> list[Packet]:
        """For a poll: the oldest packets, as many as fit, but at least one."""
        taken: list[Packet] = []
        size = 0
        for packet in self._packets[:MOST_POLLED]:
            size += len(packet.polled) + 1
            if taken and size > most_bytes:
                break
            taken.append(packet)
        del self._packets[: len(taken)]
        self._bytes -= sum(len(packet.data) for packet in taken)
        return taken

    async def wait(self, seconds: float | None) -> None:
        """Until there is something to take, or `wake` is called, or that time has passed."""
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait([self._wake], timeout=seconds)
        finally:
            self._wake = None

    def wake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
