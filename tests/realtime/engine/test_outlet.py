from __future__ import annotations

import asyncio

import pytest

from server.realtime.engine import frames
from server.realtime.engine import outlet as engine_outlet
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


async def test_how_long_it_takes_until_what_is_put_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr(engine_outlet, "perf_counter", lambda: now[0])
    outlet = Outlet()
    box, _ = outbox(outlet)
    box.attach(wire := Wire())
    told: list[tuple[float, bool]] = []
    outlet.time(lambda seconds: told.append((seconds, bool(wire.writes))))
    outlet.broadcast(frames.message("a"), [box])
    now[0] = 10.5
    outlet.time(lambda seconds: told.append((seconds, bool(wire.writes))))
    outlet.broadcast(frames.message("b"), [box])
    assert told == []
    now[0] = 10.75
    await asyncio.sleep(0)
    assert told == [(0.75, True), (0.25, True)]
    outlet.broadcast(frames.message("c"), [box])
    await asyncio.sleep(0)
    assert len(told) == 2  # once


async def test_nothing_is_timed_that_no_socket_takes_now() -> None:
    outlet = Outlet()
    polled, _ = outbox(outlet)
    stuck, _ = outbox(outlet)
    stuck.attach(Wire())
    stuck.pause()
    told: list[float] = []
    outlet.time(told.append)
    outlet.broadcast(frames.message("a"), [polled, stuck])
    free, _ = outbox(outlet)
    free.attach(Wire())
    outlet.broadcast(frames.message("b"), [free])
    await asyncio.sleep(0)
    assert told == []


async def test_of_some_the_time_is_that_of_those_who_take_it() -> None:
    outlet = Outlet()
    stuck, _ = outbox(outlet)
    stuck.attach(Wire())
    stuck.pause()
    free, _ = outbox(outlet)
    free.attach(Wire())
    told: list[float] = []
    outlet.time(told.append)
    outlet.broadcast(frames.message("a"), [stuck, free])
    await asyncio.sleep(0)
    assert len(told) == 1
