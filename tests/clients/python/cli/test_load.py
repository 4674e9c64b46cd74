from __future__ import annotations

import asyncio
import json
import signal

import pytest

from clients.python.cli.load import is_here
from tests.clients.python.cli.commands import cli, on_terminal
from tests.conftest import Serve
from tests.support.running import token

SMALL = ["--clients", "3", "--rate", "30", "--duration", "1"]


@pytest.mark.parametrize(("what", "measures"), [("ping", "acks"), ("trading", "deliveries"), ("monitor", "deliveries")])
async def test_a_small_one(serve: Serve, what: str, measures: str) -> None:
    server = await serve(MONITOR_PERIOD=0.1)
    async with cli(server.url, "load", what, *SMALL, "--json") as process:
        assert await process.finish() == 0, process.output
    results = json.loads(process.output)
    assert (results["connected"], results["errors"]) == (3, {})
    assert results[measures]["count"] >= 3  # how many there are in a second is the machine's business
    assert 0 < results[measures]["p50_ms"] <= results[measures]["p99_ms"] <= results[measures]["max_ms"]


async def test_lines(serve: Serve) -> None:
    server = await serve(CHAT_DEFAULT_AGENT="")
    async with cli(server.url, "load", "chat", *SMALL, "--transport", "polling") as process:
        assert await process.finish() == 0, process.output
    lines = dict(line.split(maxsplit=1) for line in process.output.splitlines())
    assert lines["what"] == "chat"
    assert 0 < int(lines["sent"]) <= 30
    assert "p99_ms" in lines["acks"]


async def test_one_users_limit_is_said_to_be_that(serve: Serve) -> None:
    server = await serve(CHAT_DEFAULT_AGENT="", RATE_LIMIT_MESSAGES_PER_MINUTE=5)
    async with cli(server.url, "--token", token("alice"), "load", "chat", *SMALL) as process:
        assert await process.finish() == 0, process.output
    assert "RATE_LIMITED" in process.output
    assert "All clients were one user" in process.output


async def test_live_on_a_terminal_and_ctrl_c(serve: Serve) -> None:
    server = await serve()
    async with on_terminal(server.url, "load", "ping", "--duration", "60") as terminal:
        await terminal.until("acks")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.finish() == 130
        assert "running: ping, 50/50 clients" in terminal.shown
        assert "Traceback" not in terminal.shown


async def test_interrupted_it_says_what_it_has(serve: Serve) -> None:
    server = await serve()
    async with cli(server.url, "load", "ping", "--duration", "60", "--clients", "2", "--json") as process:
        while server.realtime.statistics.messages_received < 10:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)
        process.signal(signal.SIGINT)
        assert await process.finish() == 130
    assert json.loads(process.output)["acks"]["count"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ping", "--clients", "100000"], "1<=x<=2000"),
        (["pong"], "'pong' is not one of"),
        (["ping"], "--mine"),
    ],
)
async def test_what_it_does_not_do(arguments: list[str], says: str) -> None:
    async with cli("http://example.com", "load", *arguments) as process:
        assert await process.finish() == 2
    assert says in process.output


def test_machines_of_ones_own() -> None:
    here = ["http://localhost:8000", "http://127.0.0.1", "http://[::1]:8000", "http://a.localhost"]
    assert all(map(is_here, here))
    assert not any(map(is_here, ["http://10.0.0.1", "http://example.com", "http://localhost.example.com", "http://"]))
