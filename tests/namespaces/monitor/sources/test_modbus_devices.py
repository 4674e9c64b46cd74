from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pymodbus.simulator import DataType, SimData, SimDevice

from server.namespaces.monitor.schemas import Reading, Status
from server.namespaces.monitor.sources import SourceError
from server.namespaces.monitor.sources.modbus import (
    ModbusSource,
)
from tests.support.modbus import (
    ERROR,
    FAR,
    LOWER,
    PRESS,
    RUNNING,
    SIDE,
    STOPPED,
    UPPER,
    WELDER,
    Requests,
    group,
    holding,
    machine,
    plc,
    port_of,
    serving,
    source,
)
from tests.support.ports import free_port

# -- a device that is well ---------------------------------------------------------------------------------------


async def test_reads_all_machines_of_a_device_in_one_request() -> None:
    requests = Requests()
    async with plc(requests=requests) as server, source(port_of(server)) as modbus:
        assert await modbus.read() == {UPPER: RUNNING, LOWER: STOPPED}
        assert requests == [(10, 6)]
        await server.async_setValues(7, 16, 13, [0, 1, 0])
        assert await modbus.read() == {UPPER: RUNNING, LOWER: ERROR}
        assert list(modbus.codes) == [UPPER, LOWER]


async def test_only_tags_that_rules_need_are_asked_for() -> None:
    requests = Requests()
    async with (
        plc(requests=requests) as server,
        source(port_of(server), WELDER, rules={"running": "status"}) as modbus,
    ):
        assert await modbus.read() == {UPPER: RUNNING}
        assert requests == [(10, 1)]


async def test_every_table_of_a_device() -> None:
    tags: dict[str, dict[str, Any]] = {
        "ready": {"register": 1, "table": "coil"},
        "door": {"register": 2, "table": "discrete"},
        "state": {"register": 0, "bit": 4},
        "temp": {"register": 0, "table": "input", "type": "float32", "scale": 10},
    }
    rules: dict[Status, str] = {
        "disconnected": "door",
        "error": "temp > 905.4 and temp < 905.6 and ready",
        "running": "state",
        "idle": "ready",
    }
    bits = [False] * 16
    coils, discretes = (
        [SimData(96, values=each, datatype=DataType.BITS)] for each in (bits, [*bits[:6], True, *bits[:9]])
    )
    words = SimData(100, values=[16], datatype=DataType.REGISTERS)
    unit = SimDevice(7, (coils, discretes, [words], [SimData(100, values=[90.55], datatype=DataType.FLOAT32)]))
    async with serving(unit) as server, source(port_of(server), machine(UPPER, 100, tags), rules=rules) as modbus:
        assert await modbus.read() == {UPPER: Reading("disconnected")}
        await server.async_setValues(7, 15, 101, [True])
        await server.async_setValues(7, 16, 100, [0])
        rules["disconnected"] = "not door"
        modbus = ModbusSource(group(machine(UPPER, 100, tags), port=port_of(server), rules=rules))
        assert await modbus.read() == {UPPER: ERROR}
        await modbus.close()


async def test_a_value_that_is_none_makes_its_machine_bad_and_others_not() -> None:
    tags = {"temp": {"register": 0, "type": "float32"}, "status": {"register": 2}}
    rules: dict[Status, str] = {"error": "temp > 90", "running": "status"}
    hot, broken, cold = [0x42B6, 0, 1], [0x7FC0, 0, 1], [0, 0, 0]
    machines = [machine(code, 3 * number, tags) for number, code in enumerate([UPPER, LOWER, SIDE])]
    async with (
        serving(holding(7, 0, [*hot, *broken, *cold])) as server,
        source(port_of(server), *machines, rules=rules) as modbus,
    ):
        assert await modbus.read() == {
            UPPER: Reading("error", runs=True),
            LOWER: Reading("running", "bad"),
            SIDE: STOPPED,
        }


async def test_more_registers_than_one_request_may_ask_for() -> None:
    requests = Requests()
    machines = [machine(f"KRCWO12ELOA{number:03}", 3 * number) for number in range(100)]
    async with (
        serving(holding(7, 0, [1, 0, 1] * 100, requests)) as server,
        source(port_of(server), *machines) as modbus,
    ):
        readings = await modbus.read()
        assert list(readings) == [each.code for each in machines]
        assert set(readings.values()) == {RUNNING}
        assert requests == [(0, 125), (125, 125), (250, 50)]


async def test_registers_that_are_refused_cost_only_their_machines() -> None:
    async with plc() as server, source(port_of(server), WELDER, FAR) as modbus:
        readings = await modbus.read()
        assert readings[UPPER] == RUNNING
        assert str(readings[SIDE]) == "holding 500-502: exception 2"


async def test_a_machine_that_is_not_there_does_not_cost_its_neighbours() -> None:
    requests = Requests()
    beyond = machine(SIDE, 16)
    async with (
        serving(holding(7, 10, [1, 0, 1, 0, 0, 0], requests)) as server,
        source(port_of(server), WELDER, PRESS, beyond) as modbus,
    ):
        for _ in range(2):
            readings = await modbus.read()
            assert (readings[UPPER], readings[LOWER]) == (RUNNING, STOPPED)
            assert str(readings[SIDE]) == "holding 16-18: exception 2"
        assert requests == [(10, 3), (13, 3)] * 2


async def test_a_gap_that_a_device_refuses_is_left_out() -> None:
    requests = Requests()
    unit = SimDevice(
        7,
        [SimData(first, values=[1, 0, 1], datatype=DataType.REGISTERS) for first in (10, 20)],
        action=requests.note,
    )
    async with serving(unit) as server, source(port_of(server), WELDER, machine(LOWER, 20), gap=10) as modbus:
        assert await modbus.read() == {UPPER: RUNNING, LOWER: RUNNING}
        assert requests == [(10, 3), (20, 3)]


async def test_devices_behind_one_gateway() -> None:
    units = [holding(7, 10, [1, 0, 1]), holding(8, 10, [0, 1, 0])]
    machines = [WELDER, machine(LOWER, 10, device_id=8), machine(SIDE, 10, device_id=9)]
    async with serving(units) as server, source(port_of(server), *machines) as modbus:
        readings = await modbus.read()
        assert (readings[UPPER], readings[LOWER]) == (RUNNING, ERROR)
        assert "exception" in str(readings[SIDE])


async def test_a_closed_connection_is_opened_again_without_a_fault() -> None:
    port = free_port()
    async with source(port) as modbus:
        async with plc(port):
            await modbus.read()
        async with plc(port) as server:
            assert (await modbus.read())[UPPER] == RUNNING
            assert len(server.active_connections) == 1


async def test_nobody_listens_then_somebody_does() -> None:
    port = free_port()
    async with source(port) as modbus:
        for _ in range(2):
            with pytest.raises(SourceError, match=f"cannot connect to 127.0.0.1:{port}"):
                await modbus.read()
            await modbus.close()
        async with plc(port):
            assert (await modbus.read())[LOWER] == STOPPED


async def test_a_host_that_has_no_address() -> None:
    async with source(502, host="no-such-host.invalid") as modbus:
        with pytest.raises(SourceError, match="cannot connect"):
            await modbus.read()


async def test_closing_leaves_no_connection_and_may_be_repeated() -> None:
    async with plc() as server, source(port_of(server)) as modbus:
        await modbus.close()
        await modbus.read()
        assert len(server.active_connections) == 1
        left = asyncio.Event()
        (connection,) = server.active_connections.values()
        connection.trace_connect = lambda connected: left.set()  # type: ignore[attr-defined]
        await modbus.close()
        await modbus.close()
        await asyncio.wait_for(left.wait(), 5)
        assert not server.active_connections


async def test_twenty_devices_with_five_hundred_machines() -> None:
    """Each of them has its own connection and is asked at the same time."""
    requests = Requests()
    async with serving(holding(7, 0, [1, 0, 1] * 25, requests)) as server:
        sources = [
            ModbusSource(group(*(machine(f"KRCWO12EL{n:02}{m:03}", 3 * m) for m in range(25)), port=port_of(server)))
            for n in range(20)
        ]
        readings = await asyncio.gather(*(each.read() for each in sources))
        assert {reading for each in readings for reading in each.values()} == {RUNNING}
        assert sum(map(len, readings)) == 500
        assert requests == [(0, 75)] * 20
        await asyncio.gather(*(each.close() for each in sources))
