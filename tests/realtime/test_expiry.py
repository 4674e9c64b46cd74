from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.identity import Identity
from server.realtime.connection import Connection
from server.realtime.expiry import WARNING_SECONDS, Due, ExpirySchedule


def connection(expires_at: float | None) -> Connection:
    return Connection("id", "/x", Identity("alice", expires_at=expires_at), "")


def due(schedule: ExpirySchedule, now: float) -> list[Due]:
    return [each for each, _ in schedule.due(now)]


def test_warned_a_minute_before_and_ended_at_expiry() -> None:
    schedule = ExpirySchedule(leeway=30)
    schedule.watch(connection(1000), now=0)
    assert due(schedule, 1000 - WARNING_SECONDS - 0.1) == []
    assert due(schedule, 1000 - WARNING_SECONDS) == [Due.WARN]
    assert due(schedule, 999.9) == []
    assert due(schedule, 1000) == [Due.END]
    assert due(schedule, 2000) == []
    assert len(schedule) == 0


def test_a_token_accepted_within_the_leeway_ends_with_it() -> None:
    schedule = ExpirySchedule(leeway=30)
    schedule.watch(connection(1000), now=1010)
    assert due(schedule, 1029) == [Due.WARN]
    assert due(schedule, 1030) == [Due.END]


def test_a_token_without_expiry_is_not_watched() -> None:
    schedule = ExpirySchedule(leeway=30)
    schedule.watch(connection(None), now=0)
    assert due(schedule, 10**12) == []


def test_a_renewed_token_replaces_the_old_one() -> None:
    schedule = ExpirySchedule(leeway=30)
    renewed = connection(1000)
    schedule.watch(renewed, now=0)
    renewed.identity = Identity("alice", expires_at=5000)
    schedule.watch(renewed, now=950)
    assert due(schedule, 4000) == []
    assert due(schedule, 5000) == [Due.WARN, Due.END]


def test_the_forgotten_fall_due_never_and_take_no_room() -> None:
    schedule = ExpirySchedule(leeway=30)
    for _ in range(10_000):
        gone = connection(1000)
        schedule.watch(gone, now=0)
        schedule.forget(gone)
    assert len(schedule) == 0
    assert len(schedule._heap) < 200
    assert due(schedule, 2000) == []


@given(st.lists(st.floats(0, 1000), max_size=30), st.lists(st.floats(0, 2000), max_size=10))
def test_each_is_warned_once_and_ended_once_in_order(expiries: list[float], times: list[float]) -> None:
    schedule = ExpirySchedule(leeway=30)
    watched = [connection(expiry) for expiry in expiries]
    for each in watched:
        schedule.watch(each, now=0)
    seen = [pair for now in [*sorted(times), 3000.0] for pair in schedule.due(now)]
    for each in watched:
        assert [kind for kind, one in seen if one is each] == [Due.WARN, Due.END]
