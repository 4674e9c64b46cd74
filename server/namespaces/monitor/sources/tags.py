"""What sources share: the numbers of their tables and, where tags are found by text and hold any plain value,
placeholders, scaling, times, logins. What a tag's text means is its source's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from dotenv import dotenv_values
from marshmallow import fields

from server.errors import ConfigError
from server.namespaces.monitor.catalogue import Group, Machine
from server.namespaces.monitor.rules import Value
from server.realtime.schema import Identifier, Payload, Text

LONGEST_TEXT = 1000  # characters of a tag's value
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
# Clocks that were never set say 1601 or 1970; a year that floats cannot hold exactly is no time either.
_YEARS = range(1971, 3000)


class Number(fields.Float):
    """Neither a text nor a boolean, nor infinite."""

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> float:
        if isinstance(value, bool | str):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, *args, **options)


class Login(Payload):
    """Of a group. A password stands in the environment, under the name that is told."""

    user = Identifier(load_default=None)
    password_env = Identifier(load_default=None)


class Scaled(Payload):
    """Of a tag."""

    scale = Number(load_default=1.0)
    offset = Number(load_default=0.0)


class Placeholders(Payload):
    """A machine's own options: what stands for `{station}` in the texts of its tags, beside {code}, {name}, {line}."""

    placeholders = fields.Dict(keys=Identifier(most=50), values=Text(most=200), load_default=dict)


def filled(text: str, machine: Machine) -> str:
    """Raises ValueError for a placeholder that the machine does not have."""
    known = {"code": machine.code, "name": machine.name, "line": machine.line, **machine.options["placeholders"]}

    def fill(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise ValueError(f"nothing stands for {match[0]}")
        return str(known[match[1]])

    return _PLACEHOLDER.sub(fill, text)


def plain(value: object) -> Value | None:
    """None for what rules cannot look at."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else None
    return value if isinstance(value, bool | int | float) else None


def scaled(value: Value, options: Mapping[str, Any]) -> Value:
    """Of a number by its tag's `scale` and `offset`; anything else is left as it is."""
    if isinstance(value, bool | str) or (options["scale"] == 1 and options["offset"] == 0):
        return value
    return float(value * options["scale"] + options["offset"])


def usable(moment: datetime | None) -> datetime | None:
    """In UTC, which it is in if it does not say; None for one that can only come from a clock that was never set."""
    if moment is None or moment.year not in _YEARS:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def password(group: Group) -> str | None:
    """From the variable that `password_env` names, which `.env` may hold as it may hold settings, but not this file.
    Raises ConfigError if it is not there."""
    name = group.options["password_env"]
    if name is None:
        return None
    found = os.environ.get(name) or dotenv_values(".env").get(name)
    if not found:
        raise ConfigError(f"groups.{group.name}: password_env: the environment has no {name}")
    return found


def faults(group: Group, *keys: str) -> Iterator[str]:
    """What the schemas cannot see: options that need each other, and what becomes of the tags' texts in these keys."""
    if group.options["password_env"] is not None and group.options["user"] is None:
        yield "password_env: Needs a user."
    for machine in group.machines:
        if not machine.tags:
            yield f"{machine.code}: Has no tags."
        for name, tag in machine.tags.items():
            for key in keys:
                try:
                    filled(tag[key] or "", machine)
                except ValueError as error:
                    yield f"{machine.code}: tags.{name}.{key}: {error}"
