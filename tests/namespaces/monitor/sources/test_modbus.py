from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError
from pymodbus.client import AsyncModbusTcpClient

from server.namespaces.monitor.sources.modbus import (
    KIND,
    MOST_BITS,
    MOST_REGISTERS,
    WORDS,
    Point,
    plan,
)
from tests.support.modbus import (
    LOWER,
    UPPER,
    group,
    machine,
    tag,
)

# -- what the configuration may say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"register": -1}, "Must be greater"),
        ({"register": 65_536}, "Must be greater"),
        ({"register": "5"}, "Not a valid integer"),
        ({"table": "coils"}, "Must be one of: coil, discrete, holding, input"),
        ({"type": "uint8"}, "Must be one of: bool, uint16"),
        ({"bit": 16}, "Must be greater"),
        ({"word_order": "middle"}, "Must be one of: big, little"),
        ({"scale": "0.1"}, "Not a valid number"),
        ({"scale": True}, "Not a valid number"),
        ({"scale": math.nan}, "Special numeric values"),
        ({"offset": math.inf}, "Special numeric values"),
        ({"table": "coil", "bit": 3}, "a coil is a bit"),
        ({"table": "discrete", "type": "uint16"}, "A bit is a bool"),
        ({"bit": 3, "type": "uint16"}, "A bit is a bool"),
        ({"bit": 3, "scale": 2}, "Is of numbers"),
        ({"type": "bool", "offset": 2}, "Is of numbers"),
        ({"where": 3}, "Unknown field"),
    ],
)
def test_faults_of_tags(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        tag(**options)


@pytest.mark.parametrize(
    "options", [{"port": 0}, {"port": 65_536}, {"device_id": 256}, {"gap": 126}, {"timeout": 0}, {"timeout": 9}]
)
def test_faults_of_groups(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Must be greater"):
        group(**options)


def test_what_machines_have_in_common_and_may_not() -> None:
    wide = {"status": {"register": 3, "type": "float64"}}
    assert list(KIND.check(group(machine(UPPER, 65_529, wide), rules={"running": "status"}))) == []
    assert list(KIND.check(group(machine(UPPER, 65_530, wide), rules={"running": "status"}))) == [
        f"{UPPER}: Its registers go beyond 65535."
    ]
    assert list(KIND.check(group(machine(UPPER, 3), machine(LOWER, 3)))) == [
        f"{LOWER}: It has the registers of {UPPER}: an address or a device_id is missing."
    ]
    assert list(KIND.check(group(machine(UPPER, 3), machine(LOWER, 3, device_id=8)))) == []
    bits = [machine(code, 0, {"on": {"register": 0, "bit": bit}}) for bit, code in enumerate([UPPER, LOWER])]
    assert list(KIND.check(group(*bits, rules={"running": "on"}))) == []


# -- which registers ---------------------------------------------------------------------------------------------


def point(first: int, kind: str = "uint16", table: str = "holding", device: int = 7) -> Point:
    return Point(UPPER, f"t{first}", device, table, first, tag(type=kind, table=table))


def asked(points: list[Point], gap: int = 0) -> list[tuple[int, int]]:
    return [(request.first, request.count) for request in plan(points, gap)]


@pytest.mark.parametrize(
    ("wanted", "gap", "requests"),
    [
        ([], 0, []),
        ([5], 0, [(5, 1)]),
        ([3, 1, 2, 2], 0, [(1, 3)]),
        ([0, 1, 3, 4, 9], 0, [(0, 2), (3, 2), (9, 1)]),
        ([0, 1, 3, 4, 9], 1, [(0, 5), (9, 1)]),
        ([0, 1, 3, 4, 9], 4, [(0, 10)]),
        (range(300), 0, [(0, 125), (125, 125), (250, 50)]),
        (range(0, 300, 100), 99, [(0, 101), (200, 1)]),
        ([65_535, 0], 0, [(0, 1), (65_535, 1)]),
    ],
)
def test_registers_beside_each_other_are_one_request(
    wanted: list[int], gap: int, requests: list[tuple[int, int]]
) -> None:
    assert asked([point(first) for first in wanted], gap) == requests


def test_no_value_is_cut_in_two() -> None:
    assert asked([point(first) for first in range(124)] + [point(124, "float32")]) == [(0, 124), (124, 2)]
    assert asked([point(0, "float64"), point(2, "uint16"), point(4, "uint16")]) == [(0, 5)]


def test_bits_come_two_thousand_at_once_and_tables_and_devices_apart() -> None:
    assert asked([point(first, "bool", "coil") for first in range(2001)]) == [(0, MOST_BITS), (2000, 1)]
    requests = list(
        plan([point(0, table=table, device=device) for table in ("input", "holding") for device in (1, 2)], 0)
    )
    assert [(each.points[0].device_id, each.points[0].table) for each in requests] == [
        (1, "holding"),
        (1, "input"),
        (2, "holding"),
        (2, "input"),
    ]


PLACES = st.lists(st.tuples(st.integers(min_value=0, max_value=400), st.sampled_from([*WORDS])), max_size=60)


@given(PLACES, st.integers(min_value=0, max_value=20))
def test_every_value_is_whole_in_one_request_and_gaps_are_small(places: list[tuple[int, str]], gap: int) -> None:
    points = [point(first, kind) for first, kind in places]
    requests = list(plan(points, gap))
    assert sorted(each.first for each in points) == sorted(
        each.first for request in requests for each in request.points
    )
    for request in requests:
        assert 0 < request.count <= MOST_REGISTERS
        wanted = {n for each in request.points for n in range(each.first, each.last + 1)}
        last = request.first + request.count - 1
        assert {min(wanted), max(wanted)} == {request.first, last}
        assert all(wanted & set(range(n, n + gap + 1)) for n in range(request.first, last - gap + 1))


# -- what they mean ----------------------------------------------------------------------------------------------


def value(words: list[int], **options: Any) -> object:
    return Point(UPPER, "x", 1, "holding", 0, tag(**options)).value(words)


@pytest.mark.parametrize(
    ("words", "options", "expected"),
    [
        ([65_535], {}, 65_535),
        ([65_535], {"type": "int16"}, -1),
        ([0b1000], {"bit": 3}, True),
        ([0b0111], {"bit": 3}, False),
        ([0x8000], {"bit": 15}, True),
        ([7], {"type": "bool"}, True),
        ([0], {"type": "bool"}, False),
        ([1, 2], {"type": "uint32"}, 0x10002),
        ([1, 2], {"type": "uint32", "word_order": "little"}, 0x20001),
        ([0xFFFF, 0xFFFE], {"type": "int32"}, -2),
        ([0, 0, 0, 5], {"type": "uint64"}, 5),
        ([5, 0, 0, 0], {"type": "int64", "word_order": "little"}, 5),
        ([0x42B5, 0], {"type": "float32"}, 90.5),
        ([0x4056, 0xA000, 0, 0], {"type": "float64"}, 90.5),
        ([905], {"scale": 0.1}, 90.5),
        ([905], {"scale": 0.1, "offset": -40}, 50.5),
        ([1], {"offset": 2}, 3),
        # sensors that are broken
        ([0x7FC0, 0], {"type": "float32"}, None),
        ([0x7F80, 0], {"type": "float32"}, None),
        ([0xFFF0, 0, 0, 0], {"type": "float64"}, None),
        ([0x7FEF, 0xFFFF, 0xFFFF, 0xFFFF], {"type": "float64", "scale": 10}, None),
    ],
)
def test_values_by_type(words: list[int], options: dict[str, Any], expected: object) -> None:
    found = value(words, **options)
    assert type(found) is type(expected) or isinstance(found, float)
    assert found == pytest.approx(expected)


@given(st.sampled_from([*WORDS][1:]), st.sampled_from(["big", "little"]), st.data())
def test_what_a_device_writes_is_what_is_read(kind: str, word_order: Any, data: st.DataObject) -> None:
    bits = WORDS[kind] * 16
    signed = kind.startswith("int")
    written = data.draw(
        st.floats(width=64 if bits == 64 else 32, allow_nan=False, allow_infinity=False)
        if kind.startswith("float")
        else st.integers(min_value=-(2 ** (bits - 1)) if signed else 0, max_value=2 ** (bits - signed) - 1)
    )
    words = AsyncModbusTcpClient.convert_to_registers(written, AsyncModbusTcpClient.DATATYPE[kind.upper()], word_order)
    assert value(words, type=kind, word_order=word_order) == written
