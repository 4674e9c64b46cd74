from __future__ import annotations

from typing import Any

import orjson
import pytest

from server.namespaces.monitor.dialect import MONITOR


def told(event: str, payload: dict[str, Any]) -> Any:
    return orjson.loads(MONITOR.told(f'42/monitor,["{event}",{orjson.dumps(payload).decode()}]') or "null")


def test_a_status_is_as_it_is() -> None:
    status = {"timestamp": "t", "equipment": [{"equipment_code": "a"}]}
    assert told("equipment_status", status) == {"type": "equipment_status", **status}


@pytest.mark.parametrize("event", ["connection_status", "equipment_alarm", "disconnecting_reason"])
def test_whatever_comes_unasked_has_equipment_to_count(event: str) -> None:
    assert told(event, {"code": "a"})["equipment"] == []


def test_an_end_is_a_status_of_the_connection() -> None:
    end = told("disconnecting_reason", {"code": "GOING_AWAY", "close_code": 1001, "message": "bye", "reconnect": True})
    assert (end["type"], end["status"], end["message"]) == ("connection_status", "disconnected", "bye")
