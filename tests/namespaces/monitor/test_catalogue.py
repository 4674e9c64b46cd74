from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import date, time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import fields

from server.errors import ConfigError
from server.namespaces.monitor.catalogue import Catalogue, Group, Kind, Kinds, Source, load, sources
from server.namespaces.monitor.sources import KINDS
from server.realtime.schema import Count, Payload

SHIPPED = Path("config/equipment.toml")

A = 'code = "KRCWO12ELOA101"\nname = "Upper"\n'
B = 'code = "KRCWO12ELOA102"\nname = "Lower"\n'
GROUP = '[groups.g]\nsource = "press"\nhost = "plc"\n'
TAGS = "[groups.g.tags]\nstatus = { at = 1 }\nfault = { at = 2, scale = 5 }\n"
IN_G = 'group = "g"\n'


class Options(Payload):
    host = fields.String(required=True)
    slot = Count(load_default=None)


class MachineOptions(Payload):
    address = Count(required=True)
    slot = Count(load_default=0)


class Tag(Payload):
    at = Count(required=True)
    scale = Count(load_default=1)


class Press:
    def __init__(self, group: Group) -> None:
        self.group = group
        self.name = group.name
        self.codes: Sequence[str] = [machine.code for machine in group.machines]

    async def read(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None: ...


def check(group: Group) -> Iterator[str]:
    for machine in group.machines:
        if machine.options["address"] > 100:
            yield f"{machine.code}: Its address is too high."
            yield f"{machine.code}: address: So it is."
    if len(group.machines) == 3:
        yield "host: it is small."


PRESS = Kind(Options, MachineOptions, Tag, Press, check)


def absent() -> Kind:
    raise ImportError("needs the extra oil: pip install oil")


def opened(group: Group) -> Source:
    raise AssertionError("nothing is built before it is asked for")


PLAIN = Kind(Payload, Payload, None, opened)
TEST_KINDS: Kinds = {"simulated": PLAIN, "press": lambda: PRESS, "oil": absent}


def read(path: Path, text: str, kinds: Kinds = TEST_KINDS, plc: str = "") -> Catalogue:
    file = path / "equipment.toml"
    file.write_text(text)
    return load(file, kinds, plc)


def faults(path: Path, text: str, plc: str = "") -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(path, text, plc=plc)
    return [line.removeprefix(f"{path}/equipment.toml:") for line in str(raised.value).splitlines()]


# -- the shipped file --------------------------------------------------------------------------------------------


def test_the_shipped_file_has_seventeen_machines_the_seeds_two_first() -> None:
    catalogue = load(SHIPPED, KINDS)
    assert len(catalogue.machines) == 17
    assert [(machine.code, machine.name) for machine in catalogue.machines[:2]] == [
        ("KRCWO12ELOA101", "Upper 로봇 용접"),
        ("KRCWO12ELOA102", "Lower 로봇 용접"),
    ]
    assert len({machine.name for machine in catalogue.machines}) == 17
    assert {group.kind for group in catalogue.groups} == {"simulated"}
    assert [source.name for source in sources(catalogue, KINDS)] == [group.name for group in catalogue.groups]
    assert str(catalogue.shifts.zone) == "Asia/Seoul"
    assert [start for _, start in catalogue.shifts.starts] == [time(6), time(14), time(22)]


def test_plc_puts_other_sources_in_force() -> None:
    usual, demo = load(SHIPPED, KINDS), load(SHIPPED, KINDS, "demo")
    assert [machine.code for machine in usual.machines] == [machine.code for machine in demo.machines]
    (modbus,) = [group for group in demo.groups if group.kind == "modbus"]
    assert modbus.machines == demo.machines[:4]
    assert [machine.options["address"] for machine in modbus.machines] == [0, 3, 6, 9]
    assert modbus.options["port"] == 5020
    assert modbus.rules.status({"status": 1, "error": 0, "ready": 1}) == "running"


def test_a_plc_nobody_knows() -> None:
    with pytest.raises(ConfigError, match=r"no group has a table plc\.dmeo, which PLC=dmeo asks for"):
        load(SHIPPED, KINDS, "dmeo")


def test_the_examples_in_its_comments_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAINT_PASSWORD", "secret")
    examples = re.findall(r"^# {3}(\S.*)$", SHIPPED.read_text(), re.MULTILINE)
    names = [line[len("[groups.") : -1] for line in examples if re.fullmatch(r"\[groups\.\w+\]", line)]
    machines = [
        f'[[machines]]\ncode = "KRCWO12ELOA10{n}"\nname = "x"\ngroup = "{name}"\n' for n, name in enumerate(names)
    ]
    rules = [
        f'[groups.{name}.rules]\nrunning = "{tag}"\n'
        for name, tag in zip(names, ("state", "temp", "load"), strict=True)
    ]
    machines[1] += 'placeholders = { station = "12" }\n'
    catalogue = read(tmp_path, "\n".join([*examples, *rules, *machines]), KINDS)
    assert {group.kind for group in catalogue.groups} == {*KINDS} - {"simulated"}


# -- what is made of a file --------------------------------------------------------------------------------------


def test_by_group_by_machine_and_by_default(tmp_path: Path) -> None:
    catalogue = read(
        tmp_path,
        GROUP
        + TAGS
        + f"[[machines]]\n{A}{IN_G}address = 7\nline = 'body'\ntags.fault.at = 9\ntags.oil.at = 3\n"
        + f"[[machines]]\n{B}source = 'press'\nhost = 'own'\naddress = 1\nslot = 4\n"
        + "tags = { level = { at = 5, scale = 2 } }\nrules = { error = 'level < 3' }\n"
        + "[[machines]]\ncode = 'KRCWO12ELOA103'\nname = 'Side'\n",
    )
    upper, lower, side = catalogue.machines
    assert (upper.line, lower.line, side.line) == ("body", "KRCWO12ELOA102", "simulated")
    assert upper.options == {"address": 7, "slot": 0}
    assert upper.tags == {
        "status": {"at": 1, "scale": 1},
        "fault": {"at": 9, "scale": 5},
        "oil": {"at": 3, "scale": 1},
    }
    assert lower.options == {"address": 1, "slot": 4}
    g, simulated, own = catalogue.groups
    assert (g.name, g.kind, g.options, g.machines) == ("g", "press", {"host": "plc", "slot": None}, (upper,))
    assert (own.name, own.options, own.machines) == ("KRCWO12ELOA102", {"host": "own", "slot": 4}, (lower,))
    assert (simulated.name, simulated.kind, simulated.options) == ("simulated", "simulated", {})
    assert g.rules.names == {"status"}
    assert own.rules.status({"level": 2}) == "error"
    built = sources(Catalogue((), (g,), catalogue.shifts), TEST_KINDS)
    assert isinstance(built[0], Press)
    assert built[0].group is g


def test_a_groups_machines_are_in_its_line_unless_said(tmp_path: Path) -> None:
    catalogue = read(tmp_path, f"{GROUP}{TAGS}[[machines]]\n{A}{IN_G}address = 1\n")
    assert [machine.line for machine in catalogue.machines] == ["g"]


def test_a_machine_may_have_tags_that_its_group_has_not(tmp_path: Path) -> None:
    text = f"{GROUP}[[machines]]\n{A}{IN_G}address = 1\n[machines.tags]\nready = {{ at = 2 }}\n"
    (group,) = read(tmp_path, text).groups
    assert group.rules.status({"ready": 1}) == "idle"


def test_what_another_source_needs_may_stand_in_a_machine(tmp_path: Path) -> None:
    text = (
        '[groups.g]\nsource = "simulated"\n[groups.g.plc.real]\nsource = "press"\nhost = "plc"\n'
        "[groups.g.plc.real.tags]\nstatus = { at = 0 }\n"
        f"[[machines]]\n{A}{IN_G}address = 5\ntags.status.at = 8\n"
    )
    assert [(machine.options, machine.tags) for machine in read(tmp_path, text).machines] == [({}, {})]
    (machine,) = read(tmp_path, text, plc="real").machines
    assert (machine.options["address"], machine.tags["status"]["at"]) == (5, 8)


def test_a_source_without_its_packages_is_a_fault_where_it_is_in_force(tmp_path: Path) -> None:
    text = (
        '[groups.g]\nsource = "simulated"\n[groups.g.plc.real]\nsource = "oil"\n'
        f"[[machines]]\n{A}{IN_G}barrel = 5\ntags.status.at = 8\n"
    )
    assert [group.kind for group in read(tmp_path, text).groups] == ["simulated"]
    assert faults(tmp_path, text, "real") == [
        "4: groups.g.plc.real.source: oil needs the extra oil: pip install oil",
    ]


def test_sources_that_the_file_has_not_are_not_imported(tmp_path: Path) -> None:
    def boom() -> Kind:
        raise AssertionError

    assert len(read(tmp_path, f"[[machines]]\n{A}", {"simulated": PLAIN, "press": boom}).machines) == 1


def test_two_thousand_machines_are_not_too_many(tmp_path: Path) -> None:
    machines = [
        f'[[machines]]\ncode = "KRCWO12EL{number:05}"\nname = "x"\n{IN_G}address = 1\ntags.fault.at = 3\n'
        for number in range(2000)
    ]
    catalogue = read(tmp_path, GROUP + TAGS + "".join(machines))
    assert [len(group.machines) for group in catalogue.groups] == [2000]


# -- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("machines = [", "1: not TOML"),
        ("", "1: machines: Missing data"),
        ("machines = []", "1: machines: Length must be between 1 and 2000"),
        ("machines = 17", "1: machines: Not a valid list"),
        ("machines = [\n17]", "2: machine number 1: Not a valid mapping"),
        (f"[[machines]]\n{A}[other]", "4: other: Unknown field"),
        (f"[[machines]]\n{A}[shifts]\ntimezone = 'Asia/Soul'", "5: shifts.timezone: No such time zone"),
        (f"groups = 3\n[[machines]]\n{A}", "1: groups: Not a valid mapping"),
        (f"[groups]\ng = 3\n[[machines]]\n{A}", "2: groups.g.value: Not a valid mapping"),
        # machines
        ('\n[[machines]]\nname = "x"', "2: machine number 1: code: Missing data"),
        ('[[machines]]\ncode = "KRCWO12ELOA101"', "1: machine KRCWO12ELOA101: name: Missing data"),
        ('[[machines]]\ncode = "KRCWO12ELOA10"\nname = "x"', "2: machine KRCWO12ELOA10: code: Must be 14 letters"),
        ('[[machines]]\ncode = "KRCWO12ELOA1011"\nname = "x"', "code: Must be 14 letters"),
        ('[[machines]]\ncode = "KRCWO12ELO\\u001b101"\nname = "x"', "2: machine number 1: code: Must be 14 letters"),
        ('[[machines]]\ncode = 12345678901234\nname = "x"', "code: Not a valid string"),
        ('[[machines]]\ncode = "KRCWO12ELOA101"\nname = ""', "3: machine KRCWO12ELOA101: name: Length must be"),
        (f"[[machines]]\n{A}line = ' '", "4: machine KRCWO12ELOA101: line: Must be printable"),
        (f"[[machines]]\n{A}colour = 3", "4: machine KRCWO12ELOA101: colour: Unknown field"),
        (f"[[machines]]\n{A}tags.x.at = 3", "4: machine KRCWO12ELOA101: tags: Its source has no tags"),
        (
            f"[[machines]]\n{A}[[machines]]\n{B}[[machines]]\n{A}",
            "8: machine KRCWO12ELOA101: code: The machine on line 2",
        ),
        ("machines = [{ %s }, { %s }]" % ((A.replace("\n", ",").strip(","),) * 2), "1: machine KRCWO12ELOA101: code: "),
        (f'[[machines]]\n{A}group = "nope"', "4: machine KRCWO12ELOA101: group: There is no group 'nope'"),
        (f"[[machines]]\n{A}group = ['g']", "4: machine KRCWO12ELOA101: group: Not a valid string"),
        (f'[[machines]]\n{A}source = "profibus"', "4: machine KRCWO12ELOA101: source: There is no source 'profibus'"),
        (f"[[machines]]\n{A}source = 3", "4: machine KRCWO12ELOA101: source: Not a valid string"),
        (f"[[machines]]\n{A}{IN_G}source = 'simulated'\n{GROUP}", "group: Has a group and a source of its own"),
        (f"[[machines]]\n{A}source = 'press'\ncolour = 3", "5: machine KRCWO12ELOA101: colour: Unknown field"),
        (f"[[machines]]\n{A}source = 'press'\nhost = 'x'", "1: machine KRCWO12ELOA101: address: Missing data"),
        (f"[[machines]]\n{A}{IN_G}rules = {{ error = 'x' }}\n{GROUP}{TAGS}", "rules: Unknown field"),
        # groups
        (f"[[machines]]\n{A}[groups.g]\nhost = 'x'", "4: groups.g.source: Missing data"),
        (f'[[machines]]\n{A}[groups.g]\nsource = ["press"]', "5: groups.g.source: Not a valid string"),
        (f'[[machines]]\n{A}[groups.g]\nsource = "simulated"', "4: groups.g: Has no machines"),
        (f'[[machines]]\n{A}[groups.g]\nsource = "simulated"\nseed = 1', "6: groups.g.seed: Unknown field"),
        (f'[[machines]]\n{A}[groups.g]\nsource = "simulated"\nrules.error = "x"', "6: groups.g.rules: source = 'simu"),
        (f"[[machines]]\n{A}[groups.g]\nsource = 'oil'", "5: groups.g.source: oil needs the extra oil"),
        (f"[[machines]]\n{A}{GROUP}slot = 'x'", "7: groups.g.slot: Not a valid integer"),
        (f"[[machines]]\n{A}{GROUP}plc = 'demo'", "7: groups.g.plc: Must hold tables"),
        (f"[[machines]]\n{A}{GROUP}[groups.g.plc]\ndemo = 3", "7: groups.g.plc: Must hold tables"),
        (f"[[machines]]\n{A}{GROUP}[groups.g.plc.demo]\nsource = 'press'", "7: groups.g.plc.demo.host: Missing data"),
        # tags and rules
        (f"{GROUP}[groups.g.tags]\nstatus = {{ on = 1 }}\n[[machines]]\n{A}{IN_G}", "5: groups.g.tags.status.on: Unkn"),
        (
            f"{GROUP}[groups.g.tags]\nstatus = 3\n[[machines]]\n{A}{IN_G}",
            "5: groups.g.tags.status.value: Not a valid m",
        ),
        (f"{GROUP}[groups.g.tags]\nin = {{ at = 1 }}\n[[machines]]\n{A}", "5: groups.g.tags.in.key: Must be a name of"),
        (
            f"{GROUP}{TAGS}[[machines]]\n{A}{IN_G}address = 1\ntags.fault.at = 'x'",
            "12: machine KRCWO12ELOA101: tags.fault.at: Not a valid integer",
        ),
        (f"{GROUP}rules.error = 'a b'\n[[machines]]\n{A}{IN_G}", "4: groups.g.rules.error: Not an expression"),
        (f"{GROUP}[groups.g.rules]\n[[machines]]\n{A}{IN_G}", "4: groups.g.rules: There is no rule in it"),
        (
            f"{GROUP}{TAGS}[groups.g.rules]\nerror = 'fualt != 0'\n[[machines]]\n{A}{IN_G}address = 1",
            "8: groups.g.rules.error: It names fualt, but there is no such tag",
        ),
        (
            f"{GROUP}{TAGS}[groups.g.rules]\nerror = 'oil'\n[[machines]]\n{A}{IN_G}address = 1\ntags.oil.at = 1\n"
            f"[[machines]]\n{B}{IN_G}address = 1",
            "8: groups.g.rules.error: It names oil, but machine KRCWO12ELOA102 has no such tag",
        ),
        (f"{GROUP}[[machines]]\n{A}{IN_G}address = 1", "1: groups.g: Has neither rules nor a tag status, error or"),
        # what the kind itself checks
        (
            f"{GROUP}{TAGS}[[machines]]\n{A}{IN_G}address = 101",
            "7: machine KRCWO12ELOA101: Its address is too high",
        ),
        (f"{GROUP}{TAGS}[[machines]]\n{A}{IN_G}address = 101", "11: machine KRCWO12ELOA101: address: So it is"),
        (
            f"{GROUP}{TAGS}"
            + "".join(f"[[machines]]\ncode = 'KRCWO12ELOA10{n}'\nname='x'\n{IN_G}address = 1\n" for n in range(3)),
            "3: groups.g.host: it is small",
        ),
    ],
)
def test_faults_name_the_line_the_key_and_what_is_wrong(tmp_path: Path, text: str, found: str) -> None:
    told = faults(tmp_path, text)
    assert any(found in each for each in told), told


def test_every_fault_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        f"shifts.timezone = 'Mars'\n[[machines]]\nname = 'x'\n[[machines]]\n{A}group = 'no'\n[[machines]]\n{A}"
        "[groups.g]\nsource = 'opc'\n[groups.h]\nsource = 'press'\ntags = { in = {}, x = { at = 'x' } }\n"
    )
    assert [each.split(": ", 1)[1] for each in faults(tmp_path, text)] == [
        "shifts.timezone: No such time zone: 'Mars'.",
        "machine number 1: code: Missing data for required field.",
        "machine KRCWO12ELOA101: group: There is no group 'no'.",
        "machine KRCWO12ELOA101: code: The machine on line 5 has this code, too.",
        "groups.g: Has no machines.",
        "groups.g.source: There is no source 'opc', only simulated, press, oil.",
        "groups.h.host: Missing data for required field.",
        "groups.h: Has no machines.",
        "groups.h.tags.in.key: Must be a name of letters, digits and _, 50 at most, that rules can use.",
    ]


KEYS = st.sampled_from(
    ["g", "x", "", "plc", "demo", "source", "host", "address", "tags", "rules", "error", "code", "name", "group", "at"]
)
LEAVES = st.sampled_from(
    ["press", "oil", "simulated", "g", "x", "x > 1", "KRCWO12ELOA101", "", 0, -1, 2.5, True, date(2026, 1, 1), math.nan]
)
JUNK = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)
ANY_MACHINE = st.builds(
    lambda whole, more: {**whole, **more},
    st.sampled_from(
        [{}, {"code": "KRCWO12ELOA101", "name": "x"}, {"code": "KRCWO12ELOA102", "name": "x", "group": "g"}]
    ),
    st.dictionaries(KEYS, JUNK, max_size=2),
)
ANY_GROUP = st.builds(
    lambda whole, more: {**whole, **more},
    st.sampled_from([{}, {"source": "simulated"}, {"source": "press", "host": "x", "tags": {"x": {"at": 1}}}]),
    st.dictionaries(KEYS, JUNK, max_size=2),
)


def written(value: object) -> str:
    if isinstance(value, dict):
        return "{{ {} }}".format(", ".join(f"{json.dumps(key)} = {written(each)}" for key, each in value.items()))
    if isinstance(value, list):
        return "[{}]".format(", ".join(map(written, value)))
    return json.dumps(value) if isinstance(value, str | bool) else str(value)


@given(
    st.fixed_dictionaries(
        {"machines": st.lists(ANY_MACHINE | JUNK, max_size=3) | JUNK},
        optional={"groups": st.dictionaries(KEYS, ANY_GROUP | JUNK, max_size=2) | JUNK, "shifts": JUNK, "other": JUNK},
    ),
    st.sampled_from(["", "demo"]),
)
def test_any_file_is_read_or_has_faults(tables: dict[str, Any], plc: str) -> None:
    text, told, codes = "".join(f"{key} = {written(value)}\n" for key, value in tables.items()), "", [""]
    with TemporaryDirectory() as folder:
        try:
            codes = [machine.code for machine in read(Path(folder), text, plc=plc).machines]
        except ConfigError as error:
            told = str(error)
    assert told or codes == [each["code"] for each in tables["machines"]]


def test_more_machines_than_there_may_be(tmp_path: Path) -> None:
    text = "".join(f'[[machines]]\ncode = "KRCWO12EL{number:05}"\nname = "x"\n' for number in range(2001))
    assert faults(tmp_path, text) == ["1: machines: Length must be between 1 and 2000."]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"equipment\.toml: there is no such file"):
        load(tmp_path / "equipment.toml", KINDS)


def test_a_source_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "server.namespaces.monitor.sources.modbus", raising=False)
    monkeypatch.setitem(sys.modules, "pymodbus", None)
    with pytest.raises(ConfigError, match=r"toml:2: groups.g.source: modbus needs the extra plc: pip install"):
        read(tmp_path, f'[groups.g]\nsource = "modbus"\n[[machines]]\n{A}{IN_G}', KINDS)
