from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from server.timestamps import iso_utc


def test_milliseconds_and_z() -> None:
    assert iso_utc(datetime(2025, 11, 3, 10, 30, 45, 123_999, tzinfo=UTC)) == "2025-11-03T10:30:45.123Z"
    assert iso_utc(datetime(2025, 11, 3, 10, 30, 45, tzinfo=UTC)) == "2025-11-03T10:30:45.000Z"


def test_other_zones_become_utc_and_naive_is_utc() -> None:
    seoul = timezone(timedelta(hours=9))
    assert iso_utc(datetime(2025, 11, 3, 19, 30, tzinfo=seoul)) == "2025-11-03T10:30:00.000Z"
    assert iso_utc(datetime(2025, 11, 3, 10, 30)) == "2025-11-03T10:30:00.000Z"  # noqa: DTZ001 - the case
