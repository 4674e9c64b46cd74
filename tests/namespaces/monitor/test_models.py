from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.monitor.models import EquipmentAlarm, milliseconds, moment
from tests.support.equipment import after


@given(st.integers(0, 4_102_444_800_000))
def test_a_moment_is_the_same_in_milliseconds_and_back(count: int) -> None:
    assert milliseconds(moment(count)) == count


def test_moments_are_utc() -> None:
    assert moment(1_500) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)


def test_an_alarm_shows_a_shelf_while_it_holds() -> None:
    alarm = EquipmentAlarm(
        alarm_id="a", equipment_code="m", kind="error", raised_at=after(0), occurrences=1, flapping=False,
        shelved_until=after(10), shelved_by="olga",
    )  # fmt: skip
    assert alarm.to_wire("name", after(9))["shelved_until"] == "2026-11-02T12:00:10.000Z"
    assert alarm.to_wire("name", after(10))["shelved_until"] is None
    assert alarm.to_wire(None, after(10))["shelved_by"] == "olga"
