"""The whole server before real Modbus TCP devices, and the demo device itself."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pymodbus.client import AsyncModbusTcpClient

from tests.conftest import Connect, Serve
from tests.namespaces.monitor import contract
from tests.support.ports import free_port

PERIOD = 0.2
DEVICE = Path("config/dev/plc.py")

Plc = Callable[..., Awaitable[asyncio.subprocess.Process]]
Config = Callable[[int], Path]


@pytest_asyncio.fixture
async def plc() -> AsyncIterator[Plc]:
    """Starts config/dev/plc.py on a port, in a process of its own."""
    started: list[asyncio.subprocess.Process] = []

    async def plc(port: int, *, step: float = 0.02) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            DEVICE,
            *("--port", str(port), "--step", str(step)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        assert await process.stdout.readline() == f"plc: 4 machines on 127.0.0.1:{port}\n".encode()
        return process

    yield plc
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The shipped configuration, its demo device on another port."""

    def config(port: int) -> Path:
        copy = tmp_path / "config"
        shutil.copytree("config", copy)
        equipment = copy / "equipment.toml"
        text = equipment.read_text()
        assert "port = 5020" in text
        equipment.write_text(text.replace("port = 5020", f"port = {port}"))
        return copy

    return config


def is_lost(payload: dict[str, Any]) -> bool:
    return all(
        machine["status"] == "disconnected" and machine["tags"]["connection"] is False
        for machine in payload["equipment"][:4]
    )


def is_there(payload: dict[str, Any]) -> bool:
    return all(machine["tags"]["connection"] for machine in payload["equipment"][:4])


def others_never_noticed(payloads: list[dict[str, Any]]) -> None:
    for payload in payloads:
        assert contract.faults("equipment_status", payload) == []
        assert all(machine["tags"]["connection"] for machine in payload["equipment"][4:])
    updates = [payload["equipment"][-1]["last_updated"] for payload in payloads[1:]]  # [0] is the one at connect
    assert updates == sorted(set(updates))  # every status has something newer


async def test_unplugged_and_plugged_in_again(serve: Serve, connect: Connect, plc: Plc, config: Config) -> None:
    port = free_port()
    device = await plc(port)
    server = await serve(MONITOR_PERIOD=PERIOD, CONFIG_DIR=config(port), PLC="demo")
    client = await connect(server, "/monitor")
    before = await client.expect("equipment_status", matching=is_there)
    seen = {machine["status"] for machine in before["equipment"][:4]}
    async with asyncio.timeout(20):
        while seen != {"running", "idle", "stopped", "error"}:
            payload = await client.expect("equipment_status", matching=is_there)
            seen |= {machine["status"] for machine in payload["equipment"][:4]}

    device.kill()
    await device.wait()
    sent = len(client.payloads("equipment_status"))
    while not is_lost(client.payloads("equipment_status")[-1]):
        await client.expect("equipment_status", matching=is_lost)
    after = client.payloads("equipment_status")[sent:]
    assert any(is_lost(payload) for payload in after[:3]), "one may have been under way, and two periods"

    await plc(port)
    back = await client.expect("equipment_status", matching=is_there)
    while back["equipment"][0]["last_updated"] < after[-1]["timestamp"]:
        back = await client.expect("equipment_status", matching=is_there)
    others_never_noticed(client.payloads("equipment_status"))


async def test_values_are_those_of_the_registers(serve: Serve, connect: Connect, plc: Plc, config: Config) -> None:
    port = free_port()
    await plc(port, step=3600)
    server = await serve(MONITOR_PERIOD=PERIOD, CONFIG_DIR=config(port), PLC="demo")
    client = await connect(server, "/monitor")
    writer = AsyncModbusTcpClient("127.0.0.1", port=port)
    await writer.connect()
    await writer.write_registers(0, [1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 1, 0])
    writer.close()
    wanted = [("running", 1, 0), ("idle", 0, 0), ("stopped", 0, 0), ("error", 1, 1)]

    def shows(payload: dict[str, Any]) -> bool:
        return wanted == [
            (machine["status"], machine["tags"]["status_tag"], machine["tags"]["error_tag"])
            for machine in payload["equipment"][:4]
        ]

    await client.expect("equipment_status", matching=shows)


async def test_a_device_that_was_never_there(serve: Serve, connect: Connect, config: Config) -> None:
    server = await serve(MONITOR_PERIOD=PERIOD, CONFIG_DIR=config(free_port()), PLC="demo")
    client = await connect(server, "/monitor")
    payloads = [await client.expect("equipment_status") for _ in range(5)]
    assert all(is_lost(payload) for payload in payloads)
    assert {machine["tags"]["status_tag"] for machine in payloads[-1]["equipment"][:4]} == {0}
    others_never_noticed(payloads)


@asynccontextmanager
async def peer(answer: bytes) -> AsyncIterator[int]:
    """Accepts, reads, and says the same to everything; its port."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while request := await reader.read(260):
                writer.write(answer and request[:2] + answer)
        except ConnectionError:
            pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    for writer in writers:
        writer.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("answer", [b"", b"\xff" * 1000], ids=["frozen", "garbage"])
async def test_a_bad_device_disturbs_nobody(serve: Serve, connect: Connect, config: Config, answer: bytes) -> None:
    async with peer(answer) as port:
        server = await serve(MONITOR_PERIOD=PERIOD, CONFIG_DIR=config(port), PLC="demo")
        client = await connect(server, "/monitor")
        payloads = [await client.expect("equipment_status") for _ in range(8)]
        assert all(is_lost(payload) for payload in payloads)
        others_never_noticed(payloads)


# -- the demo device ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_demo_device_ends_cleanly(plc: Plc, number: signal.Signals) -> None:
    port = free_port()
    device = await plc(port)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)  # somebody is connected
    device.send_signal(number)
    output, errors = await device.communicate()
    assert (device.returncode, output, errors) == (0, b"", b"")
    assert await reader.read() == b""
    writer.close()


async def test_the_demo_device_names_the_port_it_cannot_have(plc: Plc) -> None:
    port = free_port()
    await plc(port)
    second = await asyncio.create_subprocess_exec(
        sys.executable, DEVICE, "--port", str(port), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await second.communicate()
    assert second.returncode == 1
    assert f"plc: 127.0.0.1:{port}: ".encode() in errors
    assert b"Traceback" not in errors
