"""The classes of channels in `config/channels.toml`: which names there are, the rules of each. It holds no channel."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from marshmallow import ValidationError, fields, validate, validates_schema

from server import config_file
from server.auth import policy
from server.errors import ConfigError, Forbidden
from server.identity import Identity
from server.realtime.schema import Count, Flag, Identifier, Payload

FILE = "channels.toml"
MAX_CLASSES = 1000  # each is looked at for every new channel
MAX_NAME_CHARS = 100  # as of a channel's name

ADMIN = "admin"  # the role that sees every channel of its tenant

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
    inside a tenant stays there. A `personal` one reaches all of its owner's connections, a `group` all of its members',
    subscribed or not. A `conflate_key` makes messages volatile: a slow reader may miss one that a newer one replaces;
    at a `conflate_rate`, in messages a second of each key, so may everybody. All of a `wildcard` class's channels may
    be subscribed at once."""

    pattern: Pattern
    grants: Mapping[Action, frozenset[str]]
    history_count: int
    history_seconds: int
    presence: bool
    priority: str
    conflate_key: str | None
    shared: bool
    conflate_rate: float | None = None
    wildcard: bool = False

    @property
    def personal(self) -> bool:
        return policy.OWNER in self.grants["subscribe"]

    @property
    def group(self) -> bool:
        return policy.MEMBERS in self.grants["subscribe"]

    @property
    def wildcard_name(self) -> str | None:
        """What one subscribes to for all channels of the class, `ticks:*`."""
        return self.pattern.text if self.wildcard else None

    def owner(self, channel: str) -> str | None:
        return self.pattern.match(channel) if self.pattern.variable else None

    def is_open_to(self, identity: Identity) -> bool:
        """Whether one may subscribe to or publish on all of them, whatever their names."""
        words = (self.grants["subscribe"] | self.grants["publish"]) - {policy.OWNER, policy.MEMBERS}
        return identity.has_role(ADMIN) or policy.granted(identity, words, channel="")

    def allows(self, identity: Identity, action: Action, channel: str) -> bool:
        return policy.granted(identity, self.grants[action], channel=channel, owner=self.owner(channel))


@dataclass(frozen=True, slots=True)
class Visible:
    """Of each class in file order, whether all of its names are; and some by themselves."""

    classes: tuple[tuple[Pattern, bool], ...]
    own: frozenset[str]

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return name in self.own or next((seen for each, seen in self.classes if each.match(name) is not None), False)


class Catalogue:
    def __init__(self, classes: Sequence[ChannelClass]) -> None:
        self.classes = tuple(classes)
        self._wildcards = {each.wildcard_name: each for each in classes if each.wildcard}

    def find(self, channel: str) -> ChannelClass:
        """The first class in file order that the name is of. Raises Forbidden for a name of none (SPEC §5)."""
        for each in self.classes:
            if each.pattern.match(channel) is not None:
                return each
        raise Forbidden(f"There is no kind of channel that {channel!r} could be")

    def visible(self, identity: Identity) -> Visible:
        """The names of channels that one may subscribe to or publish on, though not who has them."""
        own = {each.pattern.head + identity.user_id for each in self.classes if each.pattern.variable} | identity.roles
        return Visible(
            tuple((each.pattern, each.is_open_to(identity)) for each in self.classes),
            frozenset(name for name in own if self._is_own(identity, name)),
        )

    def _is_own(self, identity: Identity, name: str) -> bool:
        try:
            return self.find(name).allows(identity, "subscribe", name)
        except Forbidden:
            return False

    def find_wildcard(self, name: str) -> ChannelClass | None:
        """The class that may be subscribed as a whole by this very text."""
        return self._wildcards.get(name)


def load(path: Path, more: Sequence[tuple[str, str, Mapping[str, object]]] = ()) -> Catalogue:
    """The file's classes, and after them `more`: who brings one, its name and table. Raises ConfigError with every
    fault: the file and line, or who, and the class and the key."""
    file = config_file.read(path)
    reader = _Reader()
    for name, table in file.data.items():
        reader.read(name, table, lambda text, keys: file.fault(text, *keys))
    if not file.data:
        reader.faults.append(f"{path}: there is no channel class in it")
    for who, name, table in more:
        reader.read(name, table, _brought_by(who))
    if len(file.data) + len(more) > MAX_CLASSES:
        reader.faults.append(f"{path}: more than {MAX_CLASSES} channel classes")
    if reader.faults:
        raise ConfigError("\n".join(reader.faults))
    return Catalogue(reader.classes)


def _brought_by(who: str) -> Callable[[str, config_file.Keys], str]:
    return lambda text, _: f"{who}: {text}"


class _Reader:
    def __init__(self) -> None:
        self.classes: list[ChannelClass] = []
        self.faults: list[str] = []
        self._patterns: list[Pattern] = []

    def read(self, name: str, table: object, placed: Callable[[str, config_file.Keys], str]) -> None:
        """`placed` puts before a text where its keys are."""
        for keys, text in self._read(name, table):
            inner = ".".join(str(key) for key in keys)
            self.faults.append(placed(f"[{_quoted(name)}] {inner}{': ' if inner else ''}{text}", (name, *keys)))

    def _read(self, name: str, table: object) -> Iterator[tuple[config_file.Keys, str]]:
        pattern = _pattern(name)
        if pattern is None:
            yield (), f"A name is lower-case, at most {MAX_NAME_CHARS}, and `*` or `{{variable}}` may only end it."
        else:
            for earlier in self._patterns[:MAX_CLASSES]:
                if earlier.covers(pattern):
                    yield (), f"{earlier.text!r} above it already has all of its names."
            self._patterns.append(pattern)
        if not isinstance(table, Mapping):
            yield (), "Must be a table."
            return
        try:
            loaded = _Class().load(table)
        except ValidationError as error:
            yield from config_file.faults(error.normalized_messages())
            return
        if pattern is not None:
            each = _channel_class(pattern, loaded)
            yield from _contradictions(each)
            self.classes.append(each)


def _quoted(name: str) -> str:
    """As TOML writes it; one line, whatever it is."""
    return json.dumps(name[:MAX_NAME_CHARS], ensure_ascii=False)


def _pattern(name: str) -> Pattern | None:
    matched = _PATTERN.fullmatch(name)
    if matched is None or len(name) > MAX_NAME_CHARS:
        return None
    tail = matched["tail"] or ""
    return Pattern(name, matched["head"], open_ended=bool(tail), variable=tail.startswith("{"))


def _channel_class(pattern: Pattern, loaded: Mapping[str, Any]) -> ChannelClass:
    history, conflate = loaded["history"] or {}, loaded["conflate"] or {}
    return ChannelClass(
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
        conflate_rate=conflate.get("rate"),
        wildcard=loaded["wildcard"],
    )


def _contradictions(each: ChannelClass) -> Iterator[tuple[config_file.Keys, str]]:
    """Between the name and the rules."""
    if not each.pattern.variable:
        for action, grants in each.grants.items():
            if grants & {policy.OWNER, policy.MEMBERS}:
                yield (action,), "`owner` and `members` need a `{variable}` in the name."
    elif each.shared:
        yield ("shared",), _NOT_SHARED
    if each.wildcard and (each.pattern.variable or not each.pattern.open_ended):
        yield ("wildcard",), "Only where `*` ends the name."


_NOT_SHARED = "What people say or own stays in their tenant: not with `shared`."


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


class _Rate(fields.Float):
    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> float:
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class _Conflate(Payload):
    key = Identifier(required=True)
    rate = _Rate(load_default=None, validate=validate.Range(min=0.1, max=1000))


class _Class(Payload):
    subscribe = _grants(required=True)
    publish = _grants()
    chat = _grants()
    history = fields.Nested(_History, load_default=None)
    presence = Flag(load_default=False)
    priority = fields.String(load_default="normal", validate=validate.OneOf(["normal", "high"]))
    conflate = fields.Nested(_Conflate, load_default=None)
    shared = Flag(load_default=False)
    wildcard = Flag(load_default=False)

    @validates_schema(skip_on_field_errors=True)
    def _agrees(self, data: Mapping[str, Any], **_: object) -> None:
        found: dict[str, list[str]] = {}
        if data["shared"] and data["chat"]:
            found["shared"] = [_NOT_SHARED]
        if data["priority"] == "high" and data["conflate"] is not None:
            found["conflate"] = ["It skips messages, and `priority` high loses none: not both."]
        if data["conflate"] is not None and (data["history"] or {}).get("count", 1) > 1:
            found["history"] = ["With `conflate` it is the newest of each value: its `count` is 1."]
        if found:
            raise ValidationError(found)
