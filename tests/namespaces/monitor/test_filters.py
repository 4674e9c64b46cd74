from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.monitor.filters import EVERYTHING, Filter, Snapshot
from server.namespaces.monitor.schemas import STATUSES, Equipment, Reading, Status, equipment

THEN = datetime(2025, 11, 3, 10, 30, 45, 123_000, tzinfo=UTC)
NAMES = st.text(min_size=1, max_size=20)
SOME = st.none() | st.lists(NAMES, max_size=5)


def made(code: str, status: Status) -> Equipment:
    return equipment(code, "x", Reading(status), connected=status != "disconnected", last_updated=THEN)


PLANT = Snapshot(
    THEN,
    [
        ("body", made("A", "running")),
        ("body", made("B", "error")),
        ("paint", made("C", "running")),
        ("paint", made("D", "disconnected")),
    ],
)


def seen(wanted: Filter) -> str:
    return "".join(each["equipment_code"] for each in PLANT.equipment(wanted))


def test_each_part_narrows_and_its_alternatives_widen() -> None:
    assert seen(EVERYTHING) == "ABCD"
    assert seen(Filter.of(["C", "A"], None, None)) == "AC"  # in the order of the file
    assert seen(Filter.of(None, ["body"], None)) == "AB"
    assert seen(Filter.of(None, ["body", "paint"], ["running"])) == "AC"
    assert seen(Filter.of(["A", "B", "D"], ["paint"], None)) == "D"
    assert seen(Filter.of(None, None, ["error", "disconnected"])) == "BD"
    assert seen(Filter.of(["A"], ["paint"], None)) == ""


def test_a_status_tells_when_it_was_taken() -> None:
    assert PLANT.status(Filter.of(["B"], None, None)) == {
        "timestamp": "2025-11-03T10:30:45.123Z",
        "equipment": [PLANT.machines[1][1]],
    }


def test_a_filter_by_status_covers_what_may_come_to_have_it() -> None:
    wanted = Filter.of(["A"], ["body"], ["error"])
    assert wanted.covers("A", "body")
    assert not wanted.covers("A", "paint")
    assert not wanted.covers("B", "body")


def test_equal_filters_are_one_however_they_were_written() -> None:
    one = Filter.of(["B", "A", "B"], None, ["error"])
    assert one == Filter.of(["A", "B"], None, ["error", "error"])
    assert one.room == Filter.of(["A", "B"], None, ["error"]).room


@given(SOME, SOME, st.none() | st.lists(st.sampled_from(STATUSES)))
def test_a_room_says_all_of_its_filter(
    codes: list[str] | None, lines: list[str] | None, statuses: list[str] | None
) -> None:
    wanted = Filter.of(codes, lines, statuses)
    assert Filter.named(wanted.room) == wanted
    assert (wanted.room == EVERYTHING.room) == (wanted == EVERYTHING)
