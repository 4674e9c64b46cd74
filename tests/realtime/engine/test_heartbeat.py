from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.realtime.engine.heartbeat import Beat, Heartbeat


def test_the_seeds_quick_test() -> None:
    """5 s, 3 s, 3 pongs: closed after about 25 s (SPEC §3)."""
    beats: Heartbeat[str] = Heartbeat(5, 3, 3)
    beats.add("silent", 0)
    happened = [(now, beat) for now in range(40) for beat, _ in beats.due(now)]
    assert happened == [(5, Beat.PING), (13, Beat.PING), (21, Beat.PING), (24, Beat.LOST)]
    assert len(beats) == 0
    assert beats.next_due() is None


def test_who_answers_is_pinged_for_ever() -> None:
    beats: Heartbeat[str] = Heartbeat(5, 3, 1)
    beats.add("alive", 0)
    for now in range(1000):
        for beat, session in beats.due(now):
            assert beat is Beat.PING
            beats.pong(session, now)
    assert len(beats) == 1


def test_two_missed_pongs_are_forgiven_by_the_third() -> None:
    beats: Heartbeat[str] = Heartbeat(5, 3, 3)
    beats.add("late", 0)
    pings = 0
    for now in range(100):
        for beat, session in beats.due(now):
            assert beat is Beat.PING
            pings += 1
            if pings % 3 == 0:
                beats.pong(session, now)
    assert pings > 9


def test_pongs_unasked_for_gain_nothing() -> None:
    beats: Heartbeat[str] = Heartbeat(5, 3, 1)
    beats.add("chatty", 0)
    for now in range(5):
        beats.pong("chatty", now)
    assert [beat for beat, _ in beats.due(5)] == [Beat.PING]


def test_the_removed_are_not_heard_of_again() -> None:
    beats: Heartbeat[str] = Heartbeat(5, 3, 1)
    beats.add("gone", 0)
    list(beats.due(5))
    beats.remove("gone")
    beats.pong("gone", 6)
    assert [beat for now in range(20) for beat in beats.due(now)] == []


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 4)), max_size=60))
def test_what_is_due_is_never_later_than_said(steps: list[tuple[int, float]]) -> None:
    beats: Heartbeat[int] = Heartbeat(5, 3, 2)
    now = 0.0
    known: set[int] = set()
    for session, wait in steps:
        if session in known:
            beats.pong(session, now)
        else:
            known.add(session)
            beats.add(session, now)
        due = beats.next_due()
        assert due is not None or not known
        now += wait
        for beat, lost in beats.due(now):
            if beat is Beat.LOST:
                known.discard(lost)
        following = beats.next_due()
        assert following is None or following > now
