from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime import pacing
from server.realtime.engine.frames import Packet
from server.realtime.pacing import Pacer
from tests.support.outboxes import tick, told


class Timers:
    """The part of an event loop that a pacer uses, with a clock moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        self.calls.append((when, next(self._order), call, args))

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while due := sorted(each for each in self.calls if each[0] <= until + 1e-9):
            self.calls.remove(due[0])
            self.now = due[0][0]
            due[0][2](*due[0][3])
        self.now = until


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    found = Timers()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: found)
    return found


def test_the_first_goes_at_once_and_then_the_newest_of_each_interval(timers: Timers) -> None:
    pacer, sent = Pacer(), list[Packet]()
    for seq in range(1, 11):
        pacer.offer("A", 0.1, tick(seq), sent.append)
    assert [told(each) for each in sent] == [{"seq": 1}]
    timers.advance(0.1)
    assert [told(each) for each in sent[1:]] == [{"seq": 10, "conflated": 8}]
    pacer.offer("A", 0.1, tick(11), sent.append)
    assert len(sent) == 2
    timers.advance(0.1)
    assert told(sent[-1]) == {"seq": 11}
    timers.advance(0.2)
    assert not len(pacer)
    pacer.offer("A", 0.1, tick(12), sent.append)
    assert told(sent[-1]) == {"seq": 12}


def test_places_do_not_wait_for_each_other_and_leave_together(timers: Timers) -> None:
    pacer, sent = Pacer(), list[Packet]()
    for key in "AB":
        for seq in (1, 2):
            pacer.offer(key, 0.1, tick(seq, key), sent.append)
        timers.advance(0.002)
    assert [(each.key, told(each)["seq"]) for each in sent] == [("A", 1), ("B", 1)]
    timers.advance(0.2)
    assert [(each.key, told(each)["seq"]) for each in sent[2:]] == [("A", 2), ("B", 2)]


def test_keys_of_a_place_leave_in_the_order_of_their_newest(timers: Timers) -> None:
    pacer, sent = Pacer(), list[Packet]()
    for seq, key in enumerate("ABCBA", start=1):
        pacer.offer("place", 0.1, tick(seq, key), sent.append)
    timers.advance(0.1)
    assert [told(each) for each in sent] == [{"seq": 1}, {"seq": 3}, {"seq": 4, "conflated": 1}, {"seq": 5}]


def test_what_it_has_no_room_for_is_sent_at_once(timers: Timers, monkeypatch: pytest.MonkeyPatch) -> None:
    pacer, sent = Pacer(most=1), list[Packet]()
    for key in ("A", "B", "B"):
        pacer.offer(key, 0.1, tick(1, key), sent.append)
    assert [each.key for each in sent] == ["A", "B", "B"]
    assert len(pacer) == 1
    monkeypatch.setattr(pacing, "MAX_KEYS", 2)
    for seq, key in enumerate("BCD", start=2):
        pacer.offer("A", 0.1, tick(seq, key), sent.append)
    assert [told(each)["seq"] for each in sent[3:]] == [2, 3]


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.floats(0, 0.3)), max_size=60))
def test_every_message_is_sent_or_counted_in_order_and_never_too_often(steps: list[tuple[str, float]]) -> None:
    timers = Timers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "get_running_loop", lambda: timers)
        pacer = Pacer()
        sent: dict[str, list[tuple[float, dict[str, Any]]]] = {key: [] for key in "ABC"}
        seqs = dict.fromkeys("ABC", 0)
        for key, wait in steps:
            seqs[key] += 1
            pacer.offer(key, 0.1, tick(seqs[key], key), lambda p, k=key: sent[k].append((timers.now, told(p))))  # type: ignore[misc]
            timers.advance(wait)
        timers.advance(1)
    for key, seq in seqs.items():
        last = 0
        for _, payload in sent[key]:
            assert payload["seq"] == last + 1 + payload.get("conflated", 0)
            last = payload["seq"]
        assert last == seq
        moments = [moment for moment, _ in sent[key]]
        assert all(later - earlier >= 0.1 - 1e-9 for earlier, later in itertools.pairwise(moments))
    assert not timers.calls
    assert pacing.GRID_SECONDS < 0.1
