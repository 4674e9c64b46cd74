"""What /monitor tells its clients, as schemas: events and acks. How they are made is `schemas`' and `alarms`'."""

from __future__ import annotations

from typing import get_args

from marshmallow import fields, validate

from server.namespaces.monitor.damping import KINDS, State
from server.namespaces.monitor.schemas import STATUSES, Quality
from server.realtime.schema import Count, Flag
from server.realtime.told import COMMON, Ack, Moment, OneOf, Tells, Told

# -- events ---------------------------------------------------------------------------------------------------------


class ConnectionStatus(Told):
    """The first event."""

    timestamp = Moment()
    status = OneOf("connected")
    message = fields.String()


class Tags(Told):
    """`connection`: whether the machine can be reached."""

    status_tag = fields.Integer(validate=validate.OneOf([0, 1]))
    error_tag = fields.Integer(validate=validate.OneOf([0, 1]))
    connection = Flag()


class Equipment(Told):
    """One machine. `last_updated` is when its value was last known to be new, `source_time` the device's own time of
    it, `server_time` when it was read last."""

    equipment_code = fields.String()
    equipment_name = fields.String()
    status = OneOf(*STATUSES)
    tags = fields.Nested(Tags)
    last_updated = Moment()
    quality = OneOf(*get_args(Quality))
    source_time = Moment(allow_none=True)
    server_time = Moment(allow_none=True)


class EquipmentStatus(Told):
    """Every period, and at once after connecting: the machines that are subscribed to, by default all. Volatile: to a
    slow reader only the newest is sent."""

    timestamp = Moment()
    equipment = fields.List(fields.Nested(Equipment))


class EquipmentAlarm(Told):
    """An alarm was raised, cleared, or somebody (`by`) did something about it. `flapping`: it comes and goes too often
    to be told each time; `occurrences` counts. One that is raised on the shelf is not told, but that it is over.
    `cleared_at`: it is over, whatever was done about it now."""

    optional = ("cleared_at", "shelved_until", "by", "comment")

    alarm_id = fields.String()
    equipment_code = fields.String()
    equipment_name = fields.String(allow_none=True)
    kind = OneOf(*KINDS)
    state = OneOf(*get_args(State))
    status = OneOf(*STATUSES, allow_none=True)
    previous_status = OneOf(*STATUSES, allow_none=True)
    flapping = Flag()
    occurrences = Count()
    timestamp = Moment()
    raised_at = Moment()
    cleared_at = Moment()
    shelved_until = Moment()
    by = fields.String()
    comment = fields.String()


# -- acks -----------------------------------------------------------------------------------------------------------


class Shown(Ack):
    """The codes of the machines that the filter lets through now."""

    equipment = fields.List(fields.String())


class Alarm(Told):
    """As it is stored. `shelved_until` is null where the shelf has ended."""

    alarm_id = fields.String()
    equipment_code = fields.String()
    equipment_name = fields.String(allow_none=True)
    kind = OneOf(*KINDS)
    raised_at = Moment()
    cleared_at = Moment(allow_none=True)
    occurrences = Count()
    flapping = Flag()
    acknowledged_at = Moment(allow_none=True)
    acknowledged_by = fields.String(allow_none=True)
    acknowledge_comment = fields.String(allow_none=True)
    shelved_until = Moment(allow_none=True)
    shelved_by = fields.String(allow_none=True)
    shelve_comment = fields.String(allow_none=True)
    unshelved_by = fields.String(allow_none=True)


class Alarms(Ack):
    """The newest first."""

    alarms = fields.List(fields.Nested(Alarm))


class AlarmAck(Ack):
    alarm = fields.Nested(Alarm)


TELLS: Tells = {
    **COMMON,
    "connection_status": ConnectionStatus,
    "equipment_status": EquipmentStatus,
    "equipment_alarm": EquipmentAlarm,
}
