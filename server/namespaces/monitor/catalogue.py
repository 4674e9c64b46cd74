"""Which machines there are and where each is read: `config/equipment.toml`, checked. It reads no machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from marshmallow import Schema, ValidationError

from server import config_file
from server.config_file import ConfigFile, Keys
from server.errors import ConfigError
from server.namespaces.monitor.equipment_file import File, MachineTable, SourceTable
from server.namespaces.monitor.rules import Rule, Rules, parse
from server.namespaces.monitor.schemas import Reading, Status
from server.namespaces.monitor.shifts import Shifts
from server.realtime.schema import Payload

SIMULATED = "simulated"
LONGEST_LABEL = 40

Tags = Mapping[str, Mapping[str, Any]]


class SourceError(Exception):
    """A machine, or a whole source, could not be read; the message says why, for the log."""


class Source(Protocol):
    """Is used by one task, never concurrently."""

    @property
    def name(self) -> str: ...

    @property
    def codes(self) -> Sequence[str]:
        """The machines it reads."""

    async def read(self) -> Mapping[str, Reading | SourceError]:
        """One reading per machine, connecting first where that is needed. May be cancelled at any await.

        Raises SourceError when none can be read: `close` follows, and a later `read` connects anew.
        """

    async def close(self) -> None:
        """Lets go of what `read` opened, if anything. Never raises."""


@dataclass(frozen=True, slots=True)
class Machine:
    """`options` are its own, as the schemas of its kind of source load them; `tags` those of its group, its own over
    them. `line` is the production line that it stands in: its group's name, unless said."""

    code: str
    name: str
    line: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Machines that are read together."""

    name: str
    kind: str
    options: Mapping[str, Any]
    rules: Rules
    machines: tuple[Machine, ...]


def no_faults(group: Group) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of source: what may stand in a group's table, in its machines' and in each of their tags, if it has tags,
    and what is built of it.

    `check` tells what else is wrong with a group that is in force; a fault may begin with the code of the machine that
    it is of, a key, or both: `KRCWO12ELOA101: tags.temp.node: Must be …`."""

    options: type[Payload]
    machine: type[Payload]
    tag: type[Payload] | None
    build: Callable[[Group], Source]
    check: Callable[[Group], Iterable[str]] = no_faults


Kinds = Mapping[str, Kind | Callable[[], Kind]]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`machines` in the order of the file, which is the order on the wire."""

    machines: tuple[Machine, ...]
    groups: tuple[Group, ...]
    shifts: Shifts


def load(path: Path, kinds: Kinds, plc: str = "") -> Catalogue:
    """With `plc`, groups that have a table `plc.<its value>` are read as that says. `kinds` by the name that `source`
    gives; what is to be called for one is called only if the file has it. Raises ConfigError with every fault."""
    return _Reader(config_file.read(path), kinds, plc).read()


def sources(catalogue: Catalogue, kinds: Kinds) -> list[Source]:
    """Of each group, not yet connected."""
    return [_kind(kinds[group.kind]).build(group) for group in catalogue.groups]


def _kind(kind: Kind | Callable[[], Kind]) -> Kind:
    return kind if isinstance(kind, Kind) else kind()


#: Where a kind has tags and the file no rules: these tags say it, as far as there are such.
_USUAL_RULES: Mapping[Status, Rule] = {
    "error": parse("error"),
    "running": parse("status"),
    "idle": parse("ready"),
}


#: What a machine's table says of the machine, also where it has a source of its own.
_PLACE = frozenset({"code", "name", "line", "group"})


@dataclass(frozen=True, slots=True)
class _Variant:
    """How a group is read, usually or with a value of PLC. `raw_tags` are as its table has them."""

    at: Keys
    name: str
    kind: Kind
    options: Mapping[str, Any]
    machine: Schema
    tag: Schema | None
    raw_tags: Tags
    tags: Tags
    rules: Mapping[Status, Rule] | None


@dataclass(frozen=True, slots=True)
class _Member:
    """A machine of a group. `options` and `tags` are its own, as its table has them."""

    at: Keys
    code: str
    name: str
    line: str
    options: Mapping[str, Any]
    tags: Tags


@dataclass(slots=True)
class _Draft:
    """A group whose machines are still being collected. `variants` by the value of PLC, "" is the usual one; where
    they are not `complete`, nobody knows all that its machines may say."""

    name: str
    at: Keys
    variants: dict[str, _Variant] = field(default_factory=dict)
    members: list[_Member] = field(default_factory=list)
    used: bool = False
    complete: bool = True


class _Reader:
    def __init__(self, file: ConfigFile, kinds: Kinds, plc: str) -> None:
        self._file = file
        self._kinds = kinds
        self._plc = plc
        self._faults: set[tuple[int, str]] = set()
        self._source, self._machine = SourceTable(), MachineTable()

    def read(self) -> Catalogue:
        """Raises ConfigError."""
        loaded = self._load(File(), self._file.data)
        groups = _tables(self._file.data.get("groups"))
        machines = _tables(self._file.data.get("machines"))
        drafts = {name: self._named(str(name), table) for name, table in groups.items()}
        if self._plc and not any(self._plc in _tables(table.get("plc")) for table in groups.values()):
            self._fault(f"no group has a table plc.{self._plc}, which PLC={self._plc} asks for", "groups")
        unnamed = self._members(machines, drafts)
        finished = [group for draft in (*drafts.values(), *unnamed) if (group := self._finished(draft)) is not None]
        if self._faults or loaded is None:
            raise ConfigError("\n".join(text for _, text in sorted(self._faults)))
        by_code = {machine.code: machine for group in finished for machine in group.machines}
        ordered = tuple(by_code[table["code"]] for table in machines.values())
        return Catalogue(ordered, tuple(finished), loaded["shifts"])

    def _named(self, name: str, table: Mapping[str, Any]) -> _Draft:
        draft = _Draft(name, ("groups", name))
        usual = {key: value for key, value in table.items() if key != "plc"}
        others = _tables(table.get("plc"))
        if "plc" in table and (not others or "" in others or len(others) < len(table["plc"])):
            self._fault("Must hold tables, one for each value of PLC.", *draft.at, "plc")
        self._add_variant(draft, "", usual, draft.at, in_force=self._plc not in others)
        for plc, other in others.items():
            self._add_variant(draft, str(plc), other, (*draft.at, "plc", plc), in_force=plc == self._plc)
        return draft

    def _members(self, machines: Mapping[Any, Mapping[str, Any]], drafts: Mapping[Any, _Draft]) -> Iterable[_Draft]:
        """Puts each into its group; the groups of those that name none."""
        simulated = _Draft(SIMULATED, ())
        self._add_variant(simulated, "", {"source": SIMULATED}, (), in_force=True)
        unnamed = [simulated]
        seen: dict[str, int] = {}
        for index, table in machines.items():
            at: Keys = ("machines", index)
            options = {key: value for key, value in table.items() if key not in self._machine.fields}
            draft: _Draft | None = simulated
            own = "source" in table
            if own:
                draft = _Draft(str(table.get("code")), at)
                unnamed.append(draft)
                everything = {key: value for key, value in table.items() if key not in _PLACE}
                self._add_variant(draft, "", everything, at, in_force=True, own=True)
                known = draft.variants[""].machine.fields if draft.variants else {}
                options = {key: value for key, value in options.items() if key in known}
                if "group" in table:
                    self._fault("Has a group and a source of its own.", *at, "group")
            elif "group" in table:
                draft = drafts.get(table["group"]) if isinstance(table["group"], str) else None
                if draft is None:
                    self._fault(f"There is no group {table['group']!r}.", *at, "group")
            if draft is not None:
                draft.used = True
            loaded = self._load(self._machine, {key: table[key] for key in self._machine.fields if key in table}, *at)
            if loaded is None:
                continue
            code = loaded["code"]
            if seen.setdefault(code, index) != index:
                other = self._file.line("machines", seen[code], "code")
                self._fault(f"The machine on line {other} has this code, too.", *at, "code")
            elif draft is not None:
                line, tags = loaded["line"] or draft.name, {} if own else loaded["tags"]
                draft.members.append(_Member(at, code, loaded["name"], line, options, tags))
        return unnamed

    def _add_variant(
        self, draft: _Draft, plc: str, table: Mapping[str, Any], at: Keys, *, in_force: bool, own: bool = False
    ) -> None:
        """`own`: the table is a machine's, and holds what its kind lets a machine say, too."""
        loaded = self._load(self._source, {key: table[key] for key in self._source.fields if key in table}, *at)
        kind = self._kind(table.get("source"), at, in_force=in_force)
        if kind is None:
            draft.complete = False
            return
        machine, tag = kind.machine(), None if kind.tag is None else kind.tag()
        left_out = {*self._source.fields, *(machine.fields if own else ())}
        schema = kind.options()
        options = self._load(
            schema, {key: table[key] for key in table if key in schema.fields or key not in left_out}, *at
        )
        for key in ("tags", "rules"):
            if tag is None and key in table:
                self._fault(f"source = {table['source']!r} has no tags.", *at, key)
        tags = {} if tag is None or loaded is None else self._tags(tag, loaded["tags"], *at)
        if loaded is None or options is None:
            draft.complete = False
            return
        draft.variants[plc] = _Variant(
            at, table["source"], kind, options, machine, tag, loaded["tags"], tags, loaded["rules"]
        )

    def _kind(self, name: object, at: Keys, *, in_force: bool) -> Kind | None:
        if not isinstance(name, str):
            return None
        if name not in self._kinds:
            self._fault(f"There is no source {name!r}, only {', '.join(self._kinds)}.", *at, "source")
            return None
        try:
            return _kind(self._kinds[name])
        except ImportError as error:
            if in_force:
                self._fault(f"{name} {error}", *at, "source")
            return None

    def _finished(self, draft: _Draft) -> Group | None:
        """As it is in force. What else there is of it is checked all the same."""
        if draft.at and not draft.used:
            self._fault("Has no machines.", *draft.at)
        known = {key for variant in draft.variants.values() for key in variant.machine.fields}
        for member in draft.members if draft.complete else ():
            for key in member.options:
                if key not in known:
                    self._fault("Unknown field.", *member.at, key)
            if member.tags and not any(variant.tag for variant in draft.variants.values()):
                self._fault("Its source has no tags.", *member.at, "tags")
        in_force = draft.variants.get(self._plc) or draft.variants.get("")
        groups = [self._group(draft, each, in_force=each is in_force) for each in draft.variants.values()]
        return next((group for group in groups if group is not None), None)

    def _group(self, draft: _Draft, variant: _Variant, *, in_force: bool) -> Group | None:
        machines = [self._loaded(member, variant) for member in draft.members]
        whole = [machine for machine in machines if machine is not None]
        if not whole or len(whole) < len(machines):
            return None
        rules = Rules(self._rules(variant, whole))
        if not in_force:
            return None
        group = Group(draft.name, variant.name, variant.options, rules, tuple(whole))
        places = {member.code: member.at for member in draft.members}
        for fault in variant.kind.check(group):
            code, _, text = fault.partition(": ")
            at, text = (places[code], text) if code in places else (variant.at, fault)
            key, separator, inner = text.partition(": ")
            if separator and " " not in key:
                self._fault(inner, *at, *key.split("."))
            else:
                self._fault(text, *at)
        return group

    def _loaded(self, member: _Member, variant: _Variant) -> Machine | None:
        known = {key: value for key, value in member.options.items() if key in variant.machine.fields}
        options = self._load(variant.machine, known, *member.at)
        tags = dict(variant.tags)
        if variant.tag is not None:
            own = {name: {**variant.raw_tags.get(name, {}), **tag} for name, tag in member.tags.items()}
            tags |= self._tags(variant.tag, own, *member.at)
        return None if options is None else Machine(member.code, member.name, member.line, options, tags)

    def _tags(self, schema: Schema, tags: Tags, *at: str | int) -> dict[str, Mapping[str, Any]]:
        loaded = {name: self._load(schema, tag, *at, "tags", name) for name, tag in tags.items()}
        return {name: tag for name, tag in loaded.items() if tag is not None}

    def _rules(self, variant: _Variant, machines: Sequence[Machine]) -> Mapping[Status, Rule]:
        """Every tag that they name is a tag of every machine."""
        if variant.tag is None:
            return {}
        some = frozenset[str]().union(*(machine.tags for machine in machines))
        found = variant.rules
        if found is None:
            found = {status: rule for status, rule in _USUAL_RULES.items() if rule.names <= some}
            if not found:
                self._fault("Has neither rules nor a tag status, error or ready.", *variant.at)
        for status, rule in found.items():
            for name in sorted(rule.names):
                without = next((machine.code for machine in machines if name not in machine.tags), None)
                if without is not None:
                    whose = f"machine {without} has" if name in some else "there is"
                    self._fault(f"It names {name}, but {whose} no such tag.", *variant.at, "rules", status)
        return found

    def _load(self, schema: Schema, table: Mapping[str, Any], *at: str | int) -> Any:
        try:
            return schema.load(table)
        except ValidationError as error:
            for keys, text in config_file.faults(error.normalized_messages(), *at):
                self._fault(text, *keys)
        return None

    def _fault(self, text: str, *keys: str | int) -> None:
        named = f"{self._label(keys)}: {text}" if keys else text
        self._faults.add((self._file.line(*keys), self._file.fault(named, *keys)))

    def _label(self, keys: Keys) -> str:
        match keys:
            case ("machines", int(index), *inner):
                table = self._file.data["machines"][index]
                code = table.get("code") if isinstance(table, Mapping) else None
                known = isinstance(code, str) and len(code) <= LONGEST_LABEL and code.isprintable()
                machine = f"machine {code}" if known else f"machine number {index + 1}"
                return ": ".join([machine, *([_dotted(inner)] if inner else [])])
        return _dotted(keys)


def _dotted(keys: Sequence[str | int]) -> str:
    return ".".join(str(key) for key in keys)


def _tables(value: object) -> dict[Any, Mapping[str, Any]]:
    """Those in a table or an array, by key or index; what else is there is told by its schema."""
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, Mapping) else ()
    return {key: each for key, each in items if isinstance(each, Mapping)}
