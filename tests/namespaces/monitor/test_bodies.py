from __future__ import annotations

from datetime import UTC, datetime

import pytest

from server.errors import InvalidMessage
from server.namespaces.monitor import bodies
from server.realtime.schema import Payload, Shape


@pytest.mark.parametrize(
    ("schema", "query"),
    [
        (bodies.Period, {"from": "yesterday"}),
        (bodies.Period, {"to": "0001-01-01T00:00:00+14:00"}),
        (bodies.Period, {"start": "2026-01-01"}),
        (bodies.Period, {"format": "xlsx"}),
        (bodies.ChangesQuery, {"limit": "0"}),
        (bodies.ChangesQuery, {"limit": "1001"}),
        (bodies.AvailabilityQuery, {"equipment": ""}),
        (bodies.AvailabilityQuery, {"line": "a\0b"}),
        (bodies.AlarmsQuery, {"state": "open"}),
        (bodies.AlarmsQuery, {"before": "99999999999"}),
        (bodies.AlarmsQuery, {"before": "-1"}),
    ],
)
def test_nonsense_is_refused(schema: type[Payload], query: dict[str, str]) -> None:
    with pytest.raises(InvalidMessage):
        Shape(schema()).load(query)


def test_a_time_is_utc() -> None:
    loaded = Shape(bodies.Period()).load({"from": "2026-11-02T21:00:00+09:00"})
    assert loaded == {"start": datetime(2026, 11, 2, 12, tzinfo=UTC), "end": None, "format": "json"}


@pytest.mark.parametrize(
    "body", [{}, {"minutes": 0}, {"minutes": 10_081}, {"minutes": "5"}, {"minutes": 5, "alarm_id": "a"}]
)
def test_who_shelves_says_for_how_long(body: dict[str, object]) -> None:
    with pytest.raises(InvalidMessage):
        Shape(bodies.Shelve()).load(body)
    assert Shape(bodies.Shelve()).load({"minutes": 10_080}) == {"minutes": 10_080, "comment": None}
