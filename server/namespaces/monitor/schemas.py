"""The shapes of `/monitor` on the wire, as its seed has them, and the one rule from tags to status.

It neither reads machines nor knows which there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypedDict

from server.timestamps import iso_utc

Status = Literal["running", "idle", "stopped", "error", "disconnected"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source read of one machine. `ready` never leaves the server: it tells idle, which waits for work, from
    stopped, where the seed's status_tag is 0 for both."""

    running: bool
    error: bool
    ready: bool


NEVER_READ = Reading(running=False, error=False, ready=False)


class Tags(TypedDict):
    status_tag: int
    error_tag: int
    connection: bool


class Equipment(TypedDict):
    equipment_code: str
    equipment_name: str
    status: Status
    tags: Tags
    last_updated: str


def status_of(reading: Reading, *, connected: bool) -> Status:
    """In the order of the seed's `getEquipmentColor()`, so that status and colour always agree."""
    if not connected:
        return "disconnected"
    if reading.error:
        return "error"
    if reading.running:
        return "running"
    return "idle" if reading.ready else "stopped"


def equipment(code: str, name: str, reading: Reading, *, connected: bool, last_updated: datetime) -> Equipment:
    return {
        "equipment_code": code,
        "equipment_name": name,
        "status": status_of(reading, connected=connected),
        "tags": {
            "status_tag": int(reading.running),
            "error_tag": int(reading.error),
            "connection": connected,
        },
        "last_updated": iso_utc(last_updated),
    }


def equipment_status(machines: Sequence[Equipment], now: datetime) -> dict[str, object]:
    return {"timestamp": iso_utc(now), "equipment": list(machines)}


def connection_status() -> dict[str, object]:
    return {"timestamp": iso_utc(), "status": "connected", "message": "WebSocket connected successfully"}
