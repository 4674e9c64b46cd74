"""The shapes of `/monitor`: what it sends, as its seed has them with quality and times beside, and what clients send.

It neither reads machines nor knows which there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal, TypedDict, get_args

from marshmallow import fields, validate

from server.realtime.schema import Count, Identifier, Payload, Text
from server.timestamps import iso_utc

Status = Literal["running", "idle", "stopped", "error", "disconnected"]
Quality = Literal["good", "stale", "bad"]

STATUSES: tuple[Status, ...] = get_args(Status)

MOST_CODES, MOST_LINES = 200, 20  # that one filter names
MOST_SHELVED_MINUTES = 10_080


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source read of one machine. `quality`: `good` is fresh and trusted; `stale` is the last known value of a
    device that answers but has not told anything new for too long; `bad` is a value that its device does not trust.
    `source_time` is the device's own, where its protocol has one. `runs`: in spite of its error."""

    status: Status
    quality: Quality = "good"
    source_time: datetime | None = None
    runs: bool = False


NEVER_READ = Reading("stopped", "bad")


class Tags(TypedDict):
    status_tag: int
    error_tag: int
    connection: bool


class Equipment(TypedDict):
    """`last_updated` is when its value was last known to be new, `server_time` when it was last read, if ever."""

    equipment_code: str
    equipment_name: str
    status: Status
    tags: Tags
    last_updated: str
    quality: Quality
    source_time: str | None
    server_time: str | None


def equipment(
    code: str,
    name: str,
    reading: Reading,
    *,
    connected: bool,
    last_updated: datetime,
    server_time: datetime | None = None,
) -> Equipment:
    """`reading` is the last there was. That of a machine which is not `connected` is shown by its tags and times."""
    return {
        "equipment_code": code,
        "equipment_name": name,
        "status": reading.status if connected else "disconnected",
        "tags": {
            "status_tag": int(reading.runs or reading.status == "running"),
            "error_tag": int(reading.status == "error"),
            "connection": connected,
        },
        "last_updated": _text(last_updated) or iso_utc(),
        "quality": reading.quality if connected else "bad",
        "source_time": _text(reading.source_time),
        "server_time": _text(server_time),
    }


@lru_cache(maxsize=1024)
def _text(moment: datetime | None) -> str | None:
    """Machines that are read together share theirs. None for what no calendar has: devices say what they like."""
    try:
        return None if moment is None else iso_utc(moment)
    except OverflowError:
        return None


def equipment_status(machines: Sequence[Equipment], now: datetime) -> dict[str, object]:
    return {"timestamp": iso_utc(now), "equipment": list(machines)}


def connection_status() -> dict[str, object]:
    return {"timestamp": iso_utc(), "status": "connected", "message": "WebSocket connected successfully"}


class Subscribe(Payload):
    equipment = fields.List(
        Identifier(), validate=validate.Length(min=1, max=MOST_CODES), allow_none=True, load_default=None
    )
    lines = fields.List(
        Identifier(), validate=validate.Length(min=1, max=MOST_LINES), allow_none=True, load_default=None
    )
    statuses = fields.List(
        fields.String(validate=validate.OneOf(STATUSES)),
        validate=validate.Length(min=1, max=len(STATUSES)),
        allow_none=True,
        load_default=None,
    )


class Alarms(Payload):
    state = fields.String(validate=validate.OneOf(["active", "past"]), load_default="active")


class AlarmUnshelve(Payload):
    alarm_id = Identifier(required=True)


class AlarmAcknowledge(AlarmUnshelve):
    comment = Text(most=1000, allow_none=True, load_default=None)


class AlarmShelve(AlarmAcknowledge):
    minutes = Count(least=1, most=MOST_SHELVED_MINUTES, required=True)
