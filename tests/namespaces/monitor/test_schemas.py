from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest

from server.namespaces.monitor.schemas import Equipment, Reading, equipment, equipment_status, status_of

THEN = datetime(2025, 11, 3, 10, 30, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    ("running", "error", "ready", "status"),
    [
        (True, False, True, "running"),
        (True, False, False, "running"),
        (False, False, True, "idle"),
        (False, False, False, "stopped"),
        (False, True, False, "error"),
        (True, True, True, "error"),
    ],
)
def test_status_follows_from_the_tags(running: bool, error: bool, ready: bool, status: str) -> None:
    reading = Reading(running=running, error=error, ready=ready)
    assert status_of(reading, connected=True) == status
    assert status_of(reading, connected=False) == "disconnected"


def seed_colour(machine: Equipment) -> str:
    """The seed's getEquipmentColor()."""
    if not machine["tags"]["connection"]:
        return "gray"
    if machine["tags"]["error_tag"] == 1:
        return "purple"
    return {"stopped": "red", "idle": "yellow", "running": "green"}[machine["status"]]


@pytest.mark.parametrize(("running", "error", "ready", "connected"), list(product([True, False], repeat=4)))
def test_status_and_the_colour_clients_choose_always_agree(
    running: bool, error: bool, ready: bool, connected: bool
) -> None:
    machine = equipment(
        "KRCWO12ELOA101",
        "x",
        Reading(running=running, error=error, ready=ready),
        connected=connected,
        last_updated=THEN,
    )
    colours = {"disconnected": "gray", "error": "purple", "stopped": "red", "idle": "yellow", "running": "green"}
    assert seed_colour(machine) == colours[machine["status"]]
    assert type(machine["tags"]["status_tag"]) is int  # a JSON number, not true
    assert type(machine["tags"]["error_tag"]) is int
    assert machine["tags"]["connection"] is connected


def test_the_message_of_the_seed() -> None:
    machine = equipment(
        "KRCWO12ELOA102",
        "Lower 로봇 용접",
        Reading(running=False, error=False, ready=True),
        connected=True,
        last_updated=THEN,
    )
    assert equipment_status([machine], THEN.replace(microsecond=123_999)) == {
        "timestamp": "2025-11-03T10:30:45.123Z",
        "equipment": [
            {
                "equipment_code": "KRCWO12ELOA102",
                "equipment_name": "Lower 로봇 용접",
                "status": "idle",
                "tags": {"status_tag": 0, "error_tag": 0, "connection": True},
                "last_updated": "2025-11-03T10:30:45.000Z",
            }
        ],
    }
