"""The monitor seed's clients: its script as it stands, its React hook, websocat, and its contract."""

from __future__ import annotations

import json
from typing import Any

import websockets

from tests.conftest import Connect, Serve
from tests.doors.hooks import play
from tests.doors.plain import address, plain

QUICK = {"MONITOR_PERIOD": 0.05}


async def seeds_script(uri: str) -> list[str]:
    """As in the seed; what it prints is returned."""
    printed = []
    async with websockets.connect(uri) as websocket:
        printed.append("Connected to WebSocket server")

        # Receive 10 messages (10 seconds)
        for i in range(10):
            message = await websocket.recv()
            data = json.loads(message)
            printed.append(f"Message {i + 1}: {data['type']}, Equipment count: {len(data['equipment'])}")
    return printed


async def test_the_seeds_script(serve: Serve) -> None:
    printed = await seeds_script(address(await serve(**QUICK), "/ws/monitor"))
    assert len(printed) == 11
    assert "Message 2: equipment_status, Equipment count: 17" in printed


async def test_the_react_hook(serve: Serve) -> None:
    """It shows 17 machines and, when the server is gone and did not come back, all of them without a connection."""
    server = await serve(**QUICK)
    async with play("monitor.mjs", address(server, "/ws/monitor")) as hook:
        await hook.read_until("shown")
        await server.runner.cleanup()
        assert await hook.finish() == 0, hook.output
    lines = [json.loads(line) for line in hook.output.splitlines() if line.startswith("{")]
    statuses = [line["status"] for line in lines if "status" in line]
    assert statuses == ["connected", "reconnecting", "reconnecting", "failed"]
    [shown] = [line["shown"] for line in lines if "shown" in line]
    assert len(shown) == 17
    assert set(shown.values()) <= {"Gray", "Purple", "Red", "Yellow", "Green"}
    [last] = [line["last"] for line in lines if "last" in line]
    assert set(last.values()) == {"Gray"}
    assert {"connection_status": ["connected", "WebSocket connected successfully"]} in lines


async def test_websocat(serve: Serve) -> None:
    """It sends nothing, and prints what comes."""
    async with plain(await serve(**QUICK), "/ws/monitor") as websocat:
        first = await websocat.next()
        assert list(first)[:4] == ["type", "timestamp", "status", "message"]
        assert (first["status"], first["message"]) == ("connected", "WebSocket connected successfully")
        status = await websocat.expect("equipment_status")
        await websocat.expect("equipment_status", lambda said: said["timestamp"] > status["timestamp"])
    check(status)


def check(status: dict[str, Any]) -> None:
    assert list(status) == ["type", "timestamp", "equipment"]
    assert len(status["equipment"]) == 17
    for machine in status["equipment"]:
        assert len(machine["equipment_code"]) == 14
        assert machine["status"] in ("running", "idle", "stopped", "error", "disconnected")
        assert {type(machine["tags"][tag]) for tag in ("status_tag", "error_tag")} == {int}
        assert type(machine["tags"]["connection"]) is bool
        assert machine["last_updated"].endswith("Z")


async def test_ping(serve: Serve) -> None:
    async with plain(await serve(), "/ws/monitor") as client:
        await client.send("ping", timestamp="2025-11-03T10:30:45.123Z")
        assert await client.expect("pong") == {"type": "pong", "timestamp": "2025-11-03T10:30:45.123Z"}


async def test_both_doors_see_the_same(serve: Serve, connect: Connect) -> None:
    server = await serve(**QUICK)
    on_socketio = await connect(server, "/monitor")
    async with plain(server, "/ws/monitor") as client:
        status = await client.expect(
            "equipment_status", lambda said: said["timestamp"] > client.of(said["type"])[0]["timestamp"]
        )
        del status["type"]
        assert (
            await on_socketio.expect("equipment_status", lambda said: said["timestamp"] == status["timestamp"])
            == status
        )


async def test_a_filter_by_websocket(serve: Serve) -> None:
    async with plain(await serve(**QUICK), "/ws/monitor") as client:
        await client.send("subscribe", equipment=["KRCWO12ELOA101"])
        assert (await client.expect("ack"))["equipment"] == ["KRCWO12ELOA101"]
        await client.expect("equipment_status", lambda said: len(said["equipment"]) == 1)


async def test_a_server_that_goes_says_so(serve: Serve) -> None:
    server = await serve()
    async with plain(server, "/ws/monitor") as client:
        await client.expect("equipment_status")
        await server.runner.cleanup()
        assert await client.closed() == 1001
    told = client.of("connection_status")[-1]
    assert (told["status"], told["code"], told["equipment"]) == ("disconnected", "GOING_AWAY", [])
    assert told["message"]
