from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from clients.python import Client, Lost, Refused, session
from tests.clients.python.opening import Filter, client, some, until_state
from tests.conftest import Serve
from tests.support.client import PATIENCE
from tests.support.cluster import Nodes
from tests.support.recovering import abort
from tests.support.running import Running

DROPS = 8
PEOPLE = {"CHAT_DEFAULT_AGENT": "", "RATE_LIMIT_MESSAGES_PER_MINUTE": 1_000_000}


def contents(messages: Any) -> list[str]:
    return [message.content for message in messages]


async def test_what_is_said_and_what_was_said_before(serve: Serve) -> None:
    server = await serve(**PEOPLE)
    async with client(server.url) as opened:
        first = await opened.session("s")
        assert (first.history, first.state) == ((), "connected")
        sent = [await first.send(f"안녕 {number}", metadata={"n": number}) for number in range(3)]
        assert [each.seq for each in sent] == [1, 2, 3]
        heard = await some(first, 3)
        assert [(each.message_id, each.metadata) for each in heard] == [
            (each.message_id, {"n": number}) for number, each in enumerate(sent)
        ]
    async with client(server.url) as opened:
        again = await opened.session("s")
        assert contents(again.history) == ["안녕 0", "안녕 1", "안녕 2"]
        assert again.info["user_id"] == "alice"
        assert contents(await again.older(before_seq=3, limit=1)) == ["안녕 1"]
        assert [hit["seq"] for hit in await again.search("안녕 2")] == [3]
        resumed = await opened.session("s", after_seq=1)
        assert contents(await some(resumed, 2)) == ["안녕 1", "안녕 2"]


async def test_an_answer_as_it_comes_and_as_a_message(serve: Serve) -> None:
    server = await serve()
    async with client(server.url) as opened:
        talk = await opened.session("s")
        await talk.send("대출 금리가 얼마인가요?")
        stream = (await some(talk.streams(), 1))[0]
        text = "".join([piece async for piece in stream])
        assert "3.5%" in text
        question, answer = await some(talk, 2)
        assert (question.seq, answer.seq, answer.content) == (1, 2, text)
        assert (answer.sender_type, answer.sender_id) == ("agent", stream.sender_id)
        assert answer.metadata["intent"] == "INFO_REQ"


async def test_an_answer_is_stopped(serve: Serve) -> None:
    server = await serve(STREAM_DELAY_MS=200)
    async with client(server.url) as opened:
        talk = await opened.session("s")
        await talk.send("대출 금리가 얼마인가요?")
        stream = (await some(talk.streams(), 1))[0]
        await anext(stream)
        await talk.cancel_stream(stream.message_id)
        async for _ in stream:
            pass
        assert stream.end is not None
        assert stream.end["cancelled"] is True


async def test_what_was_missed_is_fetched(serve: Serve) -> None:
    """Of three messages the middle one does not arrive."""
    server = await serve(**PEOPLE)
    async with client(server.url) as opened:
        talk = await opened.session("s")
        hear = talk._message
        for stop in talk._stops:
            stop()
        talk._connection.on("message", lambda payload: None if payload["seq"] == 2 else hear(payload))
        for number in range(3):
            await talk.send(str(number))
        assert contents(await some(talk, 3)) == ["0", "1", "2"]


async def test_who_reads_late_misses_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_UNREAD", 3)
    server = await serve(**PEOPLE)
    async with client(server.url) as opened:
        talk = await opened.session("s")
        talk._sequence._most = 5
        for number in range(40):
            await talk.send(str(number))
        assert len(talk._feed) == 3
        assert len(talk._sequence) <= 5
        assert contents(await some(talk, 40)) == [str(number) for number in range(40)]


@pytest.mark.parametrize("recovery", [True, False])
async def test_drops_cost_nothing(serve: Serve, recovery: bool) -> None:
    server = await serve(**PEOPLE)
    options: dict[str, Any] = {"recovery": recovery, "transports": ("websocket",)}
    async with (
        client(server.url, **options) as opened,
        client(server.url, "op", roles=("operator",), **options) as other,
    ):
        talk, elsewhere = await opened.session("s"), await other.session("s")

        async def say(each: Any, name: str) -> None:
            for number in range(20):
                await each.send(f"{name}{number}")

        saying = asyncio.gather(say(talk, "a"), say(elsewhere, "b"))
        for _ in range(DROPS):
            await until_state(talk._connection, "connected")
            await abort(server)
            await until_state(talk._connection, "reconnecting")
        await saying
        heard, there = await some(talk, 40), await some(elsewhere, 40)
        assert [each.seq for each in heard] == list(range(1, 41))
        assert heard == there
        for name in "ab":
            assert [each for each in contents(heard) if each[0] == name] == [f"{name}{number}" for number in range(20)]


async def test_typing_reading_editing_and_those_who_come(serve: Serve) -> None:
    server = await serve(**PEOPLE)
    async with client(server.url) as opened, client(server.url, "op", roles=("operator",)) as other:
        talk = await opened.session("s")
        heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        for event in ("system", "typing", "read", "message_edited", "message_deleted"):
            talk.on(event, lambda payload, event=event: heard.put_nowait((event, payload)))
        elsewhere = await other.session("s")
        await elsewhere.typing()
        sent = await elsewhere.send("hi")
        await elsewhere.edit(sent.message_id, "hello")
        await elsewhere.delete(sent.message_id)
        assert (await talk.read())["unread_count"] == 0
        names = []
        async with asyncio.timeout(PATIENCE):
            while {*names} < {"system", "typing", "message_edited", "message_deleted", "read"}:
                names.append((await heard.get())[0])


async def test_a_file(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "보고서.txt"
    path.write_text("연간 보고서입니다. " * 20)
    server = await serve(**PEOPLE, FILE_STORAGE_PATH=str(tmp_path / "files"))
    async with client(server.url) as opened:
        talk = await opened.session("s")
        sent = await talk.upload(path, message="보세요")
        (message,) = await some(talk, 1)
        assert (message.message_id, message.message_type, message.content) == (sent["message_id"], "file", "보세요")
        assert sent["file_info"]["name"] == "보고서.txt"
        with pytest.raises(Refused, match="UNSUPPORTED_TYPE"):
            await talk.upload(b"\x7fELF" + b"\0" * 100, name="program")


async def test_a_session_of_others(serve: Serve) -> None:
    server = await serve(**PEOPLE)
    async with client(server.url) as opened, client(server.url, "mallory") as other:
        await opened.session("s")
        with pytest.raises(Refused, match="FORBIDDEN"):
            await other.session("s")
        assert not other._opened


async def test_closed_it_ends_and_others_go_on(serve: Serve) -> None:
    server = await serve(**PEOPLE)
    async with client(server.url) as opened:
        one, another = await opened.session("one"), await opened.session("another")
        await one.close()
        await one.close()
        assert [message async for message in one] == []
        await another.send("still here")
        assert contents(await some(another, 1)) == ["still here"]


async def test_given_up_it_raises_why(serve: Serve) -> None:
    server = await serve(**PEOPLE)
    async with client(server.url, policy="none", fallback=False) as opened:
        talk = await opened.session("s")
        reading = asyncio.create_task(some(talk, 1))
        await server.runner.cleanup()
        with pytest.raises(Lost, match="GOING_AWAY"):
            await reading


async def test_a_server_that_is_killed_and_started_again(tmp_path: Path, sqlite_url: str) -> None:
    async with Nodes(tmp_path, database_url=sqlite_url, redis_urls=[""]) as nodes, client(nodes.url(0)) as opened:
        talk = await opened.session("s")
        await talk.send("before")
        await nodes.kill(0)
        await until_state(talk._connection, "reconnecting")
        meanwhile = [asyncio.create_task(talk.send(f"meanwhile {number}")) for number in range(3)]
        await asyncio.sleep(0)  # each task has begun
        assert opened.unsent == 3
        await nodes.start(0)
        assert [(await each).seq for each in meanwhile] == [2, 3, 4]
        await talk.send("after")
        expected = ["before", "meanwhile 0", "meanwhile 1", "meanwhile 2", "after"]
        assert contents(await some(talk, 5)) == expected
        assert (opened.unsent, talk.state) == (0, "connected")


@pytest.mark.parametrize("exists", [True, False])
async def test_by_http_where_no_socket_is_to_be_had(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    monkeypatch.setattr(session, "POLL_SECONDS", 0.1)
    server = await serve(RATE_LIMIT_MESSAGES_PER_MINUTE=1_000_000)
    if exists:
        async with client(server.url) as opened:
            await opened.session("s")
    async with Filter(_port(server)) as network:
        network.refused = (b"/socket.io/",)
        async with client(network.url) as opened:
            talk = await opened.session("s")
            assert talk.state == "fallback"
            sent = await talk.send("대출 금리가 얼마인가요?")
            question, answer = await some(talk, 2)
            assert (question.message_id, question.seq) == (sent.message_id, 1)
            assert "3.5%" in answer.content
            assert (await talk.read())["unread_count"] == 0
            network.refused = ()
            talk._connection.retry()
            await until_state(talk._connection, "connected")
            assert talk.state == "connected"
            await talk.send("thank you", client_message_id="t1")
            assert contents(await some(talk, 1)) == ["thank you"]


async def test_neither_way_leads_anywhere() -> None:
    async with asyncio.timeout(20), Client("http://127.0.0.1:9", "x", policy="none") as opened:
        with pytest.raises(Exception, match="UNREACHABLE"):
            await opened.session("s")


def _port(server: Running) -> int:
    return int(server.url.rpartition(":")[2])


async def test_handlers_and_answers_that_make_no_sense_hang_nobody(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve(**PEOPLE)
    async with client(server.url) as opened:
        talk = await opened.session("s")

        def fail(_: Any) -> None:
            raise RuntimeError("mine")

        talk.on("message", fail)
        await talk.send("one")
        assert contents(await some(talk, 1)) == ["one"]
        assert "a handler of message failed" in caplog.text

        async def nonsense(event: str, payload: Any, **_: Any) -> Any:
            return {"session": {}, "messages": [{"no": "message"}]}

        monkeypatch.setattr(talk._connection, "call", nonsense)
        await abort(server)
        with pytest.raises(Lost, match="CLIENT_FAULT"):
            await some(talk, 1)
