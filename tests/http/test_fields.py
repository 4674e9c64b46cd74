from __future__ import annotations

from datetime import UTC, datetime

import pytest
from marshmallow import ValidationError

from server.http.fields import Digits, Time


@pytest.mark.parametrize("text", ["", "0", "11", "-1", "+1", " 1", "1_0", "1e0", "1.0", "１", "9" * 5000])
def test_what_is_no_number_within_its_bounds(text: str) -> None:
    with pytest.raises(ValidationError):
        Digits(least=1, most=10).deserialize(text)


def test_a_number() -> None:
    assert Digits(most=10).deserialize("07") == 7


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:00-09:00"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValidationError):
        Time().deserialize(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-02T12:00:00Z",
        "2026-11-02 12:00",
        "2026-11-02T21:00:00+09:00",
        "2026-11-02T21:00:00 09:00",
        "2026-11-02 21:00:00 09:00",
        "2026-11-02T21:00:00 0900",
    ],
)
def test_times_are_utc_however_they_are_written(text: str) -> None:
    assert Time().deserialize(text) == datetime(2026, 11, 2, 12, tzinfo=UTC)
