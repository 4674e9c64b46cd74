from __future__ import annotations

import asyncio

from server.realtime.engine import frames
from server.realtime.engine.frames import Packet
from server.realtime.engine.outbox import MOST_POLLED, Outbox
from server.realtime.engine.outlet import Counters, Outlet
from tests.support.outboxes import Wire, framed, outbox, tick, told


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


async def test_what_was_dropped_is_counted_by_the_next_of_its_key_also_when_its_reader_keeps_up_again() -> None:
    outlet = Outlet(most=2, most_bytes=10_000)
    box, full = outbox(outlet)
    wire = Wire()
    box.attach(wire)
    box.pause()
    for key in "ABC":
        box.put(tick(1, key))
    box.resume()
    assert wire.writes == [tick(1, "B").frame + tick(1, "C").frame]
    for seq in (2, 3):
        outlet.broadcast(tick(seq), [box])
        outlet.broadcast(tick(seq, "B"), [box])
        await asyncio.sleep(0)
    assert wire.writes[1:] == [
        frames.frame('42/x,["tick",{"seq":2,"conflated":1}]') + tick(2, "B").frame,
        tick(3).frame + tick(3, "B").frame,
    ]
    assert (full, outlet.counters.dropped, box.state) == ([], 1, 0)


# -- who watches it -------------------------------------------------------------------------------------------------


class Watch:
    """What it was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def on_attached(self) -> None:
        self.told.append(("attached",))

    def on_behind(self, messages: int, size: int) -> None:
        self.told.append(("behind", messages, size))

    def on_caught_up(self, peak_messages: int, peak_bytes: int) -> None:
        self.told.append(("caught up", peak_messages, peak_bytes))

    def on_missed(self, packet: Packet, how: str) -> None:
        self.told.append((how, told(packet)["seq"]))

    def on_discarded(self, packets: list[Packet], size: int) -> None:
        self.told.append(("discarded", [packet.polled for packet in packets], size))


def watched(*, attached: bool = True, **bounds: int) -> tuple[Outbox, Watch, Wire]:
    box, _ = outbox(**bounds)
    watch, wire = Watch(), Wire()
    if attached:
        box.attach(wire)
    box.watch = watch
    return box, watch, wire


async def test_who_watches_hears_of_the_websocket_and_nothing_while_its_reader_keeps_up() -> None:
    box, watch, wire = watched(attached=False)
    box.put(frames.message("a"))
    box.attach(wire)
    watch.told.remove(("attached",))
    watch.told.clear()  # that it has caught up, which it says of each that waited
    for number in range(5):
        box.put(tick(number))
        await asyncio.sleep(0)
    assert watch.told == []


async def test_who_watches_hears_how_far_behind_and_what_is_missed() -> None:
    box, watch, _ = watched()
    box.put(frames.message("waits"))
    box.pause()
    waits = len(frames.message("waits").frame)
    assert watch.told == [("behind", 1, waits)]
    for seq in (1, 2, 3):
        box.put(tick(seq))
    assert watch.told[1:] == [("conflated", 1), ("conflated", 2)]
    most = box.peak_bytes
    box.resume()
    assert watch.told[3:] == [("caught up", 2, most)]
    assert most >= waits + len(tick(1).frame)


async def test_who_watches_hears_of_each_that_is_dropped_and_then_of_all_that_waited() -> None:
    box, watch, _ = watched(most=2)
    box.pause()
    box.put(tick(1, "A"))
    box.put(tick(2, "B"))
    box.put(frames.message("one"))
    box.put(frames.message("two"))
    assert watch.told == [("behind", 0, 0), ("dropped", 1), ("dropped", 2)]
    box.put(frames.message("three"))
    assert watch.told[3:] == [("discarded", ["4one", "4two", "4three"], len(framed("one", "two", "three")))]
    box.put(tick(3))
    assert len(watch.told) == 4


async def test_between_two_polls_it_is_behind_from_its_bound_to_the_next_poll() -> None:
    box, watch, _ = watched(attached=False, most=3)
    for seq in (1, 2, 3):
        box.put(tick(seq))
    assert watch.told == []
    box.put(tick(4))
    assert [each[0] for each in watch.told] == ["behind", "conflated", "conflated", "conflated"]
    assert [told(packet)["seq"] for packet in box.take(10_000)] == [4]
    assert watch.told[4:] == [("caught up", box.peak_messages, box.peak_bytes)]


async def test_an_end_is_the_last_that_is_heard() -> None:
    box, watch, wire = watched()
    box.pause()
    box.put(tick(1))
    box.shut()
    assert [each[0] for each in watch.told] == ["behind", "caught up"]
    assert wire.writes == [tick(1).frame]
    box.put(tick(2))
    box.shut()
    assert len(watch.told) == 2
