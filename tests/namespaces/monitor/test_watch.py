from __future__ import annotations

from datetime import timedelta

import pytest

from server.namespaces.monitor.damping import Alarm
from server.namespaces.monitor.schemas import Status
from server.namespaces.monitor.watch import Change, Outcome, Past, Watch
from tests.support.equipment import after


def told(outcome: Outcome) -> list[tuple[str, str | None, str | None, str | None]]:
    return [(each.turn.alarm.kind, each.turn.state, each.previous, each.status) for each in outcome.news]


def past(status: Status, at: float = 0, *, seen: float | None = None, alarms: tuple[Alarm, ...] = ()) -> Past:
    return Past({"m1": Change("m1", after(at), status, None)}, alarms, {}, None if seen is None else after(seen))


def test_only_changes_are_kept() -> None:
    watch = Watch(["m1", "m2"])
    first = watch.saw({"m1": "idle", "m2": "idle"}, after(0))
    assert first.changes == [Change("m1", after(0), "idle", None), Change("m2", after(0), "idle", None)]
    assert watch.saw({"m1": "idle", "m2": "idle", "unknown": "error"}, after(1)) == Outcome()
    assert watch.saw({"m1": "idle", "m2": "running"}, after(2)).changes == [Change("m2", after(2), "running", "idle")]


def test_every_change_into_or_out_of_error_and_disconnected_is_told() -> None:
    watch = Watch(["m1"])
    seen: list[Status] = ["running", "error", "idle", "disconnected", "idle", "error", "disconnected", "error", "idle"]
    found = [told(watch.saw({"m1": status}, after(100 * number))) for number, status in enumerate(seen)]
    assert found == [
        [],
        [("error", "raised", "running", "error")],
        [("error", "cleared", "error", "idle")],
        [("disconnected", "raised", "idle", "disconnected")],
        [("disconnected", "cleared", "disconnected", "idle")],
        [("error", "raised", "idle", "error")],
        [("disconnected", "raised", "error", "disconnected")],  # in error still, as far as anybody knows
        [("disconnected", "cleared", "disconnected", "error")],
        [("error", "cleared", "error", "idle")],
    ]


def test_what_ends_is_told_before_what_begins() -> None:
    watch = Watch(["m1"])
    watch.saw({"m1": "disconnected"}, after(0))
    assert [state for _, state, *_ in told(watch.saw({"m1": "error"}, after(1)))] == ["cleared", "raised"]


def test_a_takeover_neither_doubles_nor_loses() -> None:
    alarm = Alarm("a1", "m1", "error", after(0))
    same = Watch(["m1"])
    assert same.resume(past("error", seen=20, alarms=(alarm,)), after(25)) == Outcome()
    assert same.saw({"m1": "error"}, after(25)) == Outcome()
    better = Watch(["m1"])
    better.resume(past("error", seen=20, alarms=(alarm,)), after(25))
    outcome = better.saw({"m1": "idle"}, after(25))
    assert outcome.changes == [Change("m1", after(25), "idle", "error")]
    assert [(each.turn.state, each.turn.alarm.alarm_id) for each in outcome.news] == [("cleared", "a1")]
    worse = Watch(["m1"])
    worse.resume(past("idle", seen=20), after(25))
    assert told(worse.saw({"m1": "error"}, after(25))) == [("error", "raised", "idle", "error")]
    lost = Watch(["m1"])  # whoever was before died between the change and the alarm
    lost.resume(past("error", seen=20), after(25))
    assert told(lost.saw({"m1": "error"}, after(25))) == [("error", "raised", None, "error")]


@pytest.mark.parametrize(("seen", "gap"), [(20, True), (24, False)])
def test_while_nobody_watched_machines_were_disconnected(seen: float, gap: bool) -> None:
    watch = Watch(["m1"])
    outcome = watch.resume(past("running", seen=seen), after(54.1 if gap else 54))
    assert outcome.changes == ([Change("m1", after(seen), "disconnected", "running")] if gap else [])
    then = watch.saw({"m1": "running"}, after(55))
    assert [change.status for change in then.changes] == (["running"] if gap else [])
    assert told(then) == []


def test_a_past_that_is_known_late_changes_nothing_that_was_seen() -> None:
    watch = Watch(["m1"])
    watch.resume(Past(), after(0))
    assert [state for _, state, *_ in told(watch.saw({"m1": "error"}, after(0)))] == ["raised"]
    outcome = watch.resume(past("idle", -60, seen=-50, alarms=(Alarm("a0", "m1", "error", after(-60)),)), after(5))
    assert outcome.changes == [Change("m1", after(-50), "disconnected", "idle")]
    assert [(each.turn.alarm.alarm_id, each.turn.state) for each in outcome.news] == [("a0", "cleared")]
    assert watch.saw({"m1": "error"}, after(6)) == Outcome()


def test_alarms_of_machines_that_are_gone_are_over() -> None:
    [news] = Watch([]).resume(Past(alarms=(Alarm("a1", "m1", "error", after(0)),)), after(5)).news
    assert (news.turn.state, news.turn.alarm.cleared_at) == ("cleared", after(5))


def test_clocks_that_go_back_do_not_turn_the_order() -> None:
    watch = Watch(["m1"])
    watch.resume(past("idle", 10), after(5))
    [change] = watch.saw({"m1": "error"}, after(5.0005)).changes
    assert change.at == after(10) + timedelta(milliseconds=1)


def test_a_shelf_of_another_node_holds_and_ends() -> None:
    watch = Watch(["m1"])
    watch.shelve({("m1", "error"): (after(60), "olga")}, after(0))
    assert [state for _, state, *_ in told(watch.saw({"m1": "error"}, after(1)))] == [None]
    watch.shelve({("m1", "error"): (after(60), "olga")}, after(60))  # it looked at its end: the end is still to tell
    assert [state for _, state, *_ in told(watch.saw({"m1": "error"}, after(60)))] == ["unshelved"]
    watch.shelve({("m1", "error"): (after(60), "olga")}, after(60))  # it was not stored yet that it ended
    assert watch.saw({"m1": "error"}, after(61)) == Outcome()


def test_a_shelf_that_ended_while_nobody_watched_is_told_by_who_comes() -> None:
    watch = Watch(["m1"])
    alarm = Alarm("a1", "m1", "error", after(0), shelved_until=after(20))
    shelves: Past = Past({}, (alarm,), {("m1", "error"): (after(20), "olga")}, after(15))
    watch.resume(shelves, after(25))
    assert [state for _, state, *_ in told(watch.saw({"m1": "error"}, after(25)))] == ["unshelved"]
