"""Machines whose tags are registers and bits of a Modbus TCP device. Retrying is not pymodbus's here, nor ours: every
`read` connects when it must, and the service says when to read again."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate
from pymodbus import ModbusException
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.transaction import TransactionManager

from server.namespaces.monitor.catalogue import Group, Kind, Machine
from server.namespaces.monitor.rules import Value
from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.sources import SourceError
from server.namespaces.monitor.sources.tags import Number
from server.realtime.schema import Count, Identifier, Payload

LAST_ADDRESS = 65_535
MOST_REGISTERS = 125  # that one request may ask for, by the protocol
MOST_BITS = 2000
LONGEST_WAIT_SECONDS = 3.0  # for a connection and for each answer; the service's own limit is usually below
#: For each of several devices behind one connection, so that a silent one leaves time to ask the others.
DEVICE_WAIT_SECONDS = 0.15
ILLEGAL = (2, 3)  # exceptions for addresses that a device does not have

#: Registers per value.
WORDS: Mapping[str, int] = {
    "bool": 1,
    "uint16": 1,
    "int16": 1,
    "uint32": 2,
    "int32": 2,
    "float32": 2,
    "uint64": 4,
    "int64": 4,
    "float64": 4,
}
READ_FUNCTIONS: Mapping[str, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
BIT_TABLES = ("coil", "discrete")

# It warns of every failed attempt; the service logs the changes instead, with the reason.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


# -- what config/equipment.toml says of it ---------------------------------------------------------------------------


class _Options(Payload):
    host = Identifier(most=253, required=True)
    port = Count(least=1, most=65_535, load_default=502)
    device_id = Count(most=255, load_default=1)
    gap = Count(most=MOST_REGISTERS, load_default=0)
    timeout = Number(load_default=None, validate=validate.Range(min=0.01, max=LONGEST_WAIT_SECONDS))


class _Machine(Payload):
    address = Count(most=LAST_ADDRESS, load_default=0)
    device_id = Count(most=255, load_default=None)


class _Tag(Payload):
    register = Count(most=LAST_ADDRESS, required=True)
    table = fields.String(load_default="holding", validate=validate.OneOf(READ_FUNCTIONS))
    type = fields.String(load_default=None, validate=validate.OneOf(WORDS))
    bit = Count(most=15, load_default=None)
    word_order = fields.String(load_default="big", validate=validate.OneOf(["big", "little"]))
    scale = Number(load_default=None)
    offset = Number(load_default=None)

    @post_load
    def _fit(self, loaded: dict[str, Any], **_: object) -> dict[str, Any]:
        bits = loaded["table"] in BIT_TABLES
        if bits and loaded["bit"] is not None:
            raise ValidationError("Is of registers: a coil is a bit.", "bit")
        one_bit = bits or loaded["bit"] is not None
        kind = loaded["type"] or ("bool" if one_bit else "uint16")
        if one_bit and kind != "bool":
            raise ValidationError("A bit is a bool.", "type")
        for key in ("scale", "offset"):
            if kind == "bool" and loaded[key] is not None:
                raise ValidationError("Is of numbers, not of a bool.", key)
        return loaded | {"type": kind}


def _check(group: Group) -> Iterator[str]:
    seen: dict[frozenset[object], str] = {}
    for machine in group.machines:
        points = _points(machine, group)
        if any(point.last > LAST_ADDRESS for point in points):
            yield f"{machine.code}: Its registers go beyond {LAST_ADDRESS}."
        places = frozenset((point.device_id, point.table, point.first, point.tag["bit"]) for point in points)
        if seen.setdefault(places, machine.code) != machine.code:
            yield f"{machine.code}: It has the registers of {seen[places]}: an address or a device_id is missing."


# -- what is asked for -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """Where a tag of a machine is."""

    code: str
    name: str
    device_id: int
    table: str
    first: int
    tag: Mapping[str, Any]

    @property
    def last(self) -> int:
        return self.first + WORDS[self.tag["type"]] - 1

    def value(self, words: Sequence[int]) -> Value | None:
        """Of its registers, or its bit. None if it is not a number: devices say so of sensors that are broken."""
        tag = self.tag
        if tag["type"] == "bool":
            return bool(words[0] if tag["bit"] is None else words[0] >> tag["bit"] & 1)
        kind = AsyncModbusTcpClient.DATATYPE[tag["type"].upper()]
        value = AsyncModbusTcpClient.convert_from_registers(words, kind, tag["word_order"])
        if not isinstance(value, int | float):
            raise TypeError(f"{tag['type']} is not one number")
        if tag["scale"] is not None:
            value *= tag["scale"]
        if tag["offset"] is not None:
            value += tag["offset"]
        return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Request:
    """For all registers from the first to the last of its points."""

    points: tuple[Point, ...]

    @property
    def first(self) -> int:
        return self.points[0].first

    @property
    def count(self) -> int:
        return max(point.last for point in self.points) - self.first + 1

    def by_machine(self) -> list[Request]:
        by_code = sorted(self.points, key=lambda point: (point.code, point.first))
        return [Request(tuple(points)) for _, points in groupby(by_code, key=lambda point: point.code)]

    def __str__(self) -> str:
        return f"{self.points[0].table} {self.first}-{self.first + self.count - 1}"


@dataclass(slots=True)
class Refused(Exception):
    """The device said so, with this exception code."""

    code: int


def plan(points: Iterable[Point], gap: int) -> Iterator[Request]:
    """The fewest requests, with at most `gap` registers between two points that nobody wants: a device may refuse what
    lies between. No value is cut in two, as its halves would be of different moments."""
    ordered = sorted(points, key=lambda point: (point.device_id, point.table, point.first))
    for (_, table), each in groupby(ordered, key=lambda point: (point.device_id, point.table)):
        most = MOST_BITS if table in BIT_TABLES else MOST_REGISTERS
        batch: list[Point] = []
        last = 0
        for point in each:
            if batch and (point.first - last - 1 > gap or max(last, point.last) - batch[0].first >= most):
                yield Request(tuple(batch))
                batch = []
            last = max(last, point.last) if batch else point.last
            batch.append(point)
        yield Request(tuple(batch))


def _points(machine: Machine, group: Group) -> list[Point]:
    """Of the tags that the rules need: nothing else is asked for."""
    own = machine.options["device_id"]
    device_id = group.options["device_id"] if own is None else own
    return [
        Point(machine.code, name, device_id, tag["table"], machine.options["address"] + tag["register"], tag)
        for name, tag in machine.tags.items()
        if name in group.rules.names
    ]


# -- asking ----------------------------------------------------------------------------------------------------------


class _Transactions(TransactionManager):
    """Fails the open request at once, where stock raises a malformed answer into the event loop and lets the caller
    run into its timeout, also when the connection is gone."""

    def callback_data(self, data: bytes, addr: tuple[object, ...] | None = None) -> int:
        try:
            return super().callback_data(data, addr)
        except ModbusException as error:
            self._fail(error)
            return len(data)

    def callback_disconnected(self, exc: Exception | None) -> None:
        super().callback_disconnected(exc)
        self._fail(ConnectionException("the device closed the connection"))

    def _fail(self, error: ModbusException) -> None:
        if not self.response_future.done():
            self.response_future.set_exception(error)
            self.response_future.exception()  # there may be nobody who awaits it


class _Client(AsyncModbusTcpClient):
    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port=port, timeout=LONGEST_WAIT_SECONDS, retries=0, reconnect_delay=0)
        self.ctx = _Transactions(self.comm_params, FramerSocket(DecodePDU(False)), 0, False, None, None, None)


@dataclass(slots=True)
class _Values:
    """Of a machine, as they come in; None is a value that cannot be used."""

    by_name: dict[str, Value | None] = field(default_factory=dict)
    fault: SourceError | None = None


class ModbusSource:
    """Devices behind one connection are asked one after the other. One that did not answer in time is asked last until
    it does, and of several such only one per `read`, so that they leave the others their time."""

    def __init__(self, group: Group) -> None:
        self.name = group.name
        self._group = group
        self._host: str = group.options["host"]
        self._port: int = group.options["port"]
        self._points = [point for machine in group.machines for point in _points(machine, group)]
        self._requests: dict[int, list[Request]] = {}
        self._silent: dict[int, None] = {}  # in the order in which they are asked again
        self._client: _Client | None = None
        several = len({point.device_id for point in self._points}) > 1
        self.wait: float | None = group.options["timeout"] or (DEVICE_WAIT_SECONDS if several else None)

    @property
    def codes(self) -> Sequence[str]:
        return [machine.code for machine in self._group.machines]

    async def read(self) -> Mapping[str, Reading | SourceError]:
        try:
            client = await self._connected()
            values = {code: _Values() for code in self.codes}
            await self._read_devices(client, values)
        except (ModbusException, OSError, TimeoutError) as error:
            raise SourceError(str(error) or type(error).__name__) from error
        return {code: each.fault or self._reading(each.by_name) for code, each in values.items()}

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _reading(self, values: Mapping[str, Value | None]) -> Reading:
        usable = {name: value for name, value in values.items() if value is not None}
        return self._group.rules.reading(usable, "good" if len(usable) == len(values) else "bad")

    async def _connected(self) -> _Client:
        """A device that closed an idle connection is connected to again, and nobody notices."""
        if self._client is not None and self._client.connected:
            return self._client
        await self.close()
        self._client = _Client(self._host, self._port)
        if not await self._client.connect():
            raise SourceError(f"cannot connect to {self._host}:{self._port}")
        self._requests = {}
        for request in plan(self._points, self._group.options["gap"]):
            self._requests.setdefault(request.points[0].device_id, []).append(request)
        return self._client

    async def _read_devices(self, client: _Client, values: Mapping[str, _Values]) -> None:
        answering = [device for device in self._requests if device not in self._silent]
        answered = given_up = False
        for device in [*answering, *self._silent]:
            if device in self._silent and given_up:
                self._lose(device, values)
                continue
            try:
                async with asyncio.timeout(self.wait):
                    self._requests[device] = await self._read_device(client, self._requests[device], values)
            except TimeoutError:
                if client.ctx.recv_buffer:
                    raise SourceError(f"device {device} stopped in mid-answer") from None
                given_up = device in self._silent
                self._silent.pop(device, None)
                self._silent[device] = None
                self._lose(device, values)
            else:
                answered = True
                self._silent.pop(device, None)
        if not answered:
            raise SourceError("no answer in time")

    def _lose(self, device: int, values: Mapping[str, _Values]) -> None:
        fault = SourceError(f"device {device}: no answer in time")
        for request in self._requests[device]:
            for point in request.points:
                values[point.code].fault = fault

    async def _read_device(
        self, client: _Client, requests: Sequence[Request], values: Mapping[str, _Values]
    ) -> list[Request]:
        """What to ask it next time: a device that refuses some registers may still give others, machine by machine."""
        waiting, asked = deque(requests), list[Request]()
        while waiting:
            request = waiting.popleft()
            try:
                words = await self._ask(client, request)
            except Refused as refused:
                parts = request.by_machine()
                if refused.code in ILLEGAL and len(parts) > 1:
                    waiting.extendleft(reversed(parts))
                    continue
                for point in request.points:
                    values[point.code].fault = SourceError(f"{request}: exception {refused.code}")
            else:
                for point in request.points:
                    own = words[point.first - request.first : point.last - request.first + 1]
                    values[point.code].by_name[point.name] = point.value(own)
            asked.append(request)
        return asked

    async def _ask(self, client: _Client, request: Request) -> list[int]:
        """Raises Refused."""
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise asyncio.CancelledError  # Python 3.11's wait_for swallows one that comes together with an answer
        first, count = request.first, request.count
        device_id, table = request.points[0].device_id, request.points[0].table
        read = {
            "holding": client.read_holding_registers,
            "input": client.read_input_registers,
            "coil": client.read_coils,
            "discrete": client.read_discrete_inputs,
        }[table]
        answer = await read(first, count=count, device_id=device_id)
        if answer.isError():
            raise Refused(answer.exception_code)
        bits = table in BIT_TABLES
        words = list(answer.bits if bits else answer.registers)
        if answer.function_code != READ_FUNCTIONS[table] or len(words) != (-(-count // 8) * 8 if bits else count):
            raise SourceError(f"asked for {request}, got {answer}")
        return words


KIND = Kind(_Options, _Machine, _Tag, ModbusSource, _check)
