from __future__ import annotations

import json
import signal

from tests.clients.python.cli.commands import cli, on_terminal
from tests.conftest import Serve


async def test_one_object_a_line(serve: Serve) -> None:
    server = await serve(MONITOR_PERIOD=0.1)
    async with cli(server.url, "monitor", "--count", "2", "--json", "--equipment", "KRCWO12ELOA101") as process:
        assert await process.finish() == 0, process.output
    lines = [json.loads(line) for line in process.output.splitlines()]
    assert [len(line["equipment"]) for line in lines][-1] == 1
    assert len(lines) == 2


async def test_a_machine_that_there_is_not_is_one_line(serve: Serve) -> None:
    server = await serve()
    async with cli(server.url, "monitor", "--equipment", "X") as process:
        assert await process.finish() == 1
    assert process.output.splitlines() == [
        "INVALID_MESSAGE: The message is not valid {'equipment': [\"There is no 'X'.\"]}"
    ]


async def test_a_table_that_stays_on_a_terminal(serve: Serve) -> None:
    server = await serve(MONITOR_PERIOD=0.1)
    async with on_terminal(server.url, "monitor") as terminal:
        shown = await terminal.until("Upper 로봇 용접")
        assert "🟢 connected" in shown
        assert "KRCWO12ELOA101" in shown
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.finish() == 130
        assert "Traceback" not in terminal.shown


async def test_a_terminal_waits_for_the_server_to_be_back(serve: Serve) -> None:
    server = await serve(MONITOR_PERIOD=0.1)
    async with on_terminal(server.url, "monitor") as terminal:
        await terminal.until("🟢 connected")
        await server.runner.cleanup()
        await terminal.until("🟡 reconnecting (GOING_AWAY")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.finish() == 130
