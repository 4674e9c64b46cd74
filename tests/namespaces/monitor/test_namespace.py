from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
import socketio

from server.errors import ConfigError
from server.namespaces.monitor.namespace import build
from tests.conftest import Connect, Serve
from tests.namespaces.monitor import contract
from tests.support.client import Client

PERIOD = 0.2


def right(payload: dict[str, Any], machines: int = contract.MACHINES) -> None:
    """Exactly what the seed's tables of fields say."""
    assert contract.faults("equipment_status", payload, [machines]) == []


def is_there(payload: dict[str, Any]) -> bool:
    return all(machine["tags"]["connection"] for machine in payload["equipment"])


# -- the feed ----------------------------------------------------------------------------------------------------


async def test_seventeen_machines_every_period(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=PERIOD)
    client = await connect(server, "/monitor")
    payloads = [await client.expect("equipment_status") for _ in range(4)]
    for payload in payloads:
        right(payload)
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
        assert contract.faults(name, payload) == []
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
    right(payload)
    assert [name for name, _ in late.received[:2]] == ["connection_status", "equipment_status"]
    assert len(first.payloads("equipment_status")) == 1


async def test_over_polling(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=PERIOD)
    client = await connect(server, "/monitor", transports=["polling"])
    for _ in range(3):
        right(await client.expect("equipment_status"))


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
        right(await client.expect("equipment_status"))
        right(await client.expect("equipment_status"))


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
    assert contract.faults("pong", await client.expect("pong")) == []


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
    with pytest.raises(ConfigError, match=r"equipment\.toml:2: machine short: code: Must be 14"):
        build(tmp_path, plc="", period=1, require_auth=False)


def test_modbus_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "server.namespaces.monitor.sources.modbus", raising=False)
    monkeypatch.setitem(sys.modules, "pymodbus", None)
    with pytest.raises(ConfigError, match=r"robot-welding.* needs the extra plc: pip install"):
        build(Path("config"), plc="demo", period=1, require_auth=False)
    build(Path("config"), plc="", period=1, require_auth=False)
