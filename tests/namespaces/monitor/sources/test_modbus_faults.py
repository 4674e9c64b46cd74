from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.sources import SourceError
from server.namespaces.monitor.sources.modbus import (
    DEVICE_WAIT_SECONDS,
    ModbusSource,
)
from tests.support.modbus import (
    GOOD,
    LOWER,
    RUNNING,
    STOPPED,
    UPPER,
    WELDER,
    Answer,
    Gateway,
    device_that,
    frame,
    group,
    machine,
    source,
)

# -- a device that is not -----------------------------------------------------------------------------------------

SILENT: dict[str, Answer] = {
    "says nothing": lambda request: b"",
    "speaks HTTP": lambda request: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "stops in mid-answer": lambda request: frame(request, GOOD)[:-3],
    "another protocol": lambda request: frame(request, GOOD, protocol=1),
    "another device": lambda request: frame(request, GOOD, unit=8),
    "another transaction": lambda request: frame(request, GOOD, off_by=1),
    "an empty answer": lambda request: frame(request, b""),
    "a flood": lambda request: b"\xff" * 100_000,
}
FAULTY: dict[str, Answer] = {
    "hangs up": lambda request: None,
    "an unknown function": lambda request: frame(request, b"\x55\x01\x02"),
    "more bytes announced than sent": lambda request: frame(request, b"\x03\x0c\x00\x01"),
    "too few registers": lambda request: frame(request, b"\x03\x04\x00\x01\x00\x00"),
    "too many registers": lambda request: frame(request, b"\x03\x0e" + bytes(14)),
    "no registers": lambda request: frame(request, b"\x03\x00"),
    "half a register": lambda request: frame(request, b"\x03\x01\x00"),
    "a bare function": lambda request: frame(request, b"\x03"),
    "an answer to something else": lambda request: frame(request, b"\x06\x00\x0a\x00\x01"),
    "another function's registers": lambda request: frame(request, b"\x04" + GOOD[1:]),
    "an exception without a code": lambda request: frame(request, b"\x83"),
}


@pytest.mark.parametrize("answer", FAULTY.values(), ids=FAULTY)
async def test_a_faulty_answer_is_a_fault_at_once(answer: Answer) -> None:
    async with device_that(answer) as (port, behaviour), source(port) as modbus:
        for _ in range(2):
            async with asyncio.timeout(2):  # less than the wait for an answer
                with pytest.raises(SourceError):
                    await modbus.read()
            await modbus.close()
        behaviour["answer"] = lambda request: frame(request, GOOD)
        assert await modbus.read() == {UPPER: RUNNING, LOWER: STOPPED}


@pytest.mark.parametrize("answer", SILENT.values(), ids=SILENT)
async def test_no_usable_answer_is_waited_for_until_the_reader_gives_up(answer: Answer) -> None:
    async with device_that(answer) as (port, behaviour), source(port) as modbus:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await modbus.read()
        await modbus.close()
        behaviour["answer"] = lambda request: frame(request, GOOD)
        assert await modbus.read() == {UPPER: RUNNING, LOWER: STOPPED}


async def test_an_exception_is_told_by_its_number() -> None:
    async with device_that(lambda request: frame(request, b"\x83\x04")) as (port, _), source(port) as modbus:
        readings = await modbus.read()
        assert [str(each) for each in readings.values()] == ["holding 10-15: exception 4"] * 2


async def test_a_late_answer_is_not_taken_for_the_next() -> None:
    """A device that answers each request with the answer to the one before."""
    kept: list[bytes] = []

    def late(request: bytes) -> bytes:
        kept.append(frame(request, b"\x03\x0c" + struct.pack(">6H", 0, 1, 0, 0, 1, 0)))
        return kept[-2] if len(kept) > 1 else b""

    async with device_that(late) as (port, behaviour), source(port) as modbus:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await modbus.read()
        behaviour["answer"] = lambda request: kept[-1] + frame(request, GOOD)
        assert (await modbus.read())[UPPER] == RUNNING


async def test_silent_devices_behind_a_gateway_leave_the_others_their_time() -> None:
    """They are asked again one by one, and all at once as soon as one answers."""
    machines = [machine(f"KRCWO12ELOA10{unit}", 10, device_id=unit) for unit in range(1, 6)]
    gateway = Gateway(1, 5)
    async with device_that(gateway) as (port, _), source(port, *machines, timeout=0.05) as modbus:
        for asked in ([1, 2, 3, 4, 5], [1, 5, 2], [1, 5, 3], [1, 5, 4], [1, 5, 2]):
            readings = await modbus.read()
            assert [isinstance(each, Reading) for each in readings.values()] == [True, False, False, False, True]
            assert str(readings["KRCWO12ELOA103"]) == "device 3: no answer in time"
            assert gateway.asked == asked
            gateway.asked.clear()
        gateway.alive |= {2, 3, 4}
        assert set((await modbus.read()).values()) == {RUNNING}
        assert gateway.asked == [1, 5, 3, 4, 2]


async def test_when_no_device_answers_the_source_says_so() -> None:
    machines = [machine(UPPER, 10), machine(LOWER, 10, device_id=8)]
    gateway = Gateway()
    async with device_that(gateway) as (port, _), source(port, *machines, timeout=0.05) as modbus:
        for _ in range(3):
            with pytest.raises(SourceError, match="no answer in time"):
                await modbus.read()
            await modbus.close()
        gateway.alive |= {7, 8}
        assert set((await modbus.read()).values()) == {RUNNING}


async def test_a_device_alone_has_all_the_time_that_its_reader_gives() -> None:
    """And of several each its own share, unless the configuration says how long."""
    cases: list[tuple[list[Machine], dict[str, Any], float | None]] = [
        ([WELDER], {}, None),
        ([WELDER, machine(LOWER, 10, device_id=8)], {}, DEVICE_WAIT_SECONDS),
        ([WELDER], {"timeout": 0.5}, 0.5),
    ]
    for machines, options, wait in cases:
        assert ModbusSource(group(*machines, **options)).wait == wait


async def test_half_an_answer_of_one_device_is_not_taken_for_anothers() -> None:
    machines = [WELDER, machine(LOWER, 10, device_id=8)]
    running = b"\x03\x06" + struct.pack(">3H", 1, 0, 1)

    def half(request: bytes) -> bytes:
        return frame(request, running)[:-3] if request[6] == 7 else frame(request, running, unit=8)

    async with device_that(half) as (port, behaviour), source(port, *machines, timeout=0.05) as modbus:
        with pytest.raises(SourceError, match="device 7 stopped in mid-answer"):
            await modbus.read()
        await modbus.close()
        behaviour["answer"] = lambda request: frame(request, running, unit=request[6])
        assert set((await modbus.read()).values()) == {RUNNING}


async def test_an_answer_that_comes_in_pieces_is_one() -> None:
    running = b"\x03\x06" + struct.pack(">3H", 1, 0, 1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in frame(await reader.read(260), running):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with source(server.sockets[0].getsockname()[1], WELDER) as modbus:
        assert await modbus.read() == {UPPER: RUNNING}
    server.close()
    await server.wait_closed()


async def test_a_connection_that_flaps_costs_a_reading_each_time() -> None:
    hung_up = [True]

    def flapping(request: bytes) -> bytes | None:
        hung_up[0] = not hung_up[0]
        return None if hung_up[0] else frame(request, GOOD)

    async with device_that(flapping) as (port, _), source(port) as modbus:
        for _ in range(5):
            assert (await modbus.read())[UPPER] == RUNNING
            with pytest.raises(SourceError):
                await modbus.read()
            await modbus.close()
