"""The one way out of a session: packets wait for a poll, or leave by the websocket, in the order they were put."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable
from typing import Protocol

from server.realtime.engine.frames import Packet
from server.realtime.engine.outlet import CORKED, MOST_CORKED, Outlet
from server.realtime.engine.volatile import Volatile

#: In one poll: python-engineio's client drops a payload of more.
MOST_POLLED = 16

#: What the kernel may hold for a socket that is not on its way: what waits here can still be replaced. By itself it
#: takes 3 MB before a reader counts as slow; with 128 KB one of 20 KB/s read ticks 9 s late, now 1 s.
MOST_UNSENT_BYTES = 16 * 1024

#: Volatile packets that leave together once a reader that was behind takes more.
MOST_AT_ONCE = 16

#: A packet that is larger leaves at once, not at the end of the turn.
LARGE_BYTES = 64 * 1024

BREATH_SECONDS = 0.005  # 1 ms: one segment in 300 still holds both

# What keeps an outbox from simply taking a packet for this turn of the loop, beside that it has taken one (CORKED).
_BREATH = 2  # a moment's pause
_NO_TRANSPORT = 4
_FULL = 8  # its socket takes no more
_SHUT = 16
_BEHIND = 32  # its reader does not keep up: the socket is full, or so was the outbox between two polls
_OWES = 64  # some packets were dropped, and the next of their keys has to say so
_WAITS = _NO_TRANSPORT | _FULL


class Reader(Protocol):
    """Whose outbox it is."""

    def on_overflow(self) -> None:
        """It fell too far behind; nothing more is sent to it."""


class Watch(Protocol):
    """Who wants to know how far behind a reader is, and what it misses. Told only where a reader does not keep up."""

    def on_attached(self) -> None:
        """To a websocket, after it was watched."""

    def on_behind(self, messages: int, size: int) -> None: ...

    def on_caught_up(self, peak_messages: int, peak_bytes: int) -> None: ...

    def on_missed(self, packet: Packet, how: str) -> None:
        """It was `dropped`, or `conflated`: a newer one took its place."""

    def on_discarded(self, packets: list[Packet], size: int) -> None:
        """All that waited, before `Reader.on_overflow`."""


class Outbox:
    """While its reader keeps up, packets pass through, or wait for its next poll. Of what waits for a reader that is
    behind, volatile ones go behind all others, the newest of each key. All is bounded in number and bytes: a full
    outbox drops the oldest volatile ones, and when none is left it drops everything, takes nothing more and calls
    its reader's `on_overflow`, once.
    """

    __slots__ = (
        "_bytes",
        "_deflate",
        "_fd",
        "_grace",
        "_outlet",
        "_reader",
        "_spilled",
        "_transport",
        "_volatile",
        "_wake",
        "only",
        "packets",
        "peak_bytes",
        "peak_messages",
        "state",
        "watch",
    )

    def __init__(self, outlet: Outlet, reader: Reader) -> None:
        self.state = _NO_TRANSPORT
        self.only: Packet | None = None  # corked before all others: mostly there are none, and no list is touched
        self.packets: list[Packet] = []
        self._outlet = outlet
        self._reader: Reader | None = reader
        self._volatile: Volatile | None = None
        self._bytes = 0  # of what waits
        self._grace: tuple[int, int] | None = None
        self._deflate = False
        self._transport: asyncio.WriteTransport | None = None
        self._fd = -1
        self._spilled = True
        self._wake: asyncio.Future[None] | None = None
        self.watch: Watch | None = None
        self.peak_messages = 0  # that ever waited
        self.peak_bytes = 0

    def __len__(self) -> int:
        return (self.only is not None) + len(self.packets) + len(self._volatile or ())

    @property
    def waiting_bytes(self) -> int:
        """That wait here or in the transport."""
        return self._bytes + (0 if self._transport is None else self._transport.get_write_buffer_size())

    def put(self, packet: Packet) -> None:
        if self.state & _OWES:
            packet = self._counting(packet)
        state = self.state & ~_OWES
        if state & _WAITS:
            self._wait(packet)
        elif not state:
            self.state |= CORKED
            self.only = packet
            self._outlet.cork(self, packet)
        elif not state & _SHUT:
            self.packets.append(packet)
            if len(self.packets) > MOST_CORKED or len(packet.frame) > LARGE_BYTES:
                self._let_go()

    def replay(self, packets: Iterable[Packet]) -> None:
        """What was missed, which its log bounds: the outbox may hold this much more until it was empty once."""
        packets = list(packets)
        messages, size = self._grace or (0, 0)
        self._grace = (messages + len(packets), size + sum(len(packet.frame) for packet in packets))
        for packet in packets:
            self.put(packet)

    # -- the websocket ------------------------------------------------------------------------------------------

    def attach(self, transport: asyncio.WriteTransport, *, deflate: bool = False) -> None:
        """From here on packets leave by this transport, those that wait first."""
        self._transport = transport
        self._deflate = deflate
        transport.set_write_buffer_limits(high=0)
        connected = transport.get_extra_info("socket")
        if connected is not None:
            if connected.family != socket.AF_UNIX and hasattr(socket, "TCP_NOTSENT_LOWAT"):
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MOST_UNSENT_BYTES)
            if transport.get_extra_info("sslcontext") is None:
                self._fd = connected.fileno()
        self._go_on(_NO_TRANSPORT)
        if self.watch is not None:
            self.watch.on_attached()

    def pause(self) -> None:
        """The socket takes no more."""
        self.state |= _FULL
        self._gather()
        self._bytes = sum(len(packet.frame) for packet in self.packets)
        self._fall_behind()

    def resume(self) -> None:
        """It does again."""
        self._go_on(_FULL)

    def breathe(self) -> None:
        """What was put so far leaves at once; what comes next, a moment later and so in another segment."""
        if not self.state & (_WAITS | _SHUT | _BREATH):
            self._let_go()
            self.state |= _BREATH | CORKED
            asyncio.get_running_loop().call_later(BREATH_SECONDS, self._go_on, _BREATH)

    def shut(self) -> None:
        """The end: all that waits for a websocket goes, whether its reader keeps up or not, and nothing is taken."""
        if self._transport is not None and not self.state & _SHUT:
            self.state = _SHUT
            self._let_go()
        self.state |= _SHUT
        self._fd = -1
        self._reader = None
        self._catch_up()
        self.watch = None

    def flush(self, joined: dict[tuple[object, ...], bytes]) -> None:
        """At the end of a turn. `joined` holds what others with the same packets have joined already."""
        self.state &= ~CORKED
        if self.state & ~_OWES:
            return
        only, packets = self.only, self.packets
        if only is not None and not packets:
            self.only = None
            self._write(only.deflated if self._deflate else only.frame)
            return
        self._gather()
        if not packets:
            return
        key = (self._deflate, *map(id, packets))
        together = joined.get(key)
        if together is None:
            together = joined[key] = self._joined(packets)
        packets.clear()
        self._write(together)

    def _let_go(self) -> None:
        """Now, and in the order it would have gone; of volatile packets what the socket takes, the rest may still be
        replaced."""
        self._gather()
        packets, self.packets = self.packets, []
        self._bytes = 0
        if packets:
            self._write(self._joined(packets))
        while self._volatile and (self.state & _SHUT or not self.state & _FULL):
            self._write(self._joined(self._volatile.take(MOST_AT_ONCE)))
        if self._volatile:
            self._bytes += self._volatile.bytes
        else:
            self._forget_volatile()

    def _gather(self) -> None:
        if self.only is not None:
            self.packets.insert(0, self.only)
            self.only = None

    def _joined(self, packets: list[Packet]) -> bytes:
        return b"".join([packet.deflated if self._deflate else packet.frame for packet in packets])

    def _go_on(self, hold: int) -> None:
        self.state &= ~hold
        if not self.state & (_WAITS | _BREATH | _SHUT):
            self.state &= ~(CORKED | _BEHIND)
            self._grace = None
            self._let_go()
            if not self.state & _BEHIND:
                self._catch_up()

    def _write(self, data: bytes) -> None:
        """Straight to the kernel; by the transport only what the socket does not take. uvloop's own way there costs
        0.9 µs more."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._fd >= 0 and (not self._spilled or not transport.get_write_buffer_size()):
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # the transport will find out
            self._spilled = sent < len(data)
            if not self._spilled:
                return
            data = data[sent:]
        transport.write(data)

    # -- a reader that does not keep up -------------------------------------------------------------------------

    def _wait(self, packet: Packet) -> None:
        if self.state & _SHUT:
            return
        self._bytes += len(packet.frame)
        if packet.volatile and self.state & _BEHIND:
            self._conflate(packet)
        else:
            self.packets.append(packet)
        self.wake()
        self._keep_bounds()

    def _conflate(self, packet: Packet) -> None:
        if self._volatile is None:
            self._volatile = Volatile()
        before = self._volatile.bytes
        if (older := self._volatile.put(packet)) is not None:
            self._outlet.counters.conflated += 1
            if self.watch is not None:
                self.watch.on_missed(older, "conflated")
        self._bytes += self._volatile.bytes - before - len(packet.frame)

    def _catch_up(self) -> None:
        if self.watch is not None:
            self.watch.on_caught_up(self.peak_messages, self.peak_bytes)

    def _fall_behind(self) -> None:
        self.state |= _BEHIND
        if self.watch is not None:
            self.watch.on_behind(len(self), self._bytes)
        packets, self.packets = self.packets, []
        for packet in packets:
            if packet.volatile:
                self._conflate(packet)
            else:
                self.packets.append(packet)

    def _keep_bounds(self) -> None:
        most, most_bytes = self._outlet.most, self._outlet.most_bytes
        if self._transport is not None:
            most_bytes -= self._transport.get_write_buffer_size()
        if self._grace is not None:
            most += self._grace[0]
            most_bytes += self._grace[1]
        if len(self) > self.peak_messages:
            self.peak_messages = len(self)
        if self._bytes > self.peak_bytes:
            self.peak_bytes = self._bytes
        while len(self) > 1 and (self._bytes > most_bytes or len(self) > most):  # one of any size may go
            if not self.state & _BEHIND:
                self._fall_behind()
            elif not self._drop_volatile():
                self.state |= _SHUT
                if self.watch is not None:
                    self.watch.on_discarded(self.packets, self._bytes)
                self.packets = []
                self._bytes = 0
                self._outlet.counters.too_slow += 1
                if self._reader is not None:
                    self._reader.on_overflow()
                return

    def _drop_volatile(self) -> bool:
        """Whether there was one. The next of its key counts it."""
        if self._volatile is None:
            return False
        before = self._volatile.bytes
        if (dropped := self._volatile.drop()) is None:
            return False
        if self.watch is not None:
            self.watch.on_missed(dropped, "dropped")
        self._bytes -= before - self._volatile.bytes
        self._outlet.counters.dropped += 1
        if self._volatile.owes:
            self.state |= _OWES
        return True

    def _forget_volatile(self) -> None:
        """There is none that waits."""
        if self._volatile is not None and not self._volatile.owes:
            self._volatile = None

    def _counting(self, packet: Packet) -> Packet:
        if self._volatile is not None:
            packet = self._volatile.counting(packet)
            if self._volatile.owes:
                return packet
        self.state &= ~_OWES
        return packet

    # -- polls --------------------------------------------------------------------------------------------------

    def take(self, most_bytes: int) -> list[Packet]:
        """For a poll: the oldest packets, as many as fit, but at least one; volatile ones last."""
        taken: list[Packet] = []
        size = parts = 0
        for packet in (*self.packets, *(self._volatile or ())):
            size += len(packet.polled) + 1
            parts += len(packet.parts)
            if taken and (size > most_bytes or parts > MOST_POLLED):
                break
            taken.append(packet)
        if self._volatile:
            self._volatile.take(max(0, len(taken) - len(self.packets)))
        del self.packets[: len(taken)]
        self._bytes -= sum(len(packet.frame) for packet in taken)
        if not len(self):
            self._forget_volatile()
            self._grace = None
            self.state &= ~_BEHIND
            self._catch_up()
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
