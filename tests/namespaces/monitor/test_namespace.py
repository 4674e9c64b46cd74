from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import socketio
from pymodbus.client import AsyncModbusTcpClient

from server.errors import ConfigError
from server.namespaces.monitor.namespace import build
from tests.conftest import Connect, Serve
from tests.support.client import Client
from tests.support.ports import free_port
from tests.support.redis import RedisServer

PERIOD = 0.2
DEVICE = Path("config/dev/plc.py")
ISO_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
STATUSES = {"running", "idle", "stopped", "error", "disconnected"}

Plc = Callable[..., Awaitable[asyncio.subprocess.Process]]
Config = Callable[[int], Path]


def seed_shape(payload: dict[str, Any]) -> None:
    """Exactly what the seed's tables of fields say."""
    assert set(payload) == {"timestamp", "equipment"}
    assert ISO_UTC.fullmatch(payload["timestamp"])
    assert len(payload["equipment"]) == 17
    for machine in payload["equipment"]:
        assert set(machine) == {"equipment_code", "equipment_name", "status", "tags", "last_updated"}
        assert isinstance(machine["equipment_code"], str)
        assert len(machine["equipment_code"]) == 14
        assert isinstance(machine["equipment_name"], str)
        assert machine["status"] in STATUSES
        tags = machine["tags"]
        assert set(tags) == {"status_tag", "error_tag", "connection"}
        for tag in ("status_tag", "error_tag"):
            assert type(tags[tag]) is int
            assert tags[tag] in {0, 1}
        assert type(tags["connection"]) is bool
        assert ISO_UTC.fullmatch(machine["last_updated"])


# -- the feed ----------------------------------------------------------------------------------------------------


async def test_seventeen_machines_every_period(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=PERIOD)
    client = await connect(server, "/monitor")
    payloads = [await client.expect("equipment_status") for _ in range(4)]
    for payload in payloads:
        seed_shape(payload)
        assert all(machine["tags"]["connection"] for machine in payload["equipment"])
    assert [(each["equipment_code"], each["equipment_name"]) for each in payloads[0]["equipment"][:2]] == [
        ("KRCWO12ELOA101", "Upper 로봇 용접"),
        ("KRCWO12ELOA102", "Lower 로봇 용접"),
    ]
    timestamps = [payload["timestamp"] for payload in payloads]
    assert timestamps == sorted(set(timestamps))


async def test_connection_status_comes_first_and_instead_of_connected(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=0.05)
    for client in await asyncio.gather(*(connect(server, "/monitor") for _ in range(20))):
        await client.settle()
        name, payload = client.received[0]
        assert name == "connection_status"
        assert set(payload) == {"timestamp", "status", "message"}
        assert ISO_UTC.fullmatch(payload["timestamp"])
        assert payload["status"] == "connected"
        assert payload["message"] == "WebSocket connected successfully"
        assert len(client.payloads("connection_status")) == 1
        assert client.payloads("connected") == []


async def test_a_new_client_gets_the_newest_status_at_once(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=3600)
    first = await connect(server, "/monitor")
    await first.expect("equipment_status")  # sent, or about to be
    late = await connect(server, "/monitor")
    await late.settle()
    (payload,) = late.payloads("equipment_status")  # the next is due in an hour
    seed_shape(payload)
    assert [name for name, _ in late.received[:2]] == ["connection_status", "equipment_status"]
    assert len(first.payloads("equipment_status")) == 1


async def test_over_polling(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=PERIOD)
    client = await connect(server, "/monitor", transports=["polling"])
    for _ in range(3):
        seed_shape(await client.expect("equipment_status"))


async def test_one_who_leaves_costs_the_others_nothing(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=0.05)
    stays, leaves = await connect(server, "/monitor"), await connect(server, "/monitor")
    await leaves.expect("equipment_status")
    await leaves.sio.disconnect()
    seen = len(stays.payloads("equipment_status"))
    for _ in range(seen + 3):
        await stays.expect("equipment_status")


async def test_tenants_see_the_same_machines(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=PERIOD)
    for tenant in ("a", "b", None):
        client = await connect(server, "/monitor", "alice", tenant=tenant)
        seed_shape(await client.expect("equipment_status"))
        seed_shape(await client.expect("equipment_status"))


async def test_two_nodes_show_the_same_machines_each_to_its_own_clients(serve: Serve, connect: Connect) -> None:
    async with RedisServer() as redis:
        environ = {"REDIS_URL": redis.url, "MONITOR_PERIOD": PERIOD, "TRADING_FEED": "none"}
        servers = [await serve(**environ) for _ in range(2)]
        clients = [await connect(server, "/monitor") for server in servers]
        shown = []
        for client in clients:
            statuses = [await client.expect("equipment_status", matching=is_there) for _ in range(5)]
            shown.append({json.dumps(status["equipment"]) for status in statuses})
            _, *regular = client.payloads("equipment_status")
            first, *_, last = [datetime.fromisoformat(status["timestamp"]).timestamp() for status in regular]
            assert len(regular) <= round((last - first) / PERIOD) + 1  # none doubled
        here, there = shown
        assert here & there
        for server in servers:
            await server.realtime.stop()


# -- who, and what else ------------------------------------------------------------------------------------------


async def test_a_token_is_needed_only_where_the_setting_says_so(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_REQUIRE_AUTH="true")
    refused = Client("/monitor")
    with pytest.raises(socketio.exceptions.ConnectionError):
        await refused.connect(server.url)
    error = await refused.expect("connect_error")
    assert (error["data"]["code"], error["data"]["close_code"]) == ("TOKEN_MISSING", 1008)
    await refused.close()
    client = await connect(server, "/monitor", "alice")
    await client.expect("connection_status")


async def test_a_token_that_is_wrong_is_refused_even_where_none_is_needed(serve: Serve) -> None:
    server = await serve()
    client = Client("/monitor")
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(server.url, "not.a.token")
    assert (await client.expect("connect_error"))["data"]["code"] == "TOKEN_INVALID"
    await client.close()


async def test_ping(serve: Serve, connect: Connect) -> None:
    client = await connect(await serve(), "/monitor")
    ack = await client.call("ping", {"timestamp": "2025-11-03T10:30:45.123Z"})
    assert ack["timestamp"] == (await client.expect("pong"))["timestamp"] == "2025-11-03T10:30:45.123Z"
    await client.emit("ping")
    assert ISO_UTC.fullmatch((await client.expect("pong"))["timestamp"])


async def test_clients_cannot_speak_for_machines(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=3600)
    listener, liar = await connect(server, "/monitor"), await connect(server, "/monitor")
    newest = await listener.expect("equipment_status")
    for event in ("equipment_status", "connection_status"):
        ack = await liar.call(event, newest)
        assert ack["error"]["code"] == "UNKNOWN_EVENT"
    await listener.settle()
    assert len(listener.payloads("equipment_status")) == 1


# -- what it is built of -----------------------------------------------------------------------------------------


def test_a_bad_file_names_itself(tmp_path: Path) -> None:
    (tmp_path / "equipment.toml").write_text('[[machines]]\ncode = "short"\nname = "x"')
    with pytest.raises(ConfigError, match=r"equipment\.toml is not usable:\n  machine 1 \(short\): code: Must be 14"):
        build(tmp_path, plc="", period=1, require_auth=False)


def test_modbus_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "server.namespaces.monitor.sources.modbus", raising=False)
    monkeypatch.setitem(sys.modules, "pymodbus", None)
    with pytest.raises(ConfigError, match=r"robot-welding .* needs the extra plc: pip install"):
        build(Path("config"), plc="demo", period=1, require_auth=False)
    build(Path("config"), plc="", period=1, require_auth=False)


# -- real Modbus TCP ---------------------------------------------------------------------------------------------


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
        seed_shape(payload)
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


@pytest.mark.parametrize(
    "answer",
    [b"", b"\0\0\0\3\1\x83\2", b"\0\0\0\5\1\3\2\0\1", b"\0\0\0\4\1\x55\1\2", b"\xff" * 1000],
    ids=["frozen", "an exception", "too short", "malformed", "garbage"],
)
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
