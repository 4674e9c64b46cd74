from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from server.namespaces.monitor.catalogue import Machine, Modbus, Tag
from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.sources import SourceError
from server.namespaces.monitor.sources.modbus import MOST_REGISTERS, ModbusSource, addresses, reading, spans
from tests.support.ports import free_port

WELDER = Machine("KRCWO12ELOA101", "Upper", 10)
PRESS = Machine("KRCWO12ELOA102", "Lower", 13)
FAR = Machine("KRCWO12ELOA103", "Side", 500)

RUNNING = Reading(running=True, error=False, ready=True)
STOPPED = Reading(running=False, error=False, ready=False)


def device(port: int = 502) -> Modbus:
    return Modbus("127.0.0.1", port, 7, Tag(0), Tag(1), Tag(2))


# -- which registers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "requests"),
    [
        ([], []),
        ([5], [range(5, 6)]),
        ([3, 1, 2, 2], [range(1, 4)]),
        ([0, 1, 3, 4, 9], [range(2), range(3, 5), range(9, 10)]),
        (range(300), [range(125), range(125, 250), range(250, 300)]),
        (range(125), [range(125)]),
        ([65_535, 0], [range(1), range(65_535, 65_536)]),
    ],
)
def test_contiguous_registers_are_one_request(wanted: list[int], requests: list[range]) -> None:
    assert list(spans(wanted)) == requests


@given(st.lists(st.integers(min_value=0, max_value=400)))
def test_requests_cover_what_is_wanted_and_nothing_else(wanted: list[int]) -> None:
    requests = list(spans(wanted))
    assert [address for each in requests for address in each] == sorted(set(wanted))
    assert all(0 < len(each) <= MOST_REGISTERS for each in requests)


def test_tags_by_register_and_value() -> None:
    one_word = Modbus("x", 502, 1, Tag(4, frozenset({1})), Tag(4, frozenset({8, 9})), Tag(4, frozenset({1, 2})))
    assert set(addresses(WELDER, one_word)) == {14}
    for value, (running, error, ready) in {
        0: (False, False, False),
        1: (True, False, True),
        2: (False, False, True),
        9: (False, True, False),
        77: (False, False, False),
    }.items():
        expected = Reading(running=running, error=error, ready=ready)
        assert reading(WELDER, one_word, {14: value}) == expected


def test_a_machine_with_one_refused_register_is_not_read() -> None:
    refused = SourceError("refused")
    assert reading(WELDER, device(), {10: 1, 11: refused, 12: 1}) is refused


# -- a device that is well ---------------------------------------------------------------------------------------


class Requests(list[tuple[int, int]]):
    """(address, count) of every request, as the device saw them."""

    async def note(self, code: int, start: int, address: int, count: int, registers: list[int], values: object) -> None:
        self.append((address, count))


@asynccontextmanager
async def plc(port: int = 0, requests: Requests | None = None) -> AsyncIterator[ModbusTcpServer]:
    """Holds registers 10 to 15: a machine that runs, one that stands still."""
    memory = SimData(10, values=[1, 0, 1, 0, 0, 0], datatype=DataType.REGISTERS)
    unit = SimDevice(7, [memory], action=None if requests is None else requests.note)
    server = ModbusTcpServer(unit, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        yield server
    finally:
        await server.shutdown()
        await asyncio.sleep(0)


def port_of(server: ModbusTcpServer) -> int:
    return int(server.transport.sockets[0].getsockname()[1])  # type: ignore[attr-defined]


@asynccontextmanager
async def source(port: int, *machines: Machine) -> AsyncIterator[ModbusSource]:
    source = ModbusSource("welding", machines or (WELDER, PRESS), device(port))
    yield source
    await source.close()


async def test_reads_all_machines_of_a_device_in_one_request() -> None:
    requests = Requests()
    async with plc(requests=requests) as server, source(port_of(server)) as modbus:
        assert await modbus.read() == {WELDER.code: RUNNING, PRESS.code: STOPPED}
        assert requests == [(10, 6)]
        await server.async_setValues(7, 16, 13, [0, 1, 0])
        assert await modbus.read() == {
            WELDER.code: RUNNING,
            PRESS.code: Reading(running=False, error=True, ready=False),
        }
        assert list(modbus.codes) == [WELDER.code, PRESS.code]


async def test_registers_that_are_refused_cost_only_their_machines() -> None:
    async with plc() as server, source(port_of(server), WELDER, FAR) as modbus:
        readings = await modbus.read()
        assert readings[WELDER.code] == RUNNING
        assert isinstance(readings[FAR.code], SourceError)
        assert str(readings[FAR.code]) == "registers 500-502: exception 2"


async def test_a_closed_connection_is_opened_again_without_a_fault() -> None:
    port = free_port()
    async with source(port) as modbus:
        async with plc(port):
            await modbus.read()
        async with plc(port) as server:
            assert (await modbus.read())[WELDER.code] == RUNNING
            assert len(server.active_connections) == 1


async def test_nobody_listens_then_somebody_does() -> None:
    port = free_port()
    async with source(port) as modbus:
        for _ in range(2):
            with pytest.raises(SourceError, match=f"cannot connect to 127.0.0.1:{port}"):
                await modbus.read()
            await modbus.close()
        async with plc(port):
            assert (await modbus.read())[PRESS.code] == STOPPED


async def test_a_host_that_has_no_address() -> None:
    modbus = ModbusSource("welding", [WELDER], Modbus("no-such-host.invalid", 502, 1, Tag(0), Tag(1), Tag(2)))
    with pytest.raises(SourceError, match="cannot connect"):
        await modbus.read()
    await modbus.close()


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


# -- a device that is not -----------------------------------------------------------------------------------------

Answer = Callable[[bytes], bytes | None]


def frame(request: bytes, body: bytes, *, unit: int = 7, protocol: int = 0, off_by: int = 0) -> bytes:
    transaction = (struct.unpack(">H", request[:2])[0] + off_by) & 0xFFFF
    return struct.pack(">HHHB", transaction, protocol, len(body) + 1, unit) + body


GOOD = b"\x03\x0c" + struct.pack(">6H", 1, 0, 1, 0, 0, 0)

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


@asynccontextmanager
async def device_that(answer: Answer) -> AsyncIterator[tuple[int, dict[str, Answer]]]:
    """Its port, and what it does, to be replaced."""
    behaviour = {"answer": answer}
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while request := await reader.read(260):
                reply = behaviour["answer"](request)
                if reply is None:
                    break
                writer.write(reply)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], behaviour
    finally:
        for writer in writers:
            writer.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("answer", FAULTY.values(), ids=FAULTY)
async def test_a_faulty_answer_is_a_fault_at_once(answer: Answer) -> None:
    async with device_that(answer) as (port, behaviour), source(port) as modbus:
        for _ in range(2):
            async with asyncio.timeout(2):  # less than the wait for an answer
                with pytest.raises(SourceError):
                    await modbus.read()
            await modbus.close()
        behaviour["answer"] = lambda request: frame(request, GOOD)
        assert await modbus.read() == {WELDER.code: RUNNING, PRESS.code: STOPPED}


@pytest.mark.parametrize("answer", SILENT.values(), ids=SILENT)
async def test_no_usable_answer_is_waited_for_until_the_reader_gives_up(answer: Answer) -> None:
    async with device_that(answer) as (port, behaviour), source(port) as modbus:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await modbus.read()
        await modbus.close()
        behaviour["answer"] = lambda request: frame(request, GOOD)
        assert await modbus.read() == {WELDER.code: RUNNING, PRESS.code: STOPPED}


async def test_an_exception_is_told_by_its_number() -> None:
    async with device_that(lambda request: frame(request, b"\x83\x04")) as (port, _), source(port) as modbus:
        readings = await modbus.read()
        assert [str(each) for each in readings.values()] == ["registers 10-15: exception 4"] * 2


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
        assert (await modbus.read())[WELDER.code] == RUNNING
