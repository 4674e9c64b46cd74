from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import ConfigError
from server.namespaces.monitor.catalogue import Machine, Modbus, Simulated, Tag, load

SHIPPED = Path("config/equipment.toml")

A = 'code = "KRCWO12ELOA101"\nname = "Upper"'
B = 'code = "KRCWO12ELOA102"\nname = "Lower"'
MODBUS = '[groups.g]\nsource = "modbus"\nhost = "plc"\n'


def write(path: Path, text: str) -> Path:
    file = path / "equipment.toml"
    file.write_text(text)
    return file


def test_the_shipped_file_has_seventeen_machines_the_seeds_two_first() -> None:
    catalogue = load(SHIPPED)
    assert len(catalogue.machines) == 17
    assert [(machine.code, machine.name) for machine in catalogue.machines[:2]] == [
        ("KRCWO12ELOA101", "Upper 로봇 용접"),
        ("KRCWO12ELOA102", "Lower 로봇 용접"),
    ]
    assert len({machine.name for machine in catalogue.machines}) == 17
    assert all(isinstance(group.source, Simulated) for group in catalogue.groups)


def test_plc_puts_other_sources_in_force() -> None:
    usual, demo = load(SHIPPED), load(SHIPPED, "demo")
    assert usual.machines == demo.machines
    modbus = [group for group in demo.groups if isinstance(group.source, Modbus)]
    assert [len(group.machines) for group in modbus] == [4]
    assert modbus[0].machines == demo.machines[:4]
    assert modbus[0].source == Modbus("127.0.0.1", 5020, 1, Tag(0), Tag(1), Tag(2))


def test_by_machine_by_group_and_by_default(tmp_path: Path) -> None:
    catalogue = load(
        write(
            tmp_path,
            '[groups.g]\nsource = "simulated"\nseed = 7\n'
            f'[[machines]]\n{A}\ngroup = "g"\n'
            f'[[machines]]\n{B}\naddress = 40\nsource = "modbus"\nhost = "plc"\nport = 1502\ndevice_id = 9\n'
            "registers = { status = 5, error = 5, ready = 6 }\nvalues = { status = [1, 2], error = [9] }\n"
            '[[machines]]\ncode = "KRCWO12ELOA103"\nname = "Side"\n',
        )
    )
    assert [
        (group.name, group.source, [machine.code[-1] for machine in group.machines]) for group in catalogue.groups
    ] == [
        ("g", Simulated(7), ["1"]),
        (
            "KRCWO12ELOA102",
            Modbus("plc", 1502, 9, Tag(5, frozenset({1, 2})), Tag(5, frozenset({9})), Tag(6)),
            ["2"],
        ),
        ("simulated", Simulated(0), ["3"]),
    ]
    assert catalogue.machines[1] == Machine("KRCWO12ELOA102", "Lower", 40)


def test_a_tag_means_yes_by_its_values_or_by_any_but_zero() -> None:
    assert [Tag(0).holds(value) for value in (0, 1, 7)] == [False, True, True]
    assert [Tag(0, frozenset({2, 0})).holds(value) for value in (0, 1, 2)] == [True, False, True]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("machines = [", "not TOML"),
        ("", "machines: Missing data"),
        ("machines = []", "machines: Shorter than minimum length"),
        ("machines = 17", "machines: Not a valid list"),
        ("machines = [17]", "machines.0: Not a valid mapping"),
        (f"[[machines]]\n{A}\n[other]", "other: Unknown field"),
        ('[[machines]]\nname = "x"', "machine 1 (None): code: Missing data"),
        ('[[machines]]\ncode = "KRCWO12ELOA101"', "machine 1 (KRCWO12ELOA101): name: Missing data"),
        ('[[machines]]\ncode = "KRCWO12ELOA10"\nname = "x"', "machine 1 (KRCWO12ELOA10): code: Must be 14 letters"),
        ('[[machines]]\ncode = "KRCWO12ELOA1011"\nname = "x"', "code: Must be 14 letters"),
        ('[[machines]]\ncode = "KRCWO12 ELOA10"\nname = "x"', "code: Must be 14 letters"),
        ('[[machines]]\ncode = 12345678901234\nname = "x"', "code: Not a valid string"),
        ('[[machines]]\ncode = "KRCWO12ELOA101"\nname = ""', "name: Length must be between 1 and 100"),
        (f"[[machines]]\n{A}\ncolour = 3", "machine 1 (KRCWO12ELOA101): colour: Unknown field"),
        (f"[[machines]]\n{A}\n[[machines]]\n{A}", "machine KRCWO12ELOA101 is there twice"),
        (f'[[machines]]\n{A}\ngroup = "nope"', "machine 1 (KRCWO12ELOA101): no such group: 'nope'"),
        (f'[[machines]]\n{A}\nsource = "profibus"', "machine 1 (KRCWO12ELOA101): unknown source 'profibus'"),
        (f'[[machines]]\n{A}\ngroup = "g"\nsource = "simulated"\n[groups.g]\nsource = "simulated"', "has a group and"),
        (f"[[machines]]\n{A}\n[groups.g]\nseed = 1", "groups.g: has no source"),
        (f'[[machines]]\n{A}\n[groups.g]\nsource = ["modbus"]', "groups.g: unknown source ['modbus']"),
        (f'[[machines]]\n{A}\n[groups.g]\nsource = "simulated"', "groups.g: has no machines"),
        (f'[[machines]]\n{A}\n[groups.g]\nsource = "simulated"\nseed = "1"', "groups.g: seed: Not a valid integer"),
        (f'[[machines]]\n{A}\n[groups.g]\nsource = "modbus"', "groups.g: host: Missing data"),
        (f"[[machines]]\n{A}\n{MODBUS}port = 65536", "groups.g: port: Must be"),
        (f"[[machines]]\n{A}\n{MODBUS}registers = {{ state = 1 }}", "groups.g: registers.state: Unknown field"),
        (f"[[machines]]\n{A}\n{MODBUS}values = {{ status = 1 }}", "groups.g: values.status: Not a valid list"),
        (
            f'[[machines]]\n{A}\ngroup = "g"\n{MODBUS}',
            "machine KRCWO12ELOA101: is read over Modbus, so it needs an address",
        ),
        (f'[[machines]]\n{A}\ngroup = "g"\naddress = 65534\n{MODBUS}', "its registers go beyond 65535"),
        (
            f'[[machines]]\n{A}\ngroup = "g"\naddress = 3\n[[machines]]\n{B}\ngroup = "g"\naddress = 3\n{MODBUS}',
            "machine KRCWO12ELOA102: has the address of KRCWO12ELOA101",
        ),
        (
            f'[[machines]]\n{A}\ngroup = "g"\n[groups.g]\nsource = "simulated"\n[groups.g.plc.demo]\nsource = "modbus"',
            "groups.g: plc.demo: host: Missing data",
        ),
        (f'[[machines]]\n{A}\ngroup = "g"\n[groups.g]\nsource = "simulated"\nplc = "demo"', "groups.g: plc: must hold"),
    ],
)
def test_faults_name_the_file_the_table_and_what_is_wrong(tmp_path: Path, text: str, fault: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load(file)
    assert str(raised.value).startswith(f"{file}")
    assert fault in str(raised.value)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, f'[[machines]]\nname = "x"\n[[machines]]\n{A}\ngroup = "no"\n[groups.g]\nsource = "opc"')
    with pytest.raises(ConfigError) as raised:
        load(file)
    for fault in ("machine 1", "no such group", "groups.g: unknown source 'opc'"):
        assert fault in str(raised.value)


def test_a_plc_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no group has a table plc\.dmeo, which PLC=dmeo asks for"):
        load(SHIPPED, "dmeo")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"equipment\.toml: No such file"):
        load(tmp_path / "equipment.toml")


def test_not_unicode(tmp_path: Path) -> None:
    (tmp_path / "equipment.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match="not TOML"):
        load(tmp_path / "equipment.toml")
