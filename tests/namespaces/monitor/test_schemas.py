from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest

from server.errors import InvalidMessage
from server.namespaces.monitor import schemas
from server.namespaces.monitor.schemas import NEVER_READ, Quality, Reading, Status, equipment, equipment_status
from server.realtime import schema
from tests.namespaces.monitor import contract

THEN = datetime(2025, 11, 3, 10, 30, 45, tzinfo=UTC)
CODE = "KRCWO12ELOA102"


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("quality", get_args(Quality))
@pytest.mark.parametrize("status", schemas.STATUSES)
def test_status_and_the_colour_clients_choose_always_agree(status: Status, quality: Quality, connected: bool) -> None:
    connected = connected and status != "disconnected"
    machine = equipment(
        CODE, "x", Reading(status, quality, THEN), connected=connected, last_updated=THEN, server_time=THEN
    )
    payload = equipment_status([machine], THEN)
    assert contract.faults("equipment_status", payload, [1]) == []
    assert machine["status"] == (status if connected else "disconnected")
    assert machine["quality"] == (quality if connected else "bad")
    assert machine["tags"]["connection"] is connected


def test_the_message_of_the_seed() -> None:
    machine = equipment(CODE, "Lower 로봇 용접", Reading("idle"), connected=True, last_updated=THEN)
    assert equipment_status([machine], THEN.replace(microsecond=123_999)) == {
        "timestamp": "2025-11-03T10:30:45.123Z",
        "equipment": [
            {
                "equipment_code": CODE,
                "equipment_name": "Lower 로봇 용접",
                "status": "idle",
                "tags": {"status_tag": 0, "error_tag": 0, "connection": True},
                "last_updated": "2025-11-03T10:30:45.000Z",
                "quality": "good",
                "source_time": None,
                "server_time": None,
            }
        ],
    }


def test_a_machine_that_runs_in_spite_of_its_error() -> None:
    machine = equipment(CODE, "x", Reading("error", runs=True), connected=True, last_updated=THEN)
    assert (machine["status"], machine["tags"]["status_tag"], machine["tags"]["error_tag"]) == ("error", 1, 1)
    assert contract.faults("equipment_status", equipment_status([machine], THEN), [1]) == []


def test_what_is_shown_of_a_machine_that_is_away_are_its_last_tags_and_times() -> None:
    reading = Reading("running", "good", THEN - timedelta(seconds=1))
    machine = equipment(CODE, "x", reading, connected=False, last_updated=THEN, server_time=THEN)
    assert machine["tags"] == {"status_tag": 1, "error_tag": 0, "connection": False}
    assert (machine["source_time"], machine["server_time"]) == ("2025-11-03T10:30:44.000Z", "2025-11-03T10:30:45.000Z")


def test_one_that_was_never_read() -> None:
    machine = equipment(CODE, "x", NEVER_READ, connected=False, last_updated=THEN)
    assert (machine["status"], machine["quality"], machine["server_time"]) == ("disconnected", "bad", None)


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (THEN.astimezone(timezone(timedelta(hours=9))), "2025-11-03T10:30:45.000Z"),
        (THEN.replace(tzinfo=None), "2025-11-03T10:30:45.000Z"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=9))), None),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-9))), None),
    ],
    ids=["Seoul", "naive", "before all calendars", "after them"],
)
def test_devices_have_clocks_of_their_own(told: datetime, shown: str | None) -> None:
    machine = equipment(CODE, "x", Reading("idle", "good", told), connected=True, last_updated=THEN)
    assert machine["source_time"] == shown


def test_seventeen_machines_are_about_5_kb() -> None:
    reading = Reading("disconnected", "stale", THEN)
    machines = [
        equipment(CODE, "Side LH 로봇 용접", reading, connected=False, last_updated=THEN, server_time=THEN)
        for _ in range(17)
    ]
    text = json.dumps(equipment_status(machines, THEN), ensure_ascii=False, separators=(",", ":"))
    assert len(text.encode()) < 6000


def test_the_connection_status_is_as_in_the_seed() -> None:
    assert contract.faults("connection_status", schemas.connection_status()) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("equipment_code", "KRCWO12ELOA1"),
        ("equipment_name", None),
        ("status", "on fire"),
        ("status", "running"),  # which is not shown purple
        ("tags.status_tag", True),
        ("tags.status_tag", 2),
        ("tags.error_tag", 0.0),
        ("tags.connection", 1),
        ("last_updated", "2025-11-03T10:30:45Z"),
        ("last_updated", "2025-11-03T10:30:45.000+00:00"),
        ("quality", "fine"),
        ("server_time", ""),
        ("more", 1),
    ],
)
def test_the_contract_is_one(path: str, value: object) -> None:
    """What the tests hold every message against does find what is wrong."""
    machine: Any = equipment(CODE, "x", Reading("error"), connected=True, last_updated=THEN)
    assert contract.faults("equipment_status", equipment_status([machine], THEN), [1]) == []
    *outer, name = path.split(".")
    (machine[outer[0]] if outer else machine)[name] = value
    assert contract.faults("equipment_status", equipment_status([machine], THEN), [1])
    assert contract.faults("equipment_status", equipment_status([], THEN))


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"equipment": "KRCWO12ELOA101"}, "equipment"),
        ({"equipment": []}, "equipment"),
        ({"equipment": [1]}, "equipment"),
        ({"equipment": ["\0"]}, "equipment"),
        ({"equipment": ["x"] * 201}, "equipment"),
        ({"lines": ["x" * 10_000]}, "lines"),
        ({"lines": ["x"] * 21}, "lines"),
        ({"lines": {"a": 1}}, "lines"),
        ({"statuses": ["on fire"]}, "statuses"),
        ({"statuses": [["error"]]}, "statuses"),
        ({"status": ["error"]}, "status"),
    ],
)
def test_filters_that_are_none(payload: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        schema.Shape(schemas.Subscribe()).load(payload)
    assert caught.value.details is not None
    assert list(caught.value.details) == [field]


def test_what_is_left_out_and_what_is_null_is_anything() -> None:
    nothing = {"equipment": None, "lines": None, "statuses": None}
    assert schema.Shape(schemas.Subscribe()).load({}) == nothing
    assert schema.Shape(schemas.Subscribe()).load(nothing) == nothing


@pytest.mark.parametrize(
    ("minutes", "is_right"), [(1, True), (10_080, True), (0, False), (10_081, False), ("5", False), (True, False)]
)
def test_alarms_are_shelved_for_minutes(minutes: object, is_right: bool) -> None:
    payload = {"alarm_id": "a", "minutes": minutes}
    if is_right:
        assert schema.load(schemas.AlarmShelve(), payload) == {**payload, "comment": None}
    else:
        with pytest.raises(InvalidMessage):
            schema.load(schemas.AlarmShelve(), payload)
