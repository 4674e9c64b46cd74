"""The tables of `config/equipment.toml` that are the same for every kind of source. What they mean together is the
catalogue's to say."""

from __future__ import annotations

import keyword
import re
from datetime import time
from typing import Any
from zoneinfo import ZoneInfo

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from server.namespaces.monitor import rules
from server.namespaces.monitor.rules import RuleError
from server.namespaces.monitor.shifts import Shifts
from server.realtime.schema import Identifier, Payload

CODE_LENGTH = 14
MOST_MACHINES = 2000
MOST_GROUPS = 500
MOST_TAGS = 100  # of a machine
MOST_SHIFTS = 24


class RuleText(fields.String):
    def _deserialize(self, *args: Any, **options: Any) -> Any:
        try:
            return rules.parse(super()._deserialize(*args, **options))
        except RuleError as error:
            raise ValidationError(str(error)) from None


class Zone(fields.String):
    def _deserialize(self, *args: Any, **options: Any) -> Any:
        name = super()._deserialize(*args, **options)
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValidationError(f"No such time zone: {name!r}.") from None


class TimeOfDay(fields.String):
    def _deserialize(self, *args: Any, **options: Any) -> Any:
        matched = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", super()._deserialize(*args, **options))
        if matched is None:
            raise ValidationError('Must be a time of day: "06:00".')
        return time(int(matched[1]), int(matched[2]))


def _tag_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,49}", name) or keyword.iskeyword(name) or name in rules.WORDS:
        raise ValidationError("Must be a name of letters, digits and _, 50 at most, that rules can use.")


def _tags() -> fields.Dict:
    return fields.Dict(
        keys=fields.String(validate=_tag_name),
        values=fields.Dict(keys=fields.String()),
        validate=validate.Length(max=MOST_TAGS),
        load_default=dict,
    )


class RulesTable(Payload):
    disconnected = RuleText()
    error = RuleText()
    running = RuleText()
    idle = RuleText()


class SourceTable(Payload):
    """Of a group's table, or of one below its `plc`, what does not depend on the kind."""

    source = fields.String(required=True)
    tags = _tags()
    rules = fields.Nested(
        RulesTable, load_default=None, validate=validate.Length(min=1, error="There is no rule in it.")
    )


class MachineTable(Payload):
    code = fields.String(
        required=True,
        validate=validate.Regexp(
            rf"[A-Za-z0-9_-]{{{CODE_LENGTH}}}\Z", error=f"Must be {CODE_LENGTH} letters, digits, - or _."
        ),
    )
    name = Identifier(most=200, required=True)
    line = Identifier(load_default=None)
    group = Identifier(load_default=None)
    tags = _tags()


class ShiftsTable(Payload):
    timezone = Zone(load_default=Shifts().zone)
    starts = fields.Dict(
        keys=Identifier(most=50),
        values=TimeOfDay(),
        load_default=dict(Shifts().starts),
        validate=validate.Length(min=1, max=MOST_SHIFTS),
    )

    @validates_schema
    def _differ(self, loaded: dict[str, Any], **_: object) -> None:
        if len(set(loaded["starts"].values())) != len(loaded["starts"]):
            raise ValidationError("Two start at the same time.", "starts")

    @post_load
    def _build(self, loaded: dict[str, Any], **_: object) -> Shifts:
        return Shifts(loaded["timezone"], tuple(loaded["starts"].items()))


class File(Payload):
    machines = fields.List(
        fields.Dict(keys=fields.String()), required=True, validate=validate.Length(min=1, max=MOST_MACHINES)
    )
    groups = fields.Dict(
        keys=Identifier(),
        values=fields.Dict(keys=fields.String()),
        load_default=dict,
        validate=validate.Length(max=MOST_GROUPS),
    )
    shifts = fields.Nested(ShiftsTable, load_default=Shifts)
