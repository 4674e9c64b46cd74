from __future__ import annotations

from datetime import UTC, datetime

import pytest

from server.namespaces.monitor import schemas, told
from server.namespaces.monitor.models import EquipmentAlarm
from server.namespaces.monitor.schemas import STATUSES, Reading, Status

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("connected", [True, False])
def test_machines_in_every_status(status: Status, *, connected: bool) -> None:
    reading = Reading(status, "stale", NOW if connected else None)
    machine = schemas.equipment("c", "name", reading, connected=connected, last_updated=NOW, server_time=NOW)
    assert told.EquipmentStatus().validate(schemas.equipment_status([machine], NOW)) == {}


def test_no_other_tag_than_0_and_1() -> None:
    assert told.Tags().validate({"status_tag": 2, "error_tag": 0, "connection": True})


def test_the_first_event() -> None:
    assert told.ConnectionStatus().validate(schemas.connection_status()) == {}


def test_alarms_open_and_over() -> None:
    alarm = EquipmentAlarm(alarm_id="a", equipment_code="c", kind="error", raised_at=NOW, occurrences=1, flapping=False)
    assert told.Alarms().validate({"ok": True, "alarms": [alarm.to_wire(None, NOW)]}) == {}
    alarm.cleared_at = alarm.acknowledged_at = alarm.shelved_until = NOW
    assert told.AlarmAck().validate({"ok": True, "alarm": alarm.to_wire("name", NOW)}) == {}
