from __future__ import annotations

import asyncio

from server.realtime.engine import frames
from server.realtime.engine.outlet import MOST_CORKED, Outlet
from tests.support.outboxes import Wire, framed, outbox, tick


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


async def test_what_is_put_after_a_cork_was_full_leaves_in_the_same_turn() -> None:
    box, _ = outbox()
    box.attach(wire := Wire())
    texts = list(map(str, range(MOST_CORKED + 3)))
    for text in texts:
        box.put(frames.message(text))
    await asyncio.sleep(0)
    assert b"".join(wire.writes) == framed(*texts)


async def test_a_release_to_many_is_followed_by_a_longer_rest_for_what_is_volatile() -> None:
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
