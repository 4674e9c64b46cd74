from __future__ import annotations

from datetime import time
from typing import Any

import pytest
from marshmallow import ValidationError

from server.namespaces.monitor.equipment_file import File, MachineTable, SourceTable
from server.namespaces.monitor.shifts import Shifts

MACHINE = {"code": "KRCWO12ELOA101", "name": "Upper"}


def shifts(**table: Any) -> Shifts:
    found: Shifts = File().load({"machines": [{}], "shifts": table})["shifts"]
    return found


def test_shifts_by_the_clocks_of_a_zone() -> None:
    found = shifts(timezone="Asia/Seoul", starts={"day": "06:00", "night": "22:30"})
    assert str(found.zone) == "Asia/Seoul"
    assert found.starts == (("day", time(6)), ("night", time(22, 30)))


def test_shifts_are_days_of_utc_unless_said() -> None:
    assert File().load({"machines": [{}]})["shifts"] == Shifts()
    assert shifts() == Shifts()
    assert shifts(timezone="Asia/Seoul").starts == Shifts().starts


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"timezone": "Asia/Soul"}, "No such time zone: 'Asia/Soul'"),
        ({"timezone": "Asia"}, "No such time zone"),
        ({"timezone": "../../etc/passwd"}, "No such time zone"),
        ({"timezone": ""}, "No such time zone"),
        ({"timezone": "\0"}, "No such time zone"),
        ({"timezone": 9}, "Not a valid string"),
        ({"starts": {}}, "Length must be between 1 and 24"),
        ({"starts": {"day": "6:00"}}, "Must be a time of day"),
        ({"starts": {"day": "24:00"}}, "Must be a time of day"),
        ({"starts": {"day": "06:00\n"}}, "Must be a time of day"),
        ({"starts": {"day": time(6)}}, "Not a valid string"),
        ({"starts": {" ": "06:00"}}, "Must be printable"),
        ({"starts": {"a": "06:00", "b": "06:00"}}, "Two start at the same time"),
        ({"starts": {str(n): f"{n % 24:02}:{n // 24:02}" for n in range(25)}}, "Length must be between 1 and 24"),
        ({"zone": "UTC"}, "Unknown field"),
    ],
)
def test_faults_of_shifts(table: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        shifts(**table)


@pytest.mark.parametrize("name", ["", "1st", "a-b", "in", "true", "class", "온도", "x" * 51, "a b"])
def test_tags_have_names_that_rules_can_use(name: str) -> None:
    with pytest.raises(ValidationError, match="Must be a name of letters"):
        MachineTable().load(MACHINE | {"tags": {name: {}}})


def test_a_machine_has_a_hundred_tags_at_most() -> None:
    MachineTable().load(MACHINE | {"tags": {f"t{number}": {} for number in range(100)}})
    with pytest.raises(ValidationError, match="Longer than maximum length 100"):
        MachineTable().load(MACHINE | {"tags": {f"t{number}": {} for number in range(101)}})


def test_faults_of_rules_are_told_by_status() -> None:
    with pytest.raises(ValidationError) as raised:
        SourceTable().load({"source": "modbus", "rules": {"error": "a b", "idle": 3, "stopped": "a"}})
    assert raised.value.messages == {
        "rules": {
            "error": ["Not an expression."],
            "idle": ["Not a valid string."],
            "stopped": ["Unknown field."],
        }
    }
    with pytest.raises(ValidationError, match="There is no rule in it"):
        SourceTable().load({"source": "modbus", "rules": {}})


def test_how_many_there_may_be() -> None:
    with pytest.raises(ValidationError) as raised:
        File().load({"machines": [{}] * 2001, "groups": {str(number): {} for number in range(501)}})
    assert set(raised.value.normalized_messages()) == {"machines", "groups"}
