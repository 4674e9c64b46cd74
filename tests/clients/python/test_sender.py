from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from clients.python import Client, NotConnected, Refused, TimedOut
from clients.python.outbox import FileOutbox, MemoryOutbox, Waiting
from tests.clients.python.opening import Filter, client, some
from tests.conftest import Serve
from tests.support.process import running
from tests.support.proxy import Proxy
from tests.support.running import token

PEOPLE = {"CHAT_DEFAULT_AGENT": ""}

PROGRAM = """
import asyncio, sys
from clients.python import Client

async def main(url, token, path):
    async with Client(url, token, outbox=path) as client:
        session = await client.session("s")
        print("joined", flush=True)
        sys.stdin.readline()
        sending = [asyncio.create_task(session.send(each, client_message_id=each)) for each in ("m0", "m1", "m2")]
        while client.unsent < 3:
            await asyncio.sleep(0.01)
        print("unsent", flush=True)
        await asyncio.gather(*sending)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_a_killed_process_left_is_sent_once_by_the_next(serve: Serve, tmp_path: Path) -> None:
    """It is killed while nothing gets through; so is a second one, which finds the file of the first."""
    server = await serve(**PEOPLE)
    path = tmp_path / "outbox.db"
    proxy = await Proxy.start("127.0.0.1", int(server.url.rpartition(":")[2]))
    url = f"http://127.0.0.1:{proxy.port}"
    async with running(sys.executable, "-c", PROGRAM, url, token(), str(path)) as process:
        await process.read_until("joined")
        proxy.black_hole(True)
        assert process.process.stdin is not None
        process.process.stdin.write(b"\n")
        await process.read_until("unsent")
        process.signal(9)
        await process.finish()
    proxy.black_hole(False)
    async with client(url, outbox=path) as opened:
        session = await opened.session("s")
        messages = [*session.history, *await some(session, 3 - len(session.history))]
        assert [message.content for message in messages] == ["m0", "m1", "m2"]
        assert (await session.send("m3")).seq == 4
        assert opened.unsent == 0
    async with client(url, outbox=path) as opened:
        assert [message.content for message in (await opened.session("s")).history] == ["m0", "m1", "m2", "m3"]
    await proxy.close()


async def test_what_was_stored_and_not_acked_is_not_said_twice(serve: Serve, tmp_path: Path) -> None:
    server = await serve(**PEOPLE)
    path = tmp_path / "outbox.db"
    async with client(server.url) as opened:
        await (await opened.session("s")).send("once", client_message_id="m1")
    left = FileOutbox(path, server.url)
    await left.add(Waiting("alice", "s", "m1", {"content": "once"}))
    await left.add(Waiting("bob", "s", "m2", {"content": "of somebody else"}))
    async with client(server.url, outbox=path) as opened:
        session = await opened.session("s")
        assert (await session.send("again")).seq == 2
        assert [message.content for message in (*session.history, *await some(session, 1))] == ["once", "again"]
    assert [each.client_message_id for each in await left.pending()] == ["m2"]
    await left.close()


async def test_the_same_again_is_the_same(serve: Serve) -> None:
    server = await serve(**PEOPLE)
    async with client(server.url) as opened:
        session = await opened.session("s")
        twice = await asyncio.gather(*(session.send("one", client_message_id="m1") for _ in range(2)))
        assert twice == [await session.send("one", client_message_id="m1")] * 2


async def test_what_is_refused_for_good_does_not_hold_up_the_others(serve: Serve) -> None:
    server = await serve(**PEOPLE)
    async with client(server.url) as opened:
        session = await opened.session("s")
        outcomes = await asyncio.gather(session.send(""), session.send("good"), return_exceptions=True)
        assert isinstance(outcomes[0], Refused)
        assert outcomes[0].code == "INVALID_MESSAGE"
        assert outcomes[1].seq == 1  # type: ignore[union-attr]


async def test_too_fast_is_sent_again(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = await serve(**PEOPLE, RATE_LIMIT_EVENTS_PER_SECOND=4)
    async with client(server.url) as opened:
        session = await opened.session("s")
        sent = await asyncio.gather(*(session.send(str(number)) for number in range(8)))
        assert [each.seq for each in sent] == list(range(1, 9))


async def test_not_in_time_it_stays_and_is_sent_on(serve: Serve) -> None:
    server = await serve(**PEOPLE)
    proxy = await Proxy.start("127.0.0.1", int(server.url.rpartition(":")[2]))
    async with client(f"http://127.0.0.1:{proxy.port}") as opened:
        session = await opened.session("s")
        proxy.black_hole(True)
        with pytest.raises(TimedOut, match="stays in the outbox"):
            await session.send("late", timeout=0.1)
        cancelled = asyncio.create_task(session.send("cancelled"))
        await asyncio.sleep(0)  # it has begun
        cancelled.cancel()
        proxy.black_hole(False)
        assert [message.content for message in await some(session, 2)] == ["late", "cancelled"]
    await proxy.close()


async def test_it_has_a_bound(serve: Serve) -> None:
    server = await serve(**PEOPLE)
    proxy = await Proxy.start("127.0.0.1", int(server.url.rpartition(":")[2]))
    async with asyncio.timeout(30), Client(f"http://127.0.0.1:{proxy.port}", token()) as opened:
        session = await opened.session("s")
        assert opened._chat is not None
        opened._chat[1]._outbox._most = 2  # type: ignore[attr-defined]
        proxy.black_hole(True)
        waiting = [asyncio.create_task(session.send(str(number))) for number in range(3)]
        done, _ = await asyncio.wait(waiting, timeout=0.2)
        assert [getattr(each.exception(), "code", None) for each in done] == ["LIMIT_EXCEEDED"]
        proxy.black_hole(False)
        assert [(await each).seq for each in waiting[:2]] == [1, 2]
    await proxy.close()


async def test_a_file_that_cannot_be_written_is_told_to_who_waits(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve(**PEOPLE)

    async def locked(self: MemoryOutbox, client_message_id: str) -> None:
        raise sqlite3.OperationalError("database is locked")

    async with client(server.url) as opened:
        session = await opened.session("s")
        with monkeypatch.context() as broken:
            broken.setattr(MemoryOutbox, "remove", locked)
            both = await asyncio.gather(session.send("one"), session.send("two"), return_exceptions=True)
        assert [getattr(each, "code", None) for each in both] == ["CLIENT_FAULT"] * 2
        assert "database is locked" in caplog.text
        assert (await session.send("three")).seq == 2


async def test_a_session_whose_name_is_no_path_goes_on_by_http(serve: Serve) -> None:
    server = await serve(**PEOPLE)
    async with client(server.url) as opened:
        session = await opened.session("a/b?c#d 1")
        await session.send("one")
        assert [message.content for message in await session.older(before_seq=2)] == ["one"]


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


async def said(url: str, *contents: str, user: str = "alice", session: str = "s") -> None:
    async with client(url, user, roles=("operator",) if user == "op" else ()) as opened:
        talk = await opened.session(session)
        for content in contents:
            await talk.send(content)


async def history(url: str, session: str = "s") -> list[tuple[str, str]]:
    async with client(url) as opened:
        found = (await opened.session(session)).history
        return [(each.sender_id, each.content) for each in found if each.sender_type == "user"]


@pytest.mark.parametrize(("user", "written_in"), [("op", 0.0), ("alice", 10.0)])
async def test_another_users_words_and_older_ones_are_not_this_message(
    serve: Serve, tmp_path: Path, user: str, written_in: float
) -> None:
    """It may have been sent the way that knows no ids, and was not."""
    server = await serve(**PEOPLE)
    await said(server.url, "hello")
    left = FileOutbox(tmp_path / "outbox.db", server.url)
    await left.add(Waiting("alice", "s", "m1", {"content": "ok"}, time.time() + written_in, unkeyed=True))
    await said(server.url, "ok", user=user)
    async with client(server.url, outbox=left._path) as opened:
        await some(await opened.session("s"), 1)
    assert await history(server.url) == [("alice", "hello"), (user, "ok"), ("alice", "ok")]
    await left.close()


async def test_what_the_way_without_ids_stored_is_not_said_again(serve: Serve, tmp_path: Path) -> None:
    server = await serve(**PEOPLE)
    left = FileOutbox(tmp_path / "outbox.db", server.url)
    await left.add(Waiting("alice", "s", "m1", {"content": "ok"}, unkeyed=True))
    await said(server.url, "ok")
    async with client(server.url, outbox=left._path) as opened:
        session = await opened.session("s")
        assert (await session.send("next")).seq == 2
    assert await history(server.url) == [("alice", "ok"), ("alice", "next")]
    assert await left.pending() == []
    await left.close()


async def test_an_answer_that_is_lost_on_the_way_without_ids_costs_no_second_message(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only HTTP works, the session is new, and the server is cut off once it has stored the message."""
    server = await serve()
    async with Filter(_port(server.url)) as network:
        network.refused = (b"/socket.io/",)
        async with client(network.url, outbox=tmp_path / "outbox.db") as opened:
            session = await opened.session("s")
            request = opened.api.request

            async def cut(method: str, path: str, **options: Any) -> Any:
                answer = await request(method, path, **options)
                if path == "/api/v1/chat/message":
                    monkeypatch.undo()
                    raise NotConnected("UNREACHABLE", "cut off")
                return answer

            monkeypatch.setattr(opened.api, "request", cut)
            assert (await session.send("대출 금리가 얼마인가요?")).seq == 1
    assert await history(server.url) == [("alice", "대출 금리가 얼마인가요?")]


async def test_what_was_written_before_the_first_connect_is_its_users(serve: Serve, tmp_path: Path) -> None:
    server = await serve(**PEOPLE)
    path = tmp_path / "outbox.db"
    await said(server.url, "hello", session="alices")
    async with Filter(_port(server.url)) as network:
        network.refused = (b"/socket.io/",)
        async with client(network.url, outbox=path) as opened:
            session = await opened.session("alices")
            assert opened._connections["/chat"].user_id is None
            network.refused = (b"/socket.io/", b"POST ")
            for content in ("mine", "mine too"):
                with pytest.raises(TimedOut):
                    await session.send(content, timeout=0.1)
        left = FileOutbox(path, network.url)
        assert [(each.user_id, each.payload["content"]) for each in await left.pending()] == [
            ("alice", "mine"),
            ("alice", "mine too"),
        ]
        network.refused = ()
        async with client(network.url, "bob", outbox=path) as opened:
            await opened.session("bobs")
            assert opened.unsent == 0
        async with client(network.url, outbox=path) as opened:
            session = await opened.session("alices")
            heard = [*session.history[1:]]
            heard += await some(session, 2 - len(heard))
            assert [each.content for each in heard] == ["mine", "mine too"]
        await left.close()


async def test_what_nobody_is_known_to_have_written_stays(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve(**PEOPLE)
    left = FileOutbox(tmp_path / "outbox.db", server.url)
    await left.add(Waiting("", "s", "m1", {"content": "whose?"}))
    async with client(server.url, outbox=left._path) as opened:
        await opened.session("s")
        assert opened.unsent == 0
    assert "1 messages stay unsent" in caplog.text
    assert [each.client_message_id for each in await left.pending()] == ["m1"]
    await left.close()
