"""Seventeen machines behind one Modbus TCP device, which do what they are told."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from tests.support.process import ROOT

MACHINES = 17
REGISTERS = 4  # of a machine: status, error, ready, link
STATES = {
    "running": [1, 0, 1, 1],
    "idle": [0, 0, 1, 1],
    "stopped": [0, 0, 0, 1],
    "error": [0, 1, 0, 1],
    "disconnected": [0, 0, 0, 0],
}
#: As long as none should be, and as nobody should write one.
LONG_NAME = ("<img src=x onerror=alert(1)> 아주 긴 이름의 설비 WithoutAnySpaceInIt" + "가나다라마바사" * 30)[:200]
NAMES = [f"설비 {number}" for number in range(1, MACHINES)] + [LONG_NAME]
CODES = [f"KRCWO12ELOA1{number:02}" for number in range(1, MACHINES + 1)]
LINES = ["body"] * 10 + ["paint"] * 7

GROUP = """
[shifts]
timezone = "Asia/Seoul"
starts = {{ day = "06:00", evening = "14:00", night = "22:00" }}

[groups.plant]
source = "modbus"
host = "127.0.0.1"
port = {port}

[groups.plant.tags]
status = {{ register = 0 }}
error = {{ register = 1 }}
ready = {{ register = 2 }}
link = {{ register = 3 }}

[groups.plant.rules]
disconnected = "link == 0"
error = "error"
running = "status"
idle = "ready"
"""
MACHINE = """
[[machines]]
code = "{code}"
name = "{name}"
group = "plant"
line = "{line}"
address = {address}
"""


class Plant:
    """`config`: what a server's CONFIG_DIR is to be."""

    def __init__(self, config: Path, writer: AsyncModbusTcpClient) -> None:
        self.config = config
        self._writer = writer

    async def becomes(self, status: str, *machines: int) -> None:
        """`machines` count from 0; none are all."""
        for machine in machines or range(MACHINES):
            answer = await self._writer.write_registers(machine * REGISTERS, STATES[status], device_id=1)
            assert not answer.isError(), answer


@asynccontextmanager
async def plant(home: Path) -> AsyncIterator[Plant]:
    """All machines run."""
    memory = SimData(0, values=STATES["running"] * MACHINES, datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(1, [memory]), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    port = server.transport.sockets[0].getsockname()[1]
    config = home / "config"
    shutil.copytree(ROOT / "config", config)
    machines = (
        MACHINE.format(code=code, name=name, line=line, address=number * REGISTERS)
        for number, (code, name, line) in enumerate(zip(CODES, NAMES, LINES, strict=True))
    )
    (config / "equipment.toml").write_text(GROUP.format(port=port) + "".join(machines), encoding="utf-8")
    writer = AsyncModbusTcpClient("127.0.0.1", port=port)
    await writer.connect()
    try:
        yield Plant(config, writer)
    finally:
        writer.close()
        await server.shutdown()
