"""What requests to the monitor's HTTP API carry, as schemas: queries and bodies. What events carry is in `schemas`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError, fields, validate

from server.namespaces.monitor import schemas
from server.realtime.schema import Identifier, Payload

MOST_CHANGES = 1_000
MOST_ALARMS = 200


class Number(fields.Integer):
    """As a query spells it: ASCII digits and nothing else."""

    def __init__(self, *, least: int, most: int, **options: Any) -> None:
        super().__init__(validate=validate.Range(min=least, max=most), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if re.fullmatch(r"[0-9]{1,10}", value) is None:
            raise self.make_error("invalid", input=value)
        return int(value)


class Time(fields.Field[datetime]):
    """ISO-8601, UTC where it names no zone. A `+` that nobody escaped came as a space."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> datetime:
        for spelled in (value, "+".join(value.rsplit(" ", 1))):
            try:
                moment = datetime.fromisoformat(spelled)
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
            except (ValueError, OverflowError):
                continue
        raise ValidationError("Not an ISO-8601 time.")


class Period(Payload):
    start = Time(data_key="from", load_default=None)
    end = Time(data_key="to", load_default=None)
    format = fields.String(validate=validate.OneOf(["json", "csv"]), load_default="json")


class ChangesQuery(Period):
    limit = Number(least=1, most=MOST_CHANGES, load_default=100)
    before = Time(load_default=None)


class AvailabilityQuery(Period):
    equipment = Identifier(load_default=None)
    line = Identifier(load_default=None)


class AlarmsQuery(Payload):
    state = fields.String(validate=validate.OneOf(["active", "past", "all"]), load_default="active")
    equipment = Identifier(load_default=None)
    limit = Number(least=1, most=MOST_ALARMS, load_default=50)
    before = Number(least=1, most=2**31 - 1, load_default=None)


class Acknowledge(schemas.AlarmAcknowledge):
    class Meta:
        exclude = ("alarm_id",)


class Shelve(schemas.AlarmShelve):
    class Meta:
        exclude = ("alarm_id",)
