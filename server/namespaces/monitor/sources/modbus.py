"""Machines whose tags are holding registers of a Modbus TCP device. Retrying is not pymodbus's here, nor ours: every
`read` connects when it must, and the service says when to read again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from pymodbus import ModbusException
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest
from pymodbus.transaction import TransactionManager

from server.namespaces.monitor.catalogue import Machine, Modbus
from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.sources import SourceError

MOST_REGISTERS = 125  # that one request may ask for, by the protocol
LONGEST_WAIT_SECONDS = 3.0  # for a connection and for each answer; the service's own limit is usually below

# It warns of every failed attempt; the service logs the changes instead, with the reason.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


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


class ModbusSource:
    def __init__(self, name: str, machines: Sequence[Machine], device: Modbus) -> None:
        self.name = name
        self._machines = machines
        self._device = device
        self._spans = list(spans(address for machine in machines for address in addresses(machine, device)))
        self._client: _Client | None = None

    @property
    def codes(self) -> Sequence[str]:
        return [machine.code for machine in self._machines]

    async def read(self) -> Mapping[str, Reading | SourceError]:
        try:
            client = await self._connected()
            values: dict[int, int | SourceError] = {}
            for span in self._spans:
                values.update(await self._read_span(client, span))
        except (ModbusException, OSError, TimeoutError) as error:
            raise SourceError(str(error) or type(error).__name__) from error
        return {machine.code: reading(machine, self._device, values) for machine in self._machines}

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _connected(self) -> _Client:
        """A device that closed an idle connection is connected to again, and nobody notices."""
        if self._client is not None and self._client.connected:
            return self._client
        await self.close()
        self._client = _Client(self._device.host, self._device.port)
        if not await self._client.connect():
            raise SourceError(f"cannot connect to {self._device.host}:{self._device.port}")
        return self._client

    async def _read_span(self, client: _Client, span: range) -> Mapping[int, int | SourceError]:
        """A device that refuses some registers may still give others."""
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise asyncio.CancelledError  # Python 3.11's wait_for swallows one that comes together with an answer
        answer = await client.read_holding_registers(span.start, count=len(span), device_id=self._device.device_id)
        if answer.isError():
            refused = SourceError(f"registers {span.start}-{span.stop - 1}: exception {answer.exception_code}")
            return dict.fromkeys(span, refused)
        if answer.function_code != ReadHoldingRegistersRequest.function_code or len(answer.registers) != len(span):
            raise SourceError(f"asked for {len(span)} registers, got {answer}")
        return dict(zip(span, answer.registers, strict=True))


def addresses(machine: Machine, device: Modbus) -> Iterator[int]:
    """Of its registers for status, error and ready."""
    if machine.address is None:
        raise ValueError(f"{machine.code} has no address")
    for tag in device.tags:
        yield machine.address + tag.offset


def spans(wanted: Iterable[int]) -> Iterator[range]:
    """The fewest requests that ask for these registers and no others: a device may refuse what lies between."""
    ordered = sorted(set(wanted))
    start = 0
    for index, (address, following) in enumerate(pairwise([*ordered, -1]), start=1):
        if following != address + 1 or index - start == MOST_REGISTERS:
            yield range(ordered[start], address + 1)
            start = index


def reading(machine: Machine, device: Modbus, values: Mapping[int, int | SourceError]) -> Reading | SourceError:
    tags: list[bool] = []
    for tag, address in zip(device.tags, addresses(machine, device), strict=True):
        value = values[address]
        if isinstance(value, SourceError):
            return value
        tags.append(tag.holds(value))
    running, error, ready = tags
    return Reading(running=running, error=error, ready=ready)
