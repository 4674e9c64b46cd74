from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.realtime.engine import frames
from server.realtime.engine.outbox import MOST_CORKED, MOST_POLLED, Counters, Outbox, Outlet


class Reader:
    def __init__(self) -> None:
        self.full: list[str] = []

    def on_overflow(self) -> None:
        self.full.append("full")


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

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)


def outbox(outlet: Outlet | None = None, *, most: int = 100, most_bytes: int = 10_000) -> tuple[Outbox, list[str]]:
    reader = Reader()
    return Outbox(outlet or Outlet(most=most, most_bytes=most_bytes), reader), reader.full


async def test_what_is_put_in_one_turn_leaves_in_one_write_shared_by_all() -> None:
    outlet = Outlet()
    wires = [Wire() for _ in range(3)]
    boxes = [outbox(outlet)[0] for _ in wires]
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
    box, _ = outbox()
    box.put(frames.message("1"))
    box.put(frames.message("2"))
    assert [packet.polled for packet in box.take(1000)] == ["41", "42"]
    box.put(frames.message("3"))
    wire = Wire()
    box.attach(wire)
    box.put(frames.message("4"))
    await asyncio.sleep(0)
    assert b"".join(wire.writes) == frames.frame("43") + frames.frame("44")


async def test_a_poll_takes_what_fits_and_at_least_one() -> None:
    box, _ = outbox()
    for _ in range(5):
        box.put(frames.message("x" * 100))
    assert len(box.take(250)) == 2
    assert len(box.take(10)) == 1
    for _ in range(40):
        box.put(frames.message("x"))
    assert len(box.take(10_000)) == MOST_POLLED


async def test_a_waiting_poll_is_woken() -> None:
    box, _ = outbox()
    waiting = asyncio.create_task(box.wait(None))
    await asyncio.sleep(0)
    box.put(frames.message("x"))
    await waiting


async def test_a_poller_that_does_not_come_is_given_up_once_and_holds_nothing() -> None:
    for bounds in ({"most": 10}, {"most_bytes": 200}):
        box, full = outbox(**bounds)
        for _ in range(1000):
            box.put(frames.message("x" * 10))
        assert full == ["full"]
        assert len(box) == 0


async def test_a_reader_that_does_not_read_is_found_by_its_sockets_buffer() -> None:
    box, full = outbox(most_bytes=5000)
    wire = Wire()
    wire.stuck = True
    box.attach(wire)
    box.put(frames.message("x" * 1000))
    await asyncio.sleep(0)
    box.pause()
    for _ in range(100):
        box.put(frames.message("x" * 100))
        await asyncio.sleep(0)
    assert full == ["full"]
    assert wire.get_write_buffer_size() < 6000


async def test_nothing_is_written_to_a_closing_socket() -> None:
    box, _ = outbox()
    wire = Wire()
    box.attach(wire)
    wire.closing = True
    box.put(frames.message("x"))
    await asyncio.sleep(0)
    assert wire.writes == []


class Slow:
    """An outbox whose socket takes nothing until `drain`."""

    def __init__(self, *, most: int = 100, most_bytes: int = 10_000) -> None:
        self.outlet = Outlet(most=most, most_bytes=most_bytes)
        self.box, self.full = outbox(self.outlet)
        self.wire = Wire()
        self.box.attach(self.wire)
        self.box.pause()

    def put(self, *texts: str, volatile: bool = False, key: str | None = None) -> None:
        for text in texts:
            self.box.put(frames.message(text, volatile=volatile, key=key))

    def drain(self) -> bytes:
        self.box.resume()
        return b"".join(self.wire.writes)


def framed(*texts: str) -> bytes:
    return b"".join(frames.message(text).frame for text in texts)


async def test_of_volatile_ones_with_one_key_the_newest_waits() -> None:
    slow = Slow()
    for number in range(50):
        slow.put(f"a{number}", volatile=True, key="a")
        slow.put(f"b{number}", volatile=True, key="b")
    assert slow.drain() == framed("a49", "b49")
    assert slow.outlet.counters == Counters(conflated=98)


async def test_volatile_ones_wait_behind_all_others() -> None:
    slow = Slow()
    slow.put("tick", volatile=True)
    slow.put("alert")
    slow.put("status", volatile=True)
    slow.put("message")
    assert slow.drain() == framed("alert", "message", "tick", "status")


async def test_a_full_one_drops_the_oldest_volatile_before_it_gives_up() -> None:
    slow = Slow(most=10)
    slow.put(*map(str, range(20)), volatile=True)
    slow.put(*"abcdefgh")
    assert slow.full == []
    assert slow.drain() == framed(*"abcdefgh", "18", "19")
    assert slow.outlet.counters == Counters(dropped=18)


async def test_without_volatile_ones_it_gives_up() -> None:
    slow = Slow(most=10)
    slow.put(*map(str, range(20)))
    assert slow.full == ["full"]
    assert slow.outlet.counters == Counters(too_slow=1)
    slow.put("more")
    assert slow.drain() == b""


async def test_volatile_ones_put_before_the_socket_was_full_can_still_be_dropped() -> None:
    box, full = outbox(most=10)
    box.attach(wire := Wire())
    for number in range(10):
        box.put(frames.message(f"v{number}", volatile=True))
    box.pause()
    for number in range(10):
        box.put(frames.message(str(number)))
    box.resume()
    assert full == []
    assert b"".join(wire.writes) == framed(*map(str, range(10)))


async def test_one_of_any_size_may_go() -> None:
    box, full = outbox(most_bytes=100)
    box.attach(wire := Wire())
    box.put(frames.message("x" * 1000))
    await asyncio.sleep(0)
    assert full == []
    assert len(wire.writes) == 1


async def test_a_replay_may_be_larger_than_the_outbox_and_what_follows_it_not() -> None:
    slow = Slow(most=10)
    slow.box.replay([frames.message(str(number)) for number in range(100)])
    slow.put(*"abcdefgh")
    assert slow.full == []
    assert slow.drain() == framed(*map(str, range(100)), *"abcdefgh")
    slow.box.pause()
    slow.put(*map(str, range(20)))
    assert slow.full == ["full"]


async def test_between_two_polls_volatile_ones_wait_in_their_order_and_none_is_lost() -> None:
    box, _ = outbox()
    for text in ("tick", "tock"):
        box.put(frames.message(text, volatile=True, key="k"))
        box.put(frames.message(f"after {text}"))
    assert [packet.polled for packet in box.take(1000)] == ["4tick", "4after tick", "4tock", "4after tock"]


async def test_a_poller_that_is_behind_gets_the_newest_of_each_key_last() -> None:
    outlet = Outlet(most=10)
    box, full = outbox(outlet)
    for number in range(20):
        box.put(frames.message(f"tick {number}", volatile=True, key="k"))
    box.put(frames.message("first"))
    assert full == []
    assert [packet.polled for packet in box.take(8)] == ["4first"]
    assert [packet.polled for packet in box.take(1000)] == ["4tick 19"]
    assert (len(box), outlet.counters) == (0, Counters(conflated=19))
    box.put(frames.message("tick 20", volatile=True, key="k"))
    box.put(frames.message("tick 21", volatile=True, key="k"))
    assert len(box) == 2


async def test_a_breath_parts_what_was_put_before_from_what_comes_after() -> None:
    box, _ = outbox()
    box.attach(wire := Wire())
    box.put(frames.message("before"))
    box.breathe()
    box.put(frames.message("after"))
    assert wire.writes == [framed("before")]
    while len(wire.writes) < 2:  # noqa: ASYNC110 - a write has no event of its own
        await asyncio.sleep(0)
    assert wire.writes[1] == framed("after")


async def test_a_deflating_socket_gets_the_same_deflated_bytes() -> None:
    outlet = Outlet()
    wires = [Wire() for _ in range(2)]
    boxes = [outbox(outlet)[0] for _ in wires]
    for box, wire in zip(boxes, wires, strict=True):
        box.attach(wire, deflate=True)
    packet = frames.message("status " * 1000)
    for box in boxes:
        box.put(packet)
    await asyncio.sleep(0)
    assert wires[0].writes == [packet.deflated]
    assert wires[0].writes[0] is wires[1].writes[0]
    assert len(packet.deflated) < len(packet.frame) / 10


async def test_what_is_put_after_a_cork_was_full_leaves_in_the_same_turn() -> None:
    box, _ = outbox()
    box.attach(wire := Wire())
    texts = list(map(str, range(MOST_CORKED + 3)))
    for text in texts:
        box.put(frames.message(text))
    await asyncio.sleep(0)
    assert b"".join(wire.writes) == framed(*texts)


def tick(seq: int, key: str = "A") -> frames.Packet:
    return frames.message(f'2/x,["tick",{{"seq":{seq}}}]', volatile=True, key=key, counts=True)


async def test_a_reader_that_was_behind_is_told_how_many_it_skipped_of_each_key() -> None:
    box, _ = outbox()
    wire = Wire()
    box.attach(wire)
    box.pause()
    for seq in range(1, 5):
        box.put(tick(seq))
    box.put(tick(1, "B"))
    waiting = box._bytes
    assert waiting == len(tick(4).after(tick(3)).frame) + len(tick(1).frame)
    box.resume()
    assert wire.writes == [
        frames.frame('42/x,["tick",{"seq":4,"conflated":3}]') + frames.frame('42/x,["tick",{"seq":1}]')
    ]


async def test_a_release_to_many_is_followed_by_a_longer_rest_for_what_is_volatile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outlet = Outlet()
    wires = [Wire() for _ in range(200)]
    boxes = [outbox(outlet)[0] for _ in wires]
    for box, wire in zip(boxes, wires, strict=True):
        box.attach(wire)
    outlet.broadcast(tick(1), boxes)
    await asyncio.sleep(0)
    assert len(wires[0].writes) == 1
    outlet.broadcast(tick(2), boxes)
    assert outlet._release is not None
    volatile = outlet._releases_at
    outlet.broadcast(frames.message("reliable"), boxes)
    assert outlet._releases_at < volatile  # it takes along what waited
    outlet.release()
    assert wires[0].writes[1] == tick(2).frame + frames.message("reliable").frame
