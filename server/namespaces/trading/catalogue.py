"""The classes of channels in `config/channels.toml`: which names there are, the rules of each. It holds no channel."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from marshmallow import ValidationError, fields, validate

from server.auth import policy
from server.errors import ConfigError, Forbidden
from server.identity import Identity
from server.realtime.schema import Count, Flag, Identifier, Payload

FILE = "channels.toml"

Action = Literal["subscribe", "publish", "chat"]

_PATTERN = re.compile(r"(?P<head>[a-z][a-z0-9_:.-]*)(?P<tail>\*|\{[a-z_]+\})?")


@dataclass(frozen=True, slots=True)
class Pattern:
    """`general`, `ticks:*` or `user:{id}`: a head, and whether something must follow it and is it a variable."""

    text: str
    head: str
    open_ended: bool
    variable: bool

    def match(self, name: str) -> str | None:
        """What follows the head, or None if the name is not of this pattern."""
        if not self.open_ended:
            return "" if name == self.head else None
        return name[len(self.head) :] or None if name.startswith(self.head) else None

    def covers(self, other: Pattern) -> bool:
        """Whether every name of the other is one of this."""
        if not other.open_ended:
            return self.match(other.head) is not None
        return self.open_ended and other.head.startswith(self.head)


@dataclass(frozen=True, slots=True)
class ChannelClass:
    """A `shared` class carries what is said outside any tenant, market data above all, to every tenant; what is said
    inside a tenant stays there. A `personal` one reaches all of its owner's connections, subscribed or not.
    A `conflate_key` makes messages volatile: a slow reader may miss one that a newer one replaces."""

    pattern: Pattern
    grants: Mapping[Action, frozenset[str]]
    history_count: int
    history_seconds: int
    presence: bool
    priority: str
    conflate_key: str | None
    shared: bool

    @property
    def personal(self) -> bool:
        return policy.OWNER in self.grants["subscribe"]

    def owner(self, channel: str) -> str | None:
        return self.pattern.match(channel) if self.pattern.variable else None

    def allows(self, identity: Identity, action: Action, channel: str) -> bool:
        return policy.granted(identity, self.grants[action], channel=channel, owner=self.owner(channel))


class Catalogue:
    def __init__(self, classes: Sequence[ChannelClass]) -> None:
        self._classes = tuple(classes)

    def find(self, channel: str) -> ChannelClass:
        """The first class in file order that the name is of. Raises Forbidden for a name of none (SPEC §5)."""
        for each in self._classes:
            if each.pattern.match(channel) is not None:
                return each
        raise Forbidden(f"There is no kind of channel that {channel!r} could be")


def load(path: Path) -> Catalogue:
    """Raises ConfigError naming the file, the class and what is wrong."""
    try:
        tables = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    classes: list[ChannelClass] = []
    for name, table in tables.items():
        try:
            each = _parse(name, table)
            _check_reachable(each, classes)
        except ValidationError as error:
            raise ConfigError(f"{path}: channel class {name!r}: {_line(error.normalized_messages())}") from None
        classes.append(each)
    if not classes:
        raise ConfigError(f"{path}: there is no channel class in it")
    return Catalogue(classes)


def _check_reachable(each: ChannelClass, classes: Sequence[ChannelClass]) -> None:
    """Raises ValidationError where an earlier one has all of its names."""
    for earlier in classes:
        if earlier.pattern.covers(each.pattern):
            raise ValidationError(f"{earlier.pattern.text!r} above it already has all of its names.")


def _grant(value: str) -> None:
    if not policy.is_grant(value):
        raise ValidationError("Must be `any`, `owner`, `members` or `role:<name>`.")


def _grants(*, required: bool = False) -> fields.List[str]:
    if required:
        return fields.List(fields.String(validate=_grant), required=True, validate=validate.Length(min=1))
    return fields.List(fields.String(validate=_grant), load_default=[])


class _History(Payload):
    count = Count(least=1, most=10_000, required=True)
    seconds = Count(least=1, most=30 * 86_400, required=True)


class _Conflate(Payload):
    key = Identifier(required=True)


class _Class(Payload):
    subscribe = _grants(required=True)
    publish = _grants()
    chat = _grants()
    history = fields.Nested(_History, load_default=None)
    presence = Flag(load_default=False)
    priority = fields.String(load_default="normal", validate=validate.OneOf(["normal", "high"]))
    conflate = fields.Nested(_Conflate, load_default=None)
    shared = Flag(load_default=False)


def _parse(name: str, table: Any) -> ChannelClass:
    matched = _PATTERN.fullmatch(name)
    if matched is None:
        raise ValidationError("A name is lower-case, and `*` or `{variable}` may only end it.")
    if not isinstance(table, Mapping):
        raise ValidationError("Must be a table.")
    loaded = _Class().load(table)
    tail = matched["tail"] or ""
    pattern = Pattern(name, matched["head"], open_ended=bool(tail), variable=tail.startswith("{"))
    history, conflate = loaded["history"] or {}, loaded["conflate"] or {}
    each = ChannelClass(
        pattern,
        {
            "subscribe": frozenset(loaded["subscribe"]),
            "publish": frozenset(loaded["publish"]),
            "chat": frozenset(loaded["chat"]),
        },
        history_count=history.get("count", 0),
        history_seconds=history.get("seconds", 0),
        presence=loaded["presence"],
        priority=loaded["priority"],
        conflate_key=conflate.get("key"),
        shared=loaded["shared"],
    )
    _check(each)
    return each


def _check(each: ChannelClass) -> None:
    words = frozenset[str]().union(*each.grants.values())
    if not each.pattern.variable and words & {policy.OWNER, policy.MEMBERS}:
        raise ValidationError("`owner` and `members` need a `{variable}` in the name.")
    if each.shared and (each.pattern.variable or each.grants["chat"]):
        raise ValidationError("What people say or own stays in their tenant: not with `shared`.")


def _line(messages: object, path: str = "") -> str:
    """`history.count: Not a valid integer.`"""
    if isinstance(messages, Mapping):
        inner = (_line(each, path if key == "_schema" else f"{path}.{key}") for key, each in messages.items())
        return "; ".join(inner)
    text = " ".join(str(each) for each in messages) if isinstance(messages, list) else str(messages)
    return f"{path[1:]}: {text}" if path else text
