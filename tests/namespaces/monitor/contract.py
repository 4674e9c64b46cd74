"""The tables of fields of /monitor's seed, as data, and what of a message is not as they say.

The event's name is the seed's `type`. What is beyond the seed stands by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

ISO_UTC = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z")
MACHINES = 17

Check = Callable[[Any], bool]
Table = Mapping[str, "Check | Table"]


def string(*possible: str) -> Check:
    return lambda value: type(value) is str and (not possible or value in possible)


def number(*possible: int) -> Check:
    """A JSON number: `true` is none."""
    return lambda value: type(value) is int and value in possible


def boolean(value: Any) -> bool:
    return type(value) is bool


def code(value: Any) -> bool:
    return type(value) is str and len(value) == 14


def time(value: Any) -> bool:
    return type(value) is str and ISO_UTC.fullmatch(value) is not None


def time_or_null(value: Any) -> bool:
    return value is None or time(value)


SEED: Table = {
    "equipment_code": code,
    "equipment_name": string(),
    "status": string("running", "idle", "stopped", "error", "disconnected"),
    "tags": {"status_tag": number(0, 1), "error_tag": number(0, 1), "connection": boolean},
    "last_updated": time,
}
BEYOND_THE_SEED: Table = {
    "quality": string("good", "stale", "bad"),
    "source_time": time_or_null,
    "server_time": time_or_null,
}
EQUIPMENT: Table = {**SEED, **BEYOND_THE_SEED}

MESSAGES: Mapping[str, Table] = {
    "equipment_status": {"timestamp": time, "equipment": lambda value: type(value) is list},
    "connection_status": {
        "timestamp": time,
        "status": string("connected", "disconnected", "error"),
        "message": string(),
    },
    "pong": {"timestamp": time},
}
COLOURS = {"error": "purple", "stopped": "red", "idle": "yellow", "running": "green"}


def colour(machine: Mapping[str, Any]) -> str:
    """The seed's getEquipmentColor()."""
    if not machine["tags"]["connection"]:
        return "gray"
    if machine["tags"]["error_tag"] == 1:
        return "purple"
    return COLOURS[machine["status"]]


def faults(event: str, payload: Any, machines: Collection[int] = (MACHINES,)) -> list[str]:
    """Of a message that tells of one of so many `machines`."""
    found = _faults(MESSAGES[event], payload, event)
    if found or event != "equipment_status":
        return found
    equipment = payload["equipment"]
    if len(equipment) not in machines:
        found.append(f"{len(equipment)} machines")
    for number, machine in enumerate(equipment):
        wrong = _faults(EQUIPMENT, machine, f"equipment[{number}]")
        if not wrong and colour(machine) != COLOURS.get(machine["status"], "gray"):
            wrong.append(f"equipment[{number}]: {machine['status']} is shown {colour(machine)}")
        found += wrong
    if not found and len({machine["equipment_code"] for machine in equipment}) != len(equipment):
        found.append("a machine twice")
    return found


def _faults(table: Table, value: Any, where: str) -> list[str]:
    if type(value) is not dict:
        return [f"{where}: not an object"]
    if value.keys() != table.keys():
        return [f"{where}: {sorted(value.keys() ^ table.keys())} missing or too much"]
    found: list[str] = []
    for name, rule in table.items():
        if callable(rule):
            if not rule(value[name]):
                found.append(f"{where}.{name}: {value[name]!r}")
        else:
            found += _faults(rule, value[name], f"{where}.{name}")
    return found
