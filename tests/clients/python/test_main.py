from __future__ import annotations

import signal
import sys

import pytest

from clients.python import Client
from tests.clients.python.cli.commands import cli
from tests.conftest import Serve
from tests.support.process import running
from tests.support.recovering import abort
from tests.support.running import Running, token


@pytest.mark.parametrize(
    ("arguments", "shows"),
    [
        (["monitor", "--count", "2"], ["17 machines", "Upper 로봇 용접"]),
        (["watch", "ticks:005930", "--count", "2"], ["subscribed to ticks:005930", '"삼성전자"']),
        (["watch", "ticks:*", "--count", "2"], ["subscribed to ticks:*\n", 'tick  {"symbol"']),
        (["chat", "support-1", "--say", "대출 금리가 얼마인가요?"], ["agent:", "3.5%"]),
        (["ask", "top 2 services by cost"], ["offering cloud_costs", "EC2"]),
    ],
)
async def test_a_command_for_each_namespace(serve: Serve, arguments: list[str], shows: list[str]) -> None:
    server = await serve(TRADING_FEED_SPEED=20, MONITOR_PERIOD=0.2)
    async with cli(server.url, *arguments) as process:
        assert await process.finish() == 0, process.output
        for text in shows:
            assert text in process.output


@pytest.mark.parametrize(
    ("arguments", "token", "line"),
    [
        (["watch", "user:someone-else"], "", "FORBIDDEN"),
        (["watch", "general"], "garbage", "TOKEN_INVALID"),
    ],
)
async def test_a_refusal_is_one_line(serve: Serve, arguments: list[str], token: str, line: str) -> None:
    server = await serve()
    async with cli(server.url, *arguments, token=token) as process:
        assert await process.finish() == 1
        assert line in process.output
        assert "Traceback" not in process.output


async def test_nobody_there_is_one_line() -> None:
    async with cli("http://127.0.0.1:9", "monitor") as process:
        assert await process.finish() == 1
        assert "no connection to http://127.0.0.1:9" in process.output
        assert "Traceback" not in process.output


async def test_an_address_without_a_scheme_is_one_line() -> None:
    async with cli("localhost:8000", "monitor") as process:
        assert await process.finish() == 1
        assert "not an http://" in process.output
        assert "Traceback" not in process.output


#: What shows that it is connected.
CONNECTED = [
    (["monitor"], "machines"),
    (["watch", "ticks:005930"], "subscribed to"),
    (["chat", "support-1"], "alice: said before"),
]


async def talking(serve: Serve) -> Running:
    server = await serve(MONITOR_PERIOD=0.1, TRADING_FEED_SPEED=20, CHAT_DEFAULT_AGENT="")
    async with Client(server.url, token("alice")) as client:
        await (await client.session("support-1")).send("said before")
    return server


@pytest.mark.parametrize(("arguments", "shows"), CONNECTED)
async def test_ctrl_c_ends_quietly(serve: Serve, arguments: list[str], shows: str) -> None:
    server = await talking(serve)
    async with cli(server.url, *arguments, token=token("alice")) as process:
        await process.read_until(shows)
        process.signal(signal.SIGINT)
        assert await process.finish() == 130
        assert "Traceback" not in process.output


@pytest.mark.parametrize(("arguments", "shows"), CONNECTED)
async def test_a_server_that_goes_away_is_one_line(serve: Serve, arguments: list[str], shows: str) -> None:
    server = await talking(serve)
    async with cli(server.url, *arguments, token=token("alice")) as process:
        await process.read_until(shows)
        await server.runner.cleanup()
        assert await process.finish() == 1
        assert "GOING_AWAY" in process.output
        assert "Traceback" not in process.output


@pytest.mark.parametrize("command", [[], ["monitor"], ["watch"], ["chat"], ["ask"], ["load"]])
async def test_help_has_examples_and_needs_no_server(command: list[str]) -> None:
    async with cli("http://127.0.0.1:9", *command, "--help") as process:
        assert await process.finish() == 0
        assert "Examples:" in process.output


async def test_a_policy_brings_a_script_back(serve: Serve) -> None:
    server = await serve(TRADING_FEED_SPEED=20)
    async with cli(server.url, "--reconnect", "default", "watch", "ticks:005930") as process:
        await process.read_until("tick  ")
        await abort(server)
        process.output = ""
        await process.read_until("tick  ")
        process.signal(signal.SIGINT)
        assert await process.finish() == 130


async def test_a_reader_that_leaves_ends_it_quietly(serve: Serve) -> None:
    server = await serve(MONITOR_PERIOD=0.05)
    program = f"{sys.executable} -m clients.python monitor | head -1"
    async with running("bash", "-c", program, ATRIUM_URL=server.url) as process:
        assert await process.finish() == 0
    assert "17 machines" in process.output
    assert "Error" not in process.output
