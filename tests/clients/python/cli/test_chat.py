from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from clients.python import Client, Message
from clients.python.cli.chat import Plain, Pretty, Screen
from tests.clients.python.cli.commands import cli, on_terminal
from tests.conftest import Serve
from tests.support.process import PATIENCE, running
from tests.support.running import token


async def test_lines_from_a_pipe_and_then_the_end(serve: Serve) -> None:
    server = await serve()
    async with cli(server.url, "chat", "s", token=token("alice")) as process:
        assert process.process.stdin is not None
        process.process.stdin.write("안녕하세요\n\n대출 금리가 얼마인가요?\n".encode())
        process.process.stdin.close()
        assert await process.finish() == 0, process.output
    lines = process.output.splitlines()
    assert lines[0] == "   1  alice: 안녕하세요"
    assert lines[1].startswith("      agent: ")
    assert lines[2] == "   3  alice: 대출 금리가 얼마인가요?"
    assert "3.5%" in lines[3]


async def test_what_was_said_before_and_objects(serve: Serve) -> None:
    server = await serve()
    for text in ("one", "two"):
        async with cli(server.url, "chat", "s", "--say", text, "--json", token=token("alice")) as process:
            assert await process.finish() == 0, process.output
    said = [json.loads(line) for line in process.output.splitlines()]
    assert [each["seq"] for each in said if each["type"] == "message"] == [1, 2, 3]
    assert [each["content"] for each in said if each["type"] == "stream_end"]


async def test_what_others_say_is_shown_and_harms_no_terminal(serve: Serve) -> None:
    server = await serve(CHAT_DEFAULT_AGENT="")
    async with Client(server.url, token("alice")) as client:
        session = await client.session("s")
        heard: asyncio.Queue[Any] = asyncio.Queue()
        session.on("system", heard.put_nowait)
        async with cli(server.url, "chat", "s", token=token("op", roles=["operator"])) as process:
            assert (await asyncio.wait_for(heard.get(), PATIENCE))["user_id"] == "op"
            await session.send("hello \x1b[2J")
            assert "alice: hello �[2J" in await process.read_until("hello")
            await session.close()
            assert "* alice user_left" in await process.read_until("user_left")


@pytest.mark.parametrize("screen", [Plain, Pretty])
def test_nothing_that_came_moves_the_cursor(screen: type[Screen], capsys: pytest.CaptureFixture[str]) -> None:
    shown, evil = screen(), "\x9b2J\x1b[2J"
    shown.message(Message("s", 1, "m", "user", evil, evil))
    for event, payload in (
        ("system", {"user_id": evil, "event": evil}),
        ("typing", {"user_id": evil, "is_typing": True}),
        ("message_edited", {"seq": evil}),
        ("stream_start", {}),
        ("stream_chunk", {"content": evil}),
        ("stream_end", {"error": {"code": evil}, "source_documents": [{"title": evil}]}),
    ):
        shown.event(event, payload)
    shown.note(evil)
    said = capsys.readouterr().out
    assert "�2J�[2J" in said
    assert not {"\x1b", "\x9b"} & {*said}


async def test_what_a_run_could_not_send_the_next_one_does(serve: Serve, tmp_path: Path) -> None:
    from clients.python.outbox import FileOutbox, Waiting

    server = await serve()
    left = FileOutbox(tmp_path / "outbox.db", server.url)
    await left.add(Waiting("alice", "s", "m1", {"content": "left over"}))
    await left.close()
    arguments = ["chat", "s", "--outbox", str(left._path), "--say", "now"]
    async with cli(server.url, *arguments, token=token("alice")) as process:
        assert await process.finish() == 0, process.output
    assert "alice: left over" in process.output


async def test_talking_on_a_terminal(serve: Serve, tmp_path: Path) -> None:
    server = await serve()
    path = tmp_path / "note.txt"
    path.write_text("a note of mine")
    async with on_terminal(server.url, "chat", "s") as terminal:
        await terminal.until("/help lists commands")
        terminal.type("대출 금리가 얼마인가요?\n")
        await terminal.until("from: ")
        assert "3.5%" in terminal.shown
        terminal.type("/help\n")
        await terminal.until("/search TEXT")
        terminal.type("/search 금리\n")
        terminal.type(f"/file {path}\n")
        await terminal.until("note.txt")
        terminal.type("/file /nowhere\n")
        await terminal.until("No such file")
        terminal.type("/quit\n")
        assert await terminal.finish() == 0
        assert "Traceback" not in terminal.shown


async def test_without_rich_a_terminal_gets_plain_lines(serve: Serve) -> None:
    server = await serve(MONITOR_PERIOD=0.1)
    program = (
        "import sys; sys.modules['rich'] = None; sys.argv[0] = 'x'; from clients.python.__main__ import cli; cli()"
    )
    async with running(sys.executable, "-c", program, "monitor", "--count", "1", ATRIUM_URL=server.url) as process:
        assert await process.finish() == 0
    assert "17 machines" in process.output
