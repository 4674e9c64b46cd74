"""Which machines there are and where each is read: `config/equipment.toml`, checked. It reads no machine."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate

from server.errors import ConfigError
from server.realtime.schema import Count, Identifier, Payload

CODE_LENGTH = 14
LAST_ADDRESS = 65_535


@dataclass(frozen=True, slots=True)
class Machine:
    """`address` is the first of its registers, where it is read over Modbus."""

    code: str
    name: str
    address: int | None = None


@dataclass(frozen=True, slots=True)
class Simulated:
    seed: int


@dataclass(frozen=True, slots=True)
class Tag:
    """A holding register, counted from a machine's address, and the values that mean yes: empty is any but 0."""

    offset: int
    on: frozenset[int] = frozenset()

    def holds(self, value: int) -> bool:
        return value in self.on if self.on else value != 0


@dataclass(frozen=True, slots=True)
class Modbus:
    host: str
    port: int
    device_id: int
    status: Tag
    error: Tag
    ready: Tag

    @property
    def tags(self) -> tuple[Tag, Tag, Tag]:
        return (self.status, self.error, self.ready)


@dataclass(frozen=True, slots=True)
class Group:
    """Machines that are read together."""

    name: str
    source: Simulated | Modbus
    machines: tuple[Machine, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`machines` in the order of the file, which is the order on the wire."""

    machines: tuple[Machine, ...]
    groups: tuple[Group, ...]


class _Offsets(Payload):
    status = Count(most=LAST_ADDRESS, load_default=0)
    error = Count(most=LAST_ADDRESS, load_default=1)
    ready = Count(most=LAST_ADDRESS, load_default=2)


class _Values(Payload):
    status = fields.List(Count(most=65_535), load_default=list)
    error = fields.List(Count(most=65_535), load_default=list)
    ready = fields.List(Count(most=65_535), load_default=list)


class _Simulated(Payload):
    seed = Count(load_default=0)

    @post_load
    def build(self, loaded: dict[str, Any], **_: object) -> Simulated:
        return Simulated(**loaded)


class _Modbus(Payload):
    host = Identifier(most=253, required=True)
    port = Count(least=1, most=65_535, load_default=502)
    device_id = Count(most=255, load_default=1)
    registers = fields.Nested(_Offsets, load_default=lambda: _Offsets().load({}))
    values = fields.Nested(_Values, load_default=lambda: _Values().load({}))

    @post_load
    def build(self, loaded: dict[str, Any], **_: object) -> Modbus:
        offsets, values = loaded["registers"], loaded["values"]
        status, error, ready = (Tag(offsets[name], frozenset(values[name])) for name in ("status", "error", "ready"))
        return Modbus(loaded["host"], loaded["port"], loaded["device_id"], status, error, ready)


class _Machine(Payload):
    code = fields.String(
        required=True,
        validate=validate.Regexp(
            rf"[A-Za-z0-9_-]{{{CODE_LENGTH}}}\Z", error=f"Must be {CODE_LENGTH} letters, digits, - or _."
        ),
    )
    name = Identifier(required=True)
    group = Identifier(load_default=None)
    address = Count(most=LAST_ADDRESS, load_default=None)


class _File(Payload):
    machines = fields.List(fields.Dict(keys=fields.String()), required=True, validate=validate.Length(min=1))
    groups = fields.Dict(keys=Identifier(), values=fields.Dict(keys=fields.String()), load_default=dict)


_SOURCES: Mapping[str, Schema] = {"simulated": _Simulated(), "modbus": _Modbus()}
_DEFAULT_SOURCE: Mapping[str, object] = {"source": "simulated"}


def load(path: Path, plc: str = "") -> Catalogue:
    """With `plc`, groups that have a table `plc.<its value>` are read as that says. Raises ConfigError with every
    fault."""
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    reader = _Reader(plc)
    catalogue = reader.read(raw)
    if catalogue is None or reader.faults:
        raise ConfigError("\n  ".join((f"{path} is not usable:", *reader.faults)))
    return catalogue


@dataclass(slots=True)
class _Draft:
    """A group whose machines are still being collected. `variants` are its sources by name; "" is the usual one."""

    variants: dict[str, Simulated | Modbus]
    machines: list[Machine] = field(default_factory=list)


@dataclass(slots=True)
class _Reader:
    plc: str
    faults: list[str] = field(default_factory=list)
    _groups: dict[str, _Draft] = field(default_factory=dict)

    def read(self, raw: Mapping[str, Any]) -> Catalogue | None:
        loaded = self._load(_File(), raw, "")
        if loaded is None:
            return None
        for name, table in loaded["groups"].items():
            self._groups[name] = _Draft(self._variants(table, f"groups.{name}: "))
        machines = [
            machine
            for number, table in enumerate(loaded["machines"], start=1)
            if (machine := self._machine(table, f"machine {number} ({table.get('code')}): ")) is not None
        ]
        self._check_codes(machines)
        if self.plc and not any(self.plc in draft.variants for draft in self._groups.values()):
            self.faults.append(f"no group has a table plc.{self.plc}, which PLC={self.plc} asks for")
        return Catalogue(tuple(machines), tuple(self._finished()))

    def _machine(self, table: dict[str, Any], where: str) -> Machine | None:
        own = {key: value for key, value in table.items() if key not in _Machine().fields} if "source" in table else {}
        fields = {key: value for key, value in table.items() if key not in own}
        loaded = self._load(_Machine(), fields, where)
        if loaded is None:
            return None
        group = loaded.pop("group")
        machine = Machine(**loaded)
        if own and group is not None:
            self.faults.append(f"{where}has a group and a source of its own")
        elif own:
            self._groups[machine.code] = _Draft(self._variants(own, where), [machine])
        elif group is None:
            self._groups.setdefault("", _Draft(self._variants(_DEFAULT_SOURCE, ""))).machines.append(machine)
        elif group in self._groups:
            self._groups[group].machines.append(machine)
        else:
            self.faults.append(f"{where}no such group: {group!r}")
        return machine

    def _variants(self, table: Mapping[str, Any], where: str) -> dict[str, Simulated | Modbus]:
        table = dict(table)
        others = table.pop("plc", {})
        if not isinstance(others, dict) or not all(isinstance(other, dict) for other in others.values()):
            self.faults.append(f"{where}plc: must hold tables, one for each value of PLC")
            others = {}
        tables = {"": table, **others}
        sources = {name: self._source(each, f"{where}plc.{name}: " if name else where) for name, each in tables.items()}
        return {name: source for name, source in sources.items() if source is not None}

    def _source(self, table: Mapping[str, Any], where: str) -> Simulated | Modbus | None:
        kind = table.get("source")
        schema = _SOURCES.get(kind) if isinstance(kind, str) else None
        if schema is None:
            known = ", ".join(_SOURCES)
            self.faults.append(
                f"{where}unknown source {kind!r} (there are: {known})" if "source" in table else f"{where}has no source"
            )
            return None
        options = {key: value for key, value in table.items() if key != "source"}
        source: Simulated | Modbus | None = self._load(schema, options, where)
        return source

    def _check_codes(self, machines: list[Machine]) -> None:
        seen: set[str] = set()
        for machine in machines:
            if machine.code in seen:
                self.faults.append(f"machine {machine.code} is there twice")
            seen.add(machine.code)

    def _finished(self) -> Iterator[Group]:
        for name, draft in self._groups.items():
            if not draft.machines:
                self.faults.append(f"groups.{name}: has no machines")
            for source in draft.variants.values():
                if isinstance(source, Modbus):
                    self._check_addresses(source, draft.machines)
            source_in_force = draft.variants.get(self.plc) or draft.variants.get("")
            if source_in_force is not None:
                yield Group(name or "simulated", source_in_force, tuple(draft.machines))

    def _check_addresses(self, source: Modbus, machines: list[Machine]) -> None:
        seen: dict[int, str] = {}
        for machine in machines:
            where = f"machine {machine.code}: "
            if machine.address is None:
                self.faults.append(f"{where}is read over Modbus, so it needs an address")
            elif machine.address + max(tag.offset for tag in source.tags) > LAST_ADDRESS:
                self.faults.append(f"{where}its registers go beyond {LAST_ADDRESS}")
            elif machine.address in seen:
                self.faults.append(f"{where}has the address of {seen[machine.address]}")
            else:
                seen[machine.address] = machine.code

    def _load(self, schema: Schema, table: Mapping[str, Any], where: str) -> Any:
        try:
            return schema.load(table)
        except ValidationError as error:
            messages: Mapping[object, object] = error.normalized_messages()
            self.faults.extend(where + fault for fault in _flat(messages))
        return None


def _flat(messages: Mapping[object, object], path: str = "") -> Iterator[str]:
    for key, value in messages.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        elif isinstance(value, list):
            yield f"{name}: {' '.join(str(message) for message in value)}"
