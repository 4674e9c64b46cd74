from __future__ import annotations

import asyncio
from typing import Any

from server.realtime.engine import frames
from server.realtime.engine.outbox import MOST_POLLED, Cork, Outbox


class Wire(asyncio.WriteTransport):
    """What a socket was told to send; `stuck` keeps it all in the buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.stuck = False
        self.closing = False

    def write(self, data: Any) -> None:
        self.writes.append(data)

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.writes)) if self.stuck else 0

    def is_closing(self) -> bool:
        return self.closing


def outbox(cork: Cork, *, most: int = 100, most_bytes: int = 10_000) -> tuple[Outbox, list[str]]:
    full: list[str] = []
    return Outbox(cork, lambda: full.append("full"), most=most, most_bytes=most_bytes), full


async def test_what_is_put_in_one_turn_leaves_in_one_write_shared_by_all() -> None:
    cork = Cork()
    wires = [Wire() for _ in range(3)]
    boxes = [outbox(cork)[0] for _ in wires]
    for box, wire in zip(boxes, wires, strict=True):
        box.attach(wire)
    packets = [frames.message(text) for text in "abc"]
    for packet in packets:
        for box in boxes:
            box.put(packet)
    assert all(wire.writes == [] for wire in wires)
    await asyncio.sleep(0)
    together = b"".join(packet.frame for packet in packets)
    assert all(wire.writes == [together] for wire in wires)
    assert len({id(wire.writes[0]) for wire in wires}) == 1


async def test_order_is_kept_from_polling_to_websocket() -> None:
    box, _ = outbox(Cork())
    box.put(frames.message("1"))
    box.put(frames.message("2"))
    assert [packet.data for packet in box.take(1000)] == ["41", "42"]
    box.put(frames.message("3"))
    wire = Wire()
    box.attach(wire)
    box.put(frames.message("4"))
    await asyncio.sleep(0)
    assert b"".join(wire.writes) == frames.frame("43") + frames.frame("44")


async def test_a_poll_takes_what_fits_and_at_least_one() -> None:
    box, _ = outbox(Cork())
    for _ in range(5):
        box.put(frames.message("x" * 100))
    assert len(box.take(250)) == 2
    assert len(box.take(10)) == 1
    for _ in range(40):
        box.put(frames.message("x"))
    assert len(box.take(10_000)) == MOST_POLLED


async def test_a_waiting_poll_is_woken() -> None:
    box, _ = outbox(Cork())
    waiting = asyncio.create_task(box.wait(None))
    await asyncio.sleep(0)
    box.put(frames.message("x"))
    await waiting


async def test_a_poller_that_does_not_come_is_given_up_once_and_holds_nothing() -> None:
    for bounds in ({"most": 10}, {"most_bytes": 200}):
        box, full = outbox(Cork(), **bounds)
        for _ in range(1000):
            box.put(frames.message("x" * 10))
        assert full == ["full"]
        assert len(box) == 0


async def test_a_reader_that_does_not_read_is_found_by_its_sockets_buffer() -> None:
    box, full = outbox(Cork(), most_bytes=5000)
    wire = Wire()
    wire.stuck = True
    box.attach(wire)
    for _ in range(100):
        box.put(frames.message("x" * 100))
        await asyncio.sleep(0)
    assert full == ["full"]
    assert wire.get_write_buffer_size() < 6000


async def test_nothing_is_written_to_a_closing_socket() -> None:
    box, _ = outbox(Cork())
    wire = Wire()
    box.attach(wire)
    wire.closing = True
    box.put(frames.message("x"))
    await asyncio.sleep(0)
    assert wire.writes == []
