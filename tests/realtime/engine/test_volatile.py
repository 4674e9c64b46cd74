from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.engine import frames, volatile
from server.realtime.engine.frames import Packet
from server.realtime.engine.volatile import Volatile
from tests.support.outboxes import tick, told


def test_the_newest_takes_the_place_of_its_key() -> None:
    waiting = Volatile()
    assert [bool(waiting.put(each)) for each in (tick(1), tick(1, "B"), tick(2))] == [False, False, True]
    assert [(each.key, told(each)["seq"]) for each in waiting] == [("A", 2), ("B", 1)]
    assert waiting.bytes == sum(len(each.frame) for each in waiting)
    [first] = waiting.take(1)
    assert told(first) == {"seq": 2, "conflated": 1}
    assert (len(waiting), waiting.bytes) == (1, len(tick(1, "B").frame))


def test_the_oldest_is_dropped_and_one_that_nothing_replaces_before() -> None:
    waiting = Volatile()
    for each in (tick(1), frames.message("typing", volatile=True), tick(1, "B")):
        waiting.put(each)
    assert waiting.drop()
    assert [each.key for each in waiting] == ["A", "B"]
    assert not waiting.owes
    assert waiting.drop()
    assert [each.key for each in waiting] == ["B"]
    assert waiting.owes
    assert waiting.drop()
    assert not waiting.drop()
    assert waiting.bytes == 0


def test_what_is_remembered_of_dropped_ones_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volatile, "MOST_MISSED", 2)
    waiting = Volatile()
    for key in "ABC":
        waiting.put(tick(1, key))
        waiting.drop()
    assert [told(waiting.counting(tick(2, key))).get("conflated") for key in "ABC"] == [None, 1, 1]
    assert not waiting.owes


@given(st.lists(st.tuples(st.sampled_from(["put", "put", "put", "drop", "take"]), st.sampled_from("ABC"))))
def test_every_packet_is_told_or_counted(steps: list[tuple[str, str]]) -> None:
    """By those of its key that follow, however many were dropped or replaced."""
    waiting, seqs = Volatile(), dict.fromkeys("ABC", 0)
    heard: dict[object, list[dict[str, Any]]] = {key: [] for key in "ABC"}

    def hear(packets: list[Packet]) -> None:
        for packet in packets:
            heard[packet.key].append(told(packet))

    for step, key in steps:
        if step == "drop":
            waiting.drop()
        elif step == "take":
            hear(waiting.take(1))
        else:
            seqs[key] += 1
            waiting.put(waiting.counting(tick(seqs[key], key)))
    hear(waiting.take(100))
    for key, seq in seqs.items():
        hear([waiting.counting(tick(seq + 1, key))])
        last = 0
        for payload in heard[key]:
            assert payload["seq"] == last + 1 + payload.get("conflated", 0)
            last = payload["seq"]
        assert last == seq + 1
    assert not waiting.owes
    assert waiting.bytes == 0
