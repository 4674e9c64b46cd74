from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.monitor.damping import Alarm, Condition, Damping, Turn
from tests.support.equipment import after


def condition() -> Condition:
    numbers = itertools.count(1)
    return Condition("m1", "error", Damping(), lambda: f"a{next(numbers)}")


class Story:
    """What a condition is told by its seconds, and what it says by them."""

    def __init__(self, condition: Condition) -> None:
        self.condition = condition
        self.turns: list[Turn] = []
        self.told: list[tuple[float, str, str]] = []

    def see(self, active: bool | None, *seconds: float) -> None:
        for second in seconds:
            turns = self.condition.step(active, after(second))
            self.turns += turns
            self.told += [(second, turn.state, turn.alarm.alarm_id) for turn in turns if turn.state is not None]

    def flap(self, *seconds: float) -> None:
        for second in seconds:
            self.see(True, second)
            self.see(False, second + 1)


@pytest.fixture
def story() -> Story:
    return Story(condition())


def test_each_raise_and_clear_is_told_once(story: Story) -> None:
    story.see(False, 0, 1)
    story.see(True, 2, 3, 4)
    story.see(None, 5)
    story.see(True, 6)
    story.see(False, 7, 8)
    assert story.told == [(2, "raised", "a1"), (7, "cleared", "a1")]
    assert [turn.alarm.cleared_at for turn in story.turns] == [None, after(7)]


def test_a_condition_that_holds_when_it_is_first_seen_is_raised(story: Story) -> None:
    story.see(True, 0)
    assert story.told == [(0, "raised", "a1")]


def test_the_fourth_raise_in_a_minute_flaps_and_is_told_once(story: Story) -> None:
    story.flap(0, 10, 20, 30, 40, 50)
    assert [state for _, state, _ in story.told] == [*["raised", "cleared"] * 3, "raised"]
    last = story.turns[-1].alarm
    assert (last.alarm_id, last.flapping, last.occurrences, last.cleared_at) == ("a4", True, 3, None)


def test_four_raises_in_more_than_a_minute_do_not_flap(story: Story) -> None:
    story.flap(0, 20, 40, 60.5)
    assert [state for _, state, _ in story.told] == ["raised", "cleared"] * 4
    assert not any(turn.alarm.flapping for turn in story.turns)


def test_what_flapped_and_is_quiet_is_cleared_when_it_last_was(story: Story) -> None:
    story.flap(0, 10, 20, 30)
    story.see(False, 40, 60.9, 61, 62)
    assert story.told[-1:] == [(61, "cleared", "a4")]
    last = story.turns[-1].alarm
    assert (last.cleared_at, last.flapping) == (after(31), False)
    story.flap(63)  # a new story
    assert story.told[-2:] == [(63, "raised", "a5"), (64, "cleared", "a5")]


def test_what_flapped_and_stays_is_raised_for_good(story: Story) -> None:
    story.flap(0, 10, 20, 30)
    story.see(True, 35, 64, 65, 66)
    assert story.told[-1:] == [(65, "raised", "a4")]
    last = story.turns[-1].alarm
    assert (last.flapping, last.occurrences) == (False, 2)
    story.see(False, 70)
    assert story.told[-1:] == [(70, "cleared", "a4")]


def test_who_shelves_hears_of_no_other_alarm_until_it_is_over_but_that_this_one_is(story: Story) -> None:
    story.see(True, 0)
    story.condition.shelve(after(10), "olga")
    story.see(False, 5)
    assert story.turns[-1].alarm.shelved_until == after(10)
    story.see(True, 6, 9.9)
    assert story.told == [(0, "raised", "a1"), (5, "cleared", "a1")]
    assert (story.turns[-1].alarm.alarm_id, story.turns[-1].alarm.shelved_by) == ("a2", "olga")
    story.see(True, 10, 11)
    assert story.told[2:] == [(10, "unshelved", "a2")]
    assert story.turns[-1].alarm.shelved_until is None


def test_whoever_shows_an_alarm_that_was_raised_on_the_shelf_hears_that_it_is_over(story: Story) -> None:
    story.condition.shelve(after(10), "olga")
    story.see(False, 0)
    story.see(True, 1)
    story.see(False, 2)
    assert story.told == [(2, "cleared", "a1")]


def test_what_flaps_on_the_shelf_is_cleared_once_when_it_is_steady(story: Story) -> None:
    story.condition.shelve(after(100), "olga")
    story.see(False, -1)
    story.flap(0, 10, 20, 30, 40)
    story.see(False, 50, 70, 71, 90)
    assert story.told == [
        *((at, "cleared", f"a{number}") for number, at in enumerate((1, 11, 21), 1)),
        (71, "cleared", "a4"),
    ]


def test_what_flapped_on_the_shelf_and_stays_is_told_with_its_end(story: Story) -> None:
    story.condition.shelve(after(100), "olga")
    story.see(False, -1)
    story.flap(0, 10, 20, 30)
    story.see(True, 35, 65, 99)
    assert [state for _, state, _ in story.told] == ["cleared"] * 3
    story.see(True, 100)
    assert story.told[3:] == [(100, "unshelved", "a4")]


def test_a_shelf_that_ends_with_nothing_on_it_is_not_told(story: Story) -> None:
    story.see(True, 0)
    story.condition.shelve(after(10), "olga")
    story.see(False, 5, 10, 11)
    assert story.told == [(0, "raised", "a1"), (5, "cleared", "a1")]
    story.see(True, 12)
    assert story.told[2:] == [(12, "raised", "a2")]


@pytest.mark.parametrize(
    ("flapping", "active", "told"),
    [(False, True, []), (False, False, ["cleared"]), (True, True, []), (True, False, [])],
)
def test_an_alarm_that_another_raised_goes_on(story: Story, flapping: bool, active: bool, told: list[str]) -> None:
    story.turns += story.condition.resume(Alarm("old", "m1", "error", after(-5), 3, flapping), after(0))
    story.see(active, 1)
    assert [state for _, state, _ in story.told] == told
    assert story.condition.alarm is None or story.condition.alarm.occurrences == 3
    story.see(active, 32)
    assert [state for _, state, _ in story.told] == (
        told or [] if not flapping else ["raised" if active else "cleared"]
    )


def test_what_another_raised_and_is_over_since_is_cleared_however_late_it_is_known(story: Story) -> None:
    story.see(False, 0)
    [turn] = story.condition.resume(Alarm("old", "m1", "error", after(-5)), after(1))
    assert (turn.state, turn.alarm.cleared_at) == ("cleared", after(1))


def test_of_two_alarms_for_one_thing_the_older_is_over(story: Story) -> None:
    story.see(True, 0)
    [turn] = story.condition.resume(Alarm("old", "m1", "error", after(-5), flapping=True), after(1))
    assert (turn.state, turn.alarm.alarm_id, turn.alarm.cleared_at) == ("cleared", "old", after(0))
    assert not turn.alarm.flapping
    assert story.condition.alarm is not None


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.integers(1, 40)), max_size=60))
def test_in_the_end_everyone_knows_how_it_is_and_heard_little(steps: list[tuple[bool | None, int]]) -> None:
    story, second, edges, was = Story(condition()), 0, 0, False
    for active, pause in steps:
        second += pause
        story.see(active, second)
        if active is not None:
            edges, was = edges + (active is not was), active
    story.see(None, second + 30)
    states = [state for _, state, _ in story.told]
    assert (states[-1] if states else "cleared") == ("raised" if was else "cleared")
    assert len(states) <= edges + 1
    open_alarms = {turn.alarm.alarm_id: turn.alarm.cleared_at is None for turn in story.turns}
    assert list(open_alarms.values()).count(True) == was
    told_at = [after(at) for at, state, _ in story.told if state == "raised"]
    assert all(late - early > timedelta(seconds=10) for early, late in zip(told_at, told_at[4:], strict=False))


@given(st.lists(st.tuples(st.sampled_from(["on", "off", "shelve", "unshelve"]), st.integers(1, 40)), max_size=60))
def test_with_shelves_too_everyone_hears_of_each_alarms_end_once(steps: list[tuple[str, int]]) -> None:
    story, second = Story(condition()), 0
    for what, pause in steps:
        second += pause
        if what in ("on", "off"):
            story.see(what == "on", second)
        else:
            shelved = what == "shelve"
            story.condition.shelve(after(second + 30) if shelved else None, "olga" if shelved else None)
    ended = [turn.alarm.alarm_id for turn in story.turns if turn.alarm.cleared_at is not None]
    assert [alarm_id for _, state, alarm_id in story.told if state == "cleared"] == ended
    assert len(set(ended)) == len(ended)
