from __future__ import annotations

import json

import pytest

from clients.python import Client, Update
from clients.python.cli.watch import plain
from tests.clients.python.cli.commands import cli, on_terminal
from tests.conftest import Serve
from tests.support.running import token


async def test_lines_and_objects(serve: Serve) -> None:
    server = await serve(TRADING_FEED_SPEED=20)
    async with cli(server.url, "watch", "ticks:005930", "--count", "3", "--json") as process:
        assert await process.finish() == 0, process.output
    lines = [json.loads(line) for line in process.output.splitlines()]
    assert [line["seq"] - lines[0]["seq"] for line in lines] == [0, 1, 2]
    assert {line["type"] for line in lines} == {"tick"}


async def test_what_was_missed_first(serve: Serve) -> None:
    server = await serve(TRADING_FEED="none")
    async with Client(server.url, token("desk", roles=["publisher"])) as client:
        epoch = (await client.publish("alerts", "one"))["epoch"]
        await client.publish("alerts", "two")
    async with cli(server.url, "watch", "alerts", "--since", f"{epoch}:1", "--count", "1") as process:
        assert await process.finish() == 0, process.output
    assert '     2  message  "two"' in process.output


@pytest.mark.parametrize("since", ["17", "a:", ":3", "a:-1"])
async def test_a_since_that_is_none(since: str) -> None:
    async with cli("http://127.0.0.1:9", "watch", "alerts", "--since", since) as process:
        assert await process.finish() == 2
    assert "is not EPOCH:SEQ" in process.output


async def test_a_watch_list_on_a_terminal(serve: Serve) -> None:
    server = await serve(TRADING_FEED_SPEED=20)
    async with on_terminal(server.url, "watch", "ticks:*", "--count", "40") as terminal:
        assert await terminal.finish() == 0
        shown = await terminal.until("40 updates")
        assert "삼성전자" in shown
        assert "🟢 connected" in shown


async def test_what_is_no_tick_is_a_line_on_a_terminal(serve: Serve) -> None:
    server = await serve(TRADING_FEED="none")
    async with Client(server.url, token("desk", roles=["publisher"])) as client:
        await client.publish("alerts", {"text": "before\x1b[2J"}, type="halt")
        async with on_terminal(server.url, "watch", "alerts", "--count", "1") as terminal:
            await terminal.until("before")
            await client.publish("alerts", {"text": "after"}, type="halt")
            assert await terminal.finish() == 0
            assert "\x1b[2J" not in await terminal.until("after")


def test_a_line_moves_no_cursor() -> None:
    update = Update.from_wire(
        {"channel": "a", "seq": 1, "type": "t\x1b[2J", "data": {"\x9b": "a\x9b2J\u2028\x7f\U000e0001"}}
    )
    line = plain(update)
    assert line.isprintable()
    assert json.loads(line.split("  ")[-1]) == update.data
