"""Machines whose tags are topics of an MQTT broker. What arrives is kept; `read` tells what is known and how old it is,
and waits for the network only to connect."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from marshmallow import fields, validate

from server.errors import ConfigError
from server.namespaces.monitor.catalogue import Group, Kind, Machine
from server.namespaces.monitor.rules import Value
from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.sources import SourceError, tags
from server.namespaces.monitor.sources.mqtt_connection import Connection
from server.realtime.schema import Count, Flag, Identifier, Text

LARGEST_PAYLOAD = 64 * 1024  # bytes that are looked into
LONGEST_WAIT_SECONDS = 3.0  # to be connected and subscribed; the service's own limit is usually below
MILLISECONDS_FROM = 10**11  # larger numbers of a time are not seconds


class Options(tags.Login):
    """Of a group. `stale_after` and `lost_after` are seconds without a message for a machine; 0 is never."""

    host = Identifier(most=253, required=True)
    port = Count(least=1, most=65_535, load_default=None)
    tls = Flag(load_default=False)
    ca_file = Identifier(most=500, load_default=None)
    client_id = Identifier(most=14, load_default="atrium")
    stale_after = tags.Number(validate=validate.Range(min=0), load_default=5.0)
    lost_after = tags.Number(validate=validate.Range(min=0), load_default=30.0)


class Tag(tags.Scaled):
    """`path` leads to the value in a JSON document, `axes.0.load`; without one the payload is the value. `default`
    holds until one is heard."""

    topic = Text(most=1000, required=True)
    path = Text(most=500, load_default=None)
    time_path = Text(most=500, load_default=None)
    default = fields.Raw(load_default=None)


@dataclass(slots=True)
class _Heard:
    """Of one machine, since its source connected. `useless` are tags whose last message told nothing."""

    values: dict[str, Value]
    times: dict[str, datetime] = field(default_factory=dict)
    useless: set[str] = field(default_factory=set)
    at: float | None = None


class _Listener(NamedTuple):
    """What waits for a topic: a tag of a machine."""

    heard: _Heard
    name: str
    tag: Mapping[str, Any]
    path: str | None
    time_path: str | None


class MqttSource:
    """`clock` is monotonic and in seconds. `useless_messages` counts what told nothing to a tag."""

    def __init__(self, group: Group, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = group.name
        self.useless_messages = 0
        self._machines = group.machines
        self._rules = group.rules
        self._options = group.options
        self._password = tags.password(group)
        self._tls = tls_context(group)
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._listeners: dict[str, list[_Listener]] = {}
        self._refused: frozenset[str] = frozenset()
        self._connection: Connection | None = None

    @property
    def codes(self) -> Sequence[str]:
        return [machine.code for machine in self._machines]

    async def read(self) -> Mapping[str, Reading | SourceError]:
        try:
            if self._connection is None or not self._connection.attend():
                async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                    await self._connect()
        except OSError as error:  # which TimeoutError is, too
            raise SourceError(str(error) or "the broker does not answer") from error
        now = self._clock()
        return {machine.code: self._reading(machine, now) for machine in self._machines}

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()

    async def _connect(self) -> None:
        """What was heard before is forgotten: what was missed since may have said otherwise, and what still holds a
        broker retains."""
        await self.close()
        self._listen()
        options = self._options
        client_id = f"{options['client_id']}-{secrets.token_hex(4)}"
        self._connection = connection = Connection(client_id, options["user"], self._password, self._hear)
        try:
            await connection.open(options["host"], options["port"] or (8883 if self._tls else 1883), self._tls)
            self._refused = frozenset(await connection.subscribe(list(self._listeners)))
        except BaseException:
            await self.close()
            raise

    def _listen(self) -> None:
        self._heard, self._listeners = {}, {}
        for machine in self._machines:
            defaults = {name: tag["default"] for name, tag in machine.tags.items() if tag["default"] is not None}
            heard = self._heard[machine.code] = _Heard(defaults)
            for name, tag in machine.tags.items():
                path, time_path = (tag[key] and tags.filled(tag[key], machine) for key in ("path", "time_path"))
                listeners = self._listeners.setdefault(tags.filled(tag["topic"], machine), [])
                listeners.append(_Listener(heard, name, tag, path, time_path))

    def _hear(self, topic: str, payload: bytes) -> None:
        now = self._clock()
        document = parsed(payload)
        for heard, name, tag, path, time_path in self._listeners.get(topic, ()):
            heard.at = now
            value = tags.plain(found(document, path))
            if value is None:
                self.useless_messages += 1
                heard.useless.add(name)
                continue
            heard.useless.discard(name)
            heard.values[name] = tags.scaled(value, tag)
            at = None if time_path is None else moment(found(document, time_path))
            if at is None:
                heard.times.pop(name, None)
            else:
                heard.times[name] = at

    def _reading(self, machine: Machine, now: float) -> Reading | SourceError:
        heard = self._heard[machine.code]
        missing = next((tag for name, tag in machine.tags.items() if name not in heard.values), None)
        if missing is not None:
            topic = tags.filled(missing["topic"], machine)
            what = "the broker refuses" if topic in self._refused else "nothing useful yet on"
            return SourceError(f"{what} {topic}")
        if heard.at is None:
            return SourceError("nothing heard yet")
        silent = now - heard.at
        if 0 < self._options["lost_after"] < silent:
            return SourceError(f"silent for {silent:.0f} s")
        stale = 0 < self._options["stale_after"] < silent
        return self._rules.reading(
            heard.values,
            "bad" if heard.useless else "stale" if stale else "good",
            min(heard.times.values(), default=None),
        )


def parsed(payload: bytes) -> object:
    """A document, or the text that it is if that is no JSON; None for what is neither or too large."""
    if len(payload) > LARGEST_PAYLOAD or not payload:
        return None
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        try:
            return payload.decode()
        except UnicodeDecodeError:
            return None


def found(document: object, path: str | None) -> object:
    """None where the path leads nowhere."""
    for key in [] if path is None else path.split("."):
        if isinstance(document, dict):
            document = document.get(key)
        elif isinstance(document, list) and key.isdecimal() and len(key) < 6 and int(key) < len(document):
            document = document[int(key)]
        else:
            return None
    return document


def moment(value: object) -> datetime | None:
    """Of an ISO 8601 text, or of seconds or milliseconds since 1970; None of anything else."""
    try:
        if isinstance(value, str):
            return tags.usable(datetime.fromisoformat(value))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return tags.usable(datetime.fromtimestamp(value / 1000 if value > MILLISECONDS_FROM else value, UTC))
    except (ValueError, OverflowError, OSError):
        pass
    return None


def tls_context(group: Group) -> ssl.SSLContext | None:
    """Raises ConfigError for a file that holds no certificates."""
    if not group.options["tls"]:
        return None
    file = group.options["ca_file"]
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise ConfigError(f"groups.{group.name}: ca_file: {file}: {error}") from None


def check(group: Group) -> Iterator[str]:
    yield from tags.faults(group, "topic", "path", "time_path")
    if group.options["ca_file"] is not None and not group.options["tls"]:
        yield "ca_file: Needs tls = true."
    for machine in group.machines:
        for name, tag in machine.tags.items():
            if "+" in tag["topic"] or "#" in tag["topic"]:
                yield f"{machine.code}: tags.{name}.topic: Must be one topic, without + and #."
            if tag["default"] is not None and tags.plain(tag["default"]) is None:
                yield f"{machine.code}: tags.{name}.default: Must be a number, a text, true or false."


KIND = Kind(Options, tags.Placeholders, Tag, MqttSource, check)
