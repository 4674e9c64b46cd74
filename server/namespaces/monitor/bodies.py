"""What requests to the monitor's HTTP API carry, as schemas: queries and bodies. What events carry is in `schemas`."""

from __future__ import annotations

from marshmallow import fields, validate

from server.http.fields import Digits, Time
from server.namespaces.monitor import schemas
from server.realtime.schema import Identifier, Payload

MOST_CHANGES = 1_000
MOST_ALARMS = 200


class Period(Payload):
    start = Time(data_key="from", load_default=None)
    end = Time(data_key="to", load_default=None)
    format = fields.String(validate=validate.OneOf(["json", "csv"]), load_default="json")


class ChangesQuery(Period):
    limit = Digits(least=1, most=MOST_CHANGES, load_default=100)
    before = Time(load_default=None)


class AvailabilityQuery(Period):
    equipment = Identifier(load_default=None)
    line = Identifier(load_default=None)


class AlarmsQuery(Payload):
    state = fields.String(validate=validate.OneOf(["active", "past", "all"]), load_default="active")
    equipment = Identifier(load_default=None)
    limit = Digits(least=1, most=MOST_ALARMS, load_default=50)
    before = Digits(least=1, most=2**31 - 1, load_default=None)


class Acknowledge(schemas.AlarmAcknowledge):
    class Meta:
        exclude = ("alarm_id",)


class Shelve(schemas.AlarmShelve):
    class Meta:
        exclude = ("alarm_id",)
