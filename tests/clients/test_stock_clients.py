"""Stock clients, as processes, against a whole server: JavaScript and Python, on every transport and namespace."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.process import Process, running
from tests.support.running import token

HERE = Path(__file__).parent

Line = tuple[str, str, Any]


def command(kind: str) -> list[str | Path]:
    return ["node", HERE / "scenario.mjs"] if kind == "js" else [sys.executable, HERE / "scenario.py"]


async def play(kind: str, scenario: str, url: str, transport: str) -> list[Line]:
    sub = "js" if kind == "js" else "py"
    signed = token(sub, roles=["publisher"])
    async with running(*command(kind), scenario, url, signed, transport, NODE_NO_WARNINGS="1") as process:
        assert await process.finish() == 0, process.output
        return transcript(process)


def transcript(process: Process) -> list[Line]:
    lines: list[Line] = []
    for line in process.output.splitlines():
        mark, name, payload = line.split(" ", 2)
        lines.append((mark, name, json.loads(payload)))
    return lines


def payloads(lines: list[Line], mark: str, name: str) -> list[Any]:
    return [payload for each, event, payload in lines if (each, event) == (mark, name)]


everywhere = [
    pytest.mark.parametrize("kind", ["js", "python"]),
    pytest.mark.parametrize("transport", ["websocket", "polling", "upgrade"]),
]


def each_client(test: Any) -> Any:
    for mark in everywhere:
        test = mark(test)
    return test


def check_upgrade(lines: list[Line], transport: str) -> None:
    if transport == "upgrade":
        assert ("<", "transport", {"name": "websocket"}) in lines


@each_client
async def test_monitor(serve: Serve, kind: str, transport: str) -> None:
    server = await serve(MONITOR_PERIOD=0.2)
    lines = await play(kind, "monitor", server.url, transport)
    [status] = payloads(lines, "<", "connection_status")
    assert (status["status"], status["message"]) == ("connected", "WebSocket connected successfully")
    for message in payloads(lines, "<", "equipment_status"):
        assert len(message["equipment"]) == 17
        assert {len(machine["equipment_code"]) for machine in message["equipment"]} == {14}
    assert payloads(lines, "=", "ping") == [{"ok": True, "timestamp": "2025-11-03T10:30:45.123Z"}]
    check_upgrade(lines, transport)


@each_client
async def test_trading(serve: Serve, kind: str, transport: str) -> None:
    server = await serve(TRADING_FEED_SPEED=20)
    lines = await play(kind, "trading", server.url, transport)
    ticks = payloads(lines, "<", "tick")
    assert {tick["channel"] for tick in ticks} == {"ticks:005930"}
    seqs = [tick["seq"] for tick in ticks]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    first, second, nameless = payloads(lines, "=", "subscribe")
    assert (first["channel"], first["success"]) == ("ticks:005930", True)
    assert second["success"] is True
    assert nameless["error"]["code"] == "INVALID_MESSAGE"
    assert nameless["error"]["message"] == "Channel name required for subscription"
    [said] = payloads(lines, "<", "chat_message")
    assert (said["message"], said["channel"]) == ("테슬라 주식 분석 요청", "general")
    [published] = payloads(lines, "=", "publish")
    [news] = payloads(lines, "<", "news")
    assert news["seq"] == published["seq"]
    check_upgrade(lines, transport)


@each_client
async def test_chat(serve: Serve, kind: str, transport: str) -> None:
    server = await serve()
    lines = await play(kind, "chat", server.url, transport)
    first, again = payloads(lines, "=", "message")
    assert first["status"] == "sent"
    assert {name: first[name] for name in ("message_id", "seq", "created_at")} == {
        name: again[name] for name in ("message_id", "seq", "created_at")
    }
    assert len(payloads(lines, "<", "message")) == 1
    chunks = payloads(lines, "<", "stream_chunk")
    assert [chunk["index"] for chunk in chunks] == list(range(len(chunks)))
    assert "3.5%" in "".join(chunk["content"] for chunk in chunks)
    check_upgrade(lines, transport)


@each_client
async def test_copilot(serve: Serve, kind: str, transport: str) -> None:
    server = await serve()
    lines = await play(kind, "copilot", server.url, transport)
    once, twice = payloads(lines, "=", "api_result")
    assert once["ok"] is True
    assert twice["error"]["code"] == "UNKNOWN_REQUEST"
    [query], [response] = payloads(lines, "=", "query"), payloads(lines, "<", "response")
    assert query["remaining"] == 9
    assert response["query_id"] == query["query_id"]
    assert response["text"].index("EC2") < response["text"].index("RDS")
    assert "S3" not in response["text"]
    check_upgrade(lines, transport)


@each_client
async def test_a_refused_client_reads_why(serve: Serve, kind: str, transport: str) -> None:
    server = await serve()
    lines = await play(kind, "refused", server.url, transport)
    refusals = [error["data"] for error in payloads(lines, "<", "connect_error")]
    codes = [(data["code"], data["close_code"]) for data in refusals]
    assert ("TOKEN_INVALID", 4001) in codes
    if kind == "js":
        assert ("TOKEN_MISSING", 1008) in codes


@pytest.mark.parametrize(("js", "python"), [("websocket", "websocket"), ("polling", "upgrade"), ("upgrade", "polling")])
async def test_two_kinds_of_client_in_one_session(serve: Serve, js: str, python: str) -> None:
    server = await serve(CHAT_DEFAULT_AGENT="")
    operator = token("operator", roles=["operator"])
    async with running(*command("js"), "meet", server.url, token("js"), js) as first:
        await first.read_until("= join")
        async with running(*command("python"), "meet", server.url, operator, python) as second:
            assert await asyncio.gather(first.finish(), second.finish()) == [0, 0], first.output + second.output
    heard = [
        [message["content"] for message in payloads(transcript(process), "<", "message")] for process in (first, second)
    ]
    assert heard == [["hello from js", "hello from python"]] * 2
