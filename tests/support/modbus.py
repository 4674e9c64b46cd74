"""Modbus machines, devices that hold their registers, and devices that answer as they are told."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from server.namespaces.monitor.catalogue import Group, Machine
from server.namespaces.monitor.rules import Rules, parse
from server.namespaces.monitor.schemas import Reading, Status
from server.namespaces.monitor.sources.modbus import (
    KIND,
    ModbusSource,
)
from tests.support.answering import Answer, answering

RUNNING, STOPPED, ERROR = Reading("running"), Reading("stopped"), Reading("error")
TAGS: Mapping[str, Mapping[str, Any]] = {"status": {"register": 0}, "error": {"register": 1}, "ready": {"register": 2}}
RULES: Mapping[Status, str] = {"error": "error", "running": "status", "idle": "ready"}
UPPER, LOWER, SIDE = "KRCWO12ELOA101", "KRCWO12ELOA102", "KRCWO12ELOA103"


def tag(**options: Any) -> dict[str, Any]:
    assert KIND.tag is not None
    found: dict[str, Any] = KIND.tag().load({"register": 0, **options})
    return found


def machine(code: str, address: int, tags: Mapping[str, Mapping[str, Any]] = TAGS, **options: Any) -> Machine:
    loaded = KIND.machine().load({"address": address, **options})
    return Machine(code, "x", "body", loaded, {name: tag(**each) for name, each in tags.items()})


WELDER, PRESS, FAR = machine(UPPER, 10), machine(LOWER, 13), machine(SIDE, 500)


def group(*machines: Machine, port: int = 502, rules: Mapping[Status, str] = RULES, **options: Any) -> Group:
    loaded = KIND.options().load({"host": "127.0.0.1", "port": port, "device_id": 7} | options)
    parsed = Rules({status: parse(text) for status, text in rules.items()})
    return Group("welding", "modbus", loaded, parsed, machines or (WELDER, PRESS))


class Requests(list[tuple[int, int]]):
    """(address, count) of every request, as the device saw them."""

    async def note(self, code: int, start: int, address: int, count: int, registers: list[int], values: object) -> None:
        self.append((address, count))


@asynccontextmanager
async def serving(
    devices: SimDevice | list[SimDevice], port: int = 0, **options: Any
) -> AsyncIterator[ModbusTcpServer]:
    server = ModbusTcpServer(devices, address=("127.0.0.1", port), **options)
    await server.serve_forever(background=True)
    try:
        yield server
    finally:
        await server.shutdown()
        await asyncio.sleep(0)


def holding(device: int, first: int, registers: list[int], requests: Requests | None = None) -> SimDevice:
    memory = SimData(first, values=registers, datatype=DataType.REGISTERS)
    return SimDevice(device, [memory], action=None if requests is None else requests.note)


@asynccontextmanager
async def plc(port: int = 0, requests: Requests | None = None) -> AsyncIterator[ModbusTcpServer]:
    """Holds registers 10 to 15: a machine that runs, one that stands still."""
    async with serving(holding(7, 10, [1, 0, 1, 0, 0, 0], requests), port) as server:
        yield server


def port_of(server: ModbusTcpServer) -> int:
    return int(server.transport.sockets[0].getsockname()[1])  # type: ignore[attr-defined]


@asynccontextmanager
async def source(port: int, *machines: Machine, **options: Any) -> AsyncIterator[ModbusSource]:
    source = ModbusSource(group(*machines, port=port, **options))
    yield source
    await source.close()


def frame(request: bytes, body: bytes, *, unit: int = 7, protocol: int = 0, off_by: int = 0) -> bytes:
    transaction = (struct.unpack(">H", request[:2])[0] + off_by) & 0xFFFF
    return struct.pack(">HHHB", transaction, protocol, len(body) + 1, unit) + body


GOOD = b"\x03\x0c" + struct.pack(">6H", 1, 0, 1, 0, 0, 0)


@asynccontextmanager
async def device_that(answer: Answer) -> AsyncIterator[tuple[int, dict[str, Answer]]]:
    """Its port, and what it does, to be replaced."""
    behaviour = {"answer": answer}
    async with answering(lambda request: behaviour["answer"](request)) as port:
        yield port, behaviour


class Gateway:
    """Devices behind one address, each with a machine that runs; of those that are not alive nothing is heard."""

    def __init__(self, *alive: int) -> None:
        self.alive = set(alive)
        self.asked: list[int] = []

    def __call__(self, request: bytes) -> bytes:
        self.asked.append(request[6])
        running = b"\x03\x06" + struct.pack(">3H", 1, 0, 1)
        return frame(request, running, unit=request[6]) if request[6] in self.alive else b""
