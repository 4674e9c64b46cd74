"""/chat through real sockets: what clients send, what they are answered, and who hears of it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert, text

from server.errors import ConfigError
from server.namespaces.chat import typists
from server.namespaces.chat.models import ChatMessage, ChatParticipant
from server.storage.database import Database
from tests.conftest import Connect, Serve
from tests.support import running
from tests.support.client import Client
from tests.support.running import Running

QUESTION = "대출 금리가 얼마인가요?"
PEOPLE = {"CHAT_DEFAULT_AGENT": ""}  # sessions without an agent, where a test is about people
FORBIDDEN = {"code": "FORBIDDEN", "message": "You may not use this session"}


@pytest_asyncio.fixture
async def server(serve: Serve, database_url: str) -> Running:
    return await serve(DATABASE_URL=database_url, **PEOPLE)


@pytest_asyncio.fixture
async def database(database_url: str) -> Any:
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=database_url).database_url)
    yield database
    await database.close()


async def say(client: Client, content: str, session_id: str = "s1", **more: object) -> Any:
    return await client.call("message", {"session_id": session_id, "content": content, **more})


async def join(client: Client, session_id: str = "s1", **more: object) -> Any:
    return await client.call("join", {"session_id": session_id, **more})


async def invite(database: Database, user_id: str, session_id: str = "s1") -> None:
    async with database.transaction() as db:
        await db.execute(insert(ChatParticipant).values(session_id=session_id, user_id=user_id))


def agents(tmp_path: Path, backend: str) -> dict[str, str]:
    """Settings for a server whose one agent has that backend."""
    shutil.copytree("config", tmp_path / "config")
    (tmp_path / "config" / "agents.toml").write_text(f'[[agents]]\nid = 1\nname = "Test"\nbackend = "{backend}"\n')
    return {"CONFIG_DIR": str(tmp_path / "config")}


# -- join -----------------------------------------------------------------------------------------------------------


async def test_a_session_joined_that_does_not_exist_is_made_for_that_user(serve: Serve, connect: Connect) -> None:
    alice = await connect(await serve(), "/chat", "alice")
    ack = await join(alice)
    session = ack.pop("session")
    assert ack == {
        "ok": True,
        "participants": ["alice"],
        "online": ["alice"],
        "messages": [],
        "last_seq": 0,
        "has_more": False,
    }
    assert session.pop("trace_id").startswith("trace_")
    assert session.pop("created_at") == session.pop("last_activity")
    assert session == {
        "session_id": "s1",
        "user_id": "alice",
        "agent_id": 1,
        "agent": {"id": 1, "name": "Support Bot", "avatar_url": "/avatars/support-bot.png"},
        "title": None,
        "status": "active",
        "metadata": {},
        "participants": ["alice"],
        "message_count": 0,
        "last_seq": 0,
        "unread_count": 0,
        "operator_id": None,
        "handover": None,
    }


async def test_without_a_default_agent_there_is_none(server: Running, connect: Connect) -> None:
    session = (await join(await connect(server, "/chat", "alice")))["session"]
    assert (session["agent_id"], session["agent"]) == (None, None)


@pytest.mark.parametrize("payload", [{"session_id": "s1"}, {"session_id": "unknown"}])
@pytest.mark.parametrize("event", ["join", "message", "typing"])
async def test_a_stranger_learns_nothing(serve: Serve, connect: Connect, event: str, payload: dict[str, Any]) -> None:
    server = await serve(CHAT_AUTO_CREATE_SESSIONS="false", **PEOPLE)
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=server_url(server)).database_url)
    async with database.transaction() as db:
        await db.execute(text("INSERT INTO chat_sessions (session_id, user_id) VALUES ('s1', 'alice')"))
        await db.execute(text("INSERT INTO chat_participants (session_id, user_id) VALUES ('s1', 'alice')"))
    await database.close()
    assert (await join(await connect(server, "/chat", "alice")))["ok"]
    mallory = await connect(server, "/chat", "mallory")
    fields = {"message": {"content": "hi"}, "typing": {"is_typing": True}}.get(event, {})
    assert await mallory.call(event, {**payload, **fields}) == {"ok": False, "error": FORBIDDEN}


def server_url(server: Running) -> str:
    return str(server.realtime._served["/chat"].service._database.engine.url)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("user", "options", "allowed"),
    [
        ("alice", {"tenant": "acme"}, True),
        ("bob", {"tenant": "acme"}, True),  # invited
        ("carol", {"tenant": "acme"}, False),
        ("olga", {"tenant": "acme", "roles": ("operator",)}, True),
        ("adam", {"tenant": "acme", "roles": ("admin",)}, True),
        ("pete", {"tenant": "acme", "roles": ("publisher",)}, False),
        ("alice", {"tenant": "other"}, False),
        ("alice", {}, False),
        ("adam", {"tenant": "other", "roles": ("admin", "operator")}, False),
        ("adam", {"roles": ("admin",)}, False),
    ],
)
async def test_who_may_use_a_session(
    server: Running, connect: Connect, database: Database, user: str, options: dict[str, Any], allowed: bool
) -> None:
    alice = await connect(server, "/chat", "alice", tenant="acme")
    await join(alice)
    await invite(database, "bob")
    await say(alice, "secret")
    other = await connect(server, "/chat", user, **options)
    joined = await join(other)
    said = await say(other, "hello")
    typed = await other.call("typing", {"session_id": "s1", "is_typing": True})
    assert [joined["ok"], said["ok"], typed["ok"]] == [allowed] * 3
    if allowed:
        assert joined["participants"] == ["alice", "bob"]
        assert joined["messages"][0]["content"] == "secret"
    else:
        assert joined["error"] == said["error"] == typed["error"] == FORBIDDEN
    await alice.settle()
    assert len(alice.payloads("message")) == 1 + allowed
    await say(alice, "more")
    await other.settle()
    assert len(other.payloads("message")) == (2 if allowed else 0)


async def test_join_gives_what_came_after(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    for number in range(1, 6):
        await say(alice, f"message {number}")
    for after, expected in (
        (0, [1, 2, 3, 4, 5]),
        (3, [4, 5]),
        (5, []),
        (6, []),
        (2**53 - 1, []),
        (None, [1, 2, 3, 4, 5]),
    ):
        ack = await join(alice, after_seq=after)
        assert [message["seq"] for message in ack["messages"]] == expected
        assert (ack["last_seq"], ack["has_more"]) == (5, False)


@pytest.mark.parametrize("after_seq", [-1, "3", 1.5, True, [], {}, 2**53, 1e300])
async def test_a_nonsense_after_seq_is_refused(serve: Serve, connect: Connect, after_seq: object) -> None:
    alice = await connect(await serve(), "/chat", "alice")
    error = (await join(alice, after_seq=after_seq))["error"]
    assert (error["code"], list(error["details"])) == ("INVALID_MESSAGE", ["after_seq"])


async def test_history_comes_in_pages(server: Running, connect: Connect, database: Database) -> None:
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    async with database.transaction() as db:
        for seq in range(1, 251):
            await db.execute(
                insert(ChatMessage).values(
                    session_id="s1",
                    seq=seq,
                    message_id=f"m{seq}",
                    sender_type="user",
                    sender_id="alice",
                    message_type="text",
                )
            )
        await db.execute(text("UPDATE chat_sessions SET last_seq = 250"))

    async def page(**after: int) -> tuple[int, int, bool, int]:
        ack = await join(alice, **after)
        seqs = [message["seq"] for message in ack["messages"]]
        assert seqs == list(range(seqs[0], seqs[-1] + 1))
        return seqs[0], seqs[-1], ack["has_more"], ack["last_seq"]

    assert await page() == (51, 250, True, 250)
    assert await page(after_seq=0) == (1, 200, True, 250)
    assert await page(after_seq=50) == (51, 250, False, 250)
    assert await page(after_seq=200) == (201, 250, False, 250)


async def test_two_make_one_session_at_once(server: Running, connect: Connect) -> None:
    users = [await connect(server, "/chat", name) for name in ("alice", "bob", "carol")]
    acks = await asyncio.gather(*(join(user) for user in users))
    assert sorted(ack["ok"] for ack in acks) == [False, False, True]
    owner = next(ack["session"]["user_id"] for ack in acks if ack["ok"])
    assert all(ack["error"] == FORBIDDEN for ack in acks if not ack["ok"])
    again = await connect(server, "/chat", owner)
    assert (await join(again))["ok"]


async def test_one_users_two_connections_make_one_session_at_once(server: Running, connect: Connect) -> None:
    connections = [await connect(server, "/chat", "alice") for _ in range(3)]
    acks = await asyncio.gather(*(join(each) for each in connections))
    assert [ack["ok"] for ack in acks] == [True] * 3
    assert acks[0]["session"]["trace_id"] == acks[1]["session"]["trace_id"] == acks[2]["session"]["trace_id"]
    assert acks[0]["participants"] == ["alice"]


async def test_too_many_sessions_at_once(serve: Serve, connect: Connect) -> None:
    server = await serve(WS_MAX_ROOMS="4", **PEOPLE)
    alice = await connect(server, "/chat", "alice")
    assert [(await join(alice, f"s{number}"))["ok"] for number in range(3)] == [True, True, False]
    assert (await alice.call("typing", {"session_id": "s2", "is_typing": True}))["error"] == FORBIDDEN
    await alice.call("leave", {"session_id": "s0"})
    assert (await join(alice, "s2"))["ok"]


# -- presence -------------------------------------------------------------------------------------------------------


async def test_coming_and_going_is_told_once_a_user(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    phone, laptop = [await connect(server, "/chat", "olga", roles=("operator",)) for _ in range(2)]
    assert (await join(phone))["online"] == ["alice", "olga"]
    await join(laptop)
    await join(laptop)
    told = await alice.expect("system")
    assert told.pop("timestamp").endswith("Z")
    version = told.pop("version")
    assert told == {"event": "user_joined", "session_id": "s1", "user_id": "olga"}
    await phone.call("leave", {"session_id": "s1"})
    await alice.settle()
    assert len(alice.payloads("system")) == 1
    await laptop.call("leave", {"session_id": "s1"})
    gone = await alice.expect("system", lambda payload: payload["event"] == "user_left")
    assert gone["user_id"] == "olga"
    assert gone["version"] > version
    assert (await join(alice))["online"] == ["alice"]
    await phone.settle()
    assert phone.payloads("system") == laptop.payloads("system") == []


async def test_a_lost_connection_leaves_its_sessions(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    olga = await connect(server, "/chat", "olga", roles=("operator",))
    await join(olga)
    await olga.close()
    gone = await alice.expect("system", lambda payload: payload["event"] == "user_left")
    assert gone["user_id"] == "olga"


async def test_who_was_lost_and_is_back_in_time_was_never_away(serve: Serve, connect: Connect) -> None:
    server = await serve(WS_LEAVE_DELAY="0.5", **PEOPLE)
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    for user in ("olga", "oscar"):
        lost = await connect(server, "/chat", user, roles=("operator",))
        await join(lost)
        member = server.realtime.manager.member(lost.sio.get_sid("/chat"), "/chat")
        member.link.session.end(server.realtime.reason.TRANSPORT_CLOSE)
        await lost.expect("disconnect")
    await join(await connect(server, "/chat", "olga", roles=("operator",)))
    gone = await alice.expect("system", lambda payload: payload["event"] == "user_left")
    assert gone["user_id"] == "oscar"
    assert (await join(alice))["online"] == ["alice", "olga"]
    assert [each["event"] for each in alice.payloads("system")] == ["user_joined", "user_joined", "user_left"]


async def test_leaving_what_one_is_not_in_tells_nothing(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    mallory = await connect(server, "/chat", "mallory")
    assert await mallory.call("leave", {"session_id": "s1"}) == {"ok": True}
    assert await mallory.call("leave", {"session_id": "no such session"}) == {"ok": True}
    await alice.settle()
    assert alice.payloads("system") == []


async def test_who_left_hears_no_more(server: Running, connect: Connect) -> None:
    alice, tab = await connect(server, "/chat", "alice"), await connect(server, "/chat", "alice")
    await join(alice)
    await join(tab)
    await tab.call("leave", {"session_id": "s1"})
    await say(alice, "hi")
    await tab.settle()
    assert tab.payloads("message") == []


# -- messages -------------------------------------------------------------------------------------------------------


async def test_a_message_reaches_everyone_in_the_session_once_it_is_stored(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    olga = await connect(server, "/chat", "olga", roles=("operator",))
    await join(olga)
    ack = await say(alice, "안녕하세요", metadata={"device": "desktop", "nested": [1, {"a": None}]})
    heard = await olga.expect("message")
    assert heard == await alice.expect("message")
    assert heard == {
        "message_id": ack["message_id"],
        "session_id": "s1",
        "seq": 1,
        "sender_type": "user",
        "sender_id": "alice",
        "message_type": "text",
        "content": "안녕하세요",
        "metadata": {"device": "desktop", "nested": [1, {"a": None}]},
        "created_at": ack["created_at"],
    }
    assert ack == {
        "ok": True,
        "remaining": 59,
        "message_id": heard["message_id"],
        "seq": 1,
        "created_at": heard["created_at"],
        "status": "sent",
    }
    assert (await join(alice))["messages"] == [heard]


async def test_one_may_speak_without_having_joined(server: Running, connect: Connect) -> None:
    alice, tab = await connect(server, "/chat", "alice"), await connect(server, "/chat", "alice")
    await join(alice)
    assert (await say(tab, "from the other tab"))["seq"] == 1
    assert (await alice.expect("message"))["content"] == "from the other tab"
    await tab.settle()
    assert tab.payloads("message") == []


async def test_a_message_makes_no_session(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    assert (await say(alice, "hi", "unknown"))["error"] == FORBIDDEN


@pytest.mark.parametrize(
    "content",
    ["🙂👩‍👩‍👧‍👦", "שלום עולם \u202e", "مرحبا", "x" * 32_768, "가" * 10_000, " ", "a\nb\tc", "<b>&amp;</b>", "e\u0301"],
)
async def test_any_text_comes_back_as_it_was(server: Running, connect: Connect, content: str) -> None:
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    assert (await say(alice, content))["ok"]
    assert (await alice.expect("message"))["content"] == content
    assert (await join(alice))["messages"][0]["content"] == content


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("content", ""),
        ("content", "a\0b"),
        ("content", None),
        ("content", 5),
        ("content", ["hi"]),
        ("content", b"hi"),
        ("session_id", ""),
        ("session_id", "s" * 101),
        ("session_id", "a\0b"),
        ("session_id", 7),
        ("client_message_id", ""),
        ("client_message_id", "c" * 101),
        ("message_type", "file"),
        ("message_type", "system"),
        ("message_type", "video"),
        ("metadata", []),
        ("metadata", "text"),
        ("metadata", {"a": "\0"}),
        ("metadata", {"\0": 1}),
        ("metadata", {"a": [{"b": ["\0"]}]}),
        ("metadata", {"a": "x" * 9000}),
        ("sender_id", "bob"),
        ("seq", 7),
    ],
)
async def test_a_bad_message_is_refused_and_stores_nothing(
    serve: Serve, connect: Connect, field: str, value: object
) -> None:
    server = await serve(**PEOPLE)
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    ack = await alice.call("message", {"session_id": "s1", "content": "hi", field: value})
    assert ack["error"]["code"] == "INVALID_MESSAGE"
    assert (await join(alice))["last_seq"] == 0


async def test_sending_again_is_sending_once(server: Running, connect: Connect) -> None:
    alice, tab = await connect(server, "/chat", "alice"), await connect(server, "/chat", "alice")
    await join(alice)
    first = await say(alice, "hi", client_message_id="c1")
    again = await say(tab, "something else", client_message_id="c1")
    assert {key: again[key] for key in ("message_id", "seq", "created_at", "status")} == {
        key: first[key] for key in ("message_id", "seq", "created_at", "status")
    }
    await alice.settle()
    assert [message["content"] for message in alice.payloads("message")] == ["hi"]
    assert (await join(alice))["last_seq"] == 1


async def test_sending_twice_at_once_is_sending_once(server: Running, connect: Connect) -> None:
    tabs = [await connect(server, "/chat", "alice") for _ in range(6)]
    await join(tabs[0])
    acks = await asyncio.gather(*(say(tab, "hi", client_message_id="c1") for tab in tabs))
    assert len({ack["message_id"] for ack in acks}) == 1
    assert {ack["seq"] for ack in acks} == {1}
    await tabs[0].settle()
    assert len(tabs[0].payloads("message")) == 1


async def test_the_same_client_message_id_of_others_and_elsewhere_is_another_message(
    server: Running, connect: Connect
) -> None:
    alice = await connect(server, "/chat", "alice")
    olga = await connect(server, "/chat", "olga", roles=("operator",))
    await join(alice)
    await join(alice, "s2")
    acks = [
        await say(alice, "hi", client_message_id="c1"),
        await say(olga, "hi", client_message_id="c1"),
        await say(alice, "hi", "s2", client_message_id="c1"),
    ]
    assert len({ack["message_id"] for ack in acks}) == 3


async def test_fifty_writers_leave_no_gap_and_all_hear_one_order(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    writers = await asyncio.gather(*(connect(server, "/chat", f"o{n}", roles=("operator",)) for n in range(50)))
    for writer in writers[:3]:
        await join(writer)

    async def write(number: int, writer: Client) -> list[int]:
        return [(await say(writer, f"{number}.{turn}"))["seq"] for turn in range(4)]

    seqs = await asyncio.gather(*(write(number, writer) for number, writer in enumerate(writers)))
    assert sorted(seq for each in seqs for seq in each) == list(range(1, 201))
    assert all(each == sorted(each) for each in seqs)
    for listener in (alice, *writers[:3]):
        await listener.settle()
        assert [message["seq"] for message in listener.payloads("message")] == list(range(1, 201))
    assert [message["seq"] for message in (await join(alice))["messages"]] == list(range(1, 201))


async def test_history_and_what_is_heard_leave_nothing_out(server: Running, connect: Connect) -> None:
    """Those who join while others write: the messages of the ack and the events after it are the whole session."""
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    readers = [await connect(server, "/chat", f"o{n}", roles=("operator",)) for n in range(5)]

    async def write() -> None:
        for number in range(40):
            await say(alice, str(number))

    async def read(reader: Client, turn: int) -> Any:
        for _ in range(3 * turn):  # not all at the same moment
            await reader.settle()
        return await join(reader, after_seq=0)

    _, *acks = await asyncio.gather(write(), *(read(reader, turn) for turn, reader in enumerate(readers)))
    for reader, ack in zip(readers, acks, strict=True):
        await reader.settle()
        told = [message["seq"] for message in ack["messages"]]
        heard = [message["seq"] for message in reader.payloads("message")]
        assert told + heard == list(range(1, 41))


async def test_too_many_messages(serve: Serve, connect: Connect) -> None:
    server = await serve(RATE_LIMIT_MESSAGES_PER_MINUTE="3", **PEOPLE)
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    assert [(await say(alice, "hi"))["remaining"] for _ in range(3)] == [2, 1, 0]
    error = (await say(alice, "hi"))["error"]
    assert (error["code"], error["limit"], error["remaining"]) == ("RATE_LIMITED", 3, 0)
    assert (await join(alice))["last_seq"] == 3


async def test_without_an_ack_a_failure_is_an_error_event(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    await alice.emit("message", {"session_id": "unknown", "content": "hi"})
    assert await alice.expect("error") == FORBIDDEN


async def test_a_lost_database_is_an_internal_error_and_the_connection_stays(
    serve: Serve, connect: Connect, sqlite_url: str
) -> None:
    server = await serve(**PEOPLE)
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=sqlite_url).database_url)
    async with database.transaction() as db:
        await db.execute(text("DROP TABLE chat_messages"))
    await database.close()
    error = (await say(alice, "hi"))["error"]
    assert (error["code"], len(error["error_id"])) == ("INTERNAL", 16)
    await alice.settle()
    assert alice.payloads("message") == []


# -- typing ---------------------------------------------------------------------------------------------------------


async def test_typing_is_told_to_the_others(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    olga = await connect(server, "/chat", "olga", roles=("operator",))
    await join(alice)
    await join(olga)
    for is_typing in (True, False):
        assert await alice.call("typing", {"session_id": "s1", "is_typing": is_typing}) == {"ok": True}
        assert await olga.expect("typing") == {"session_id": "s1", "user_id": "alice", "is_typing": is_typing}
    await alice.settle()
    assert alice.payloads("typing") == []


async def test_typing_needs_a_join(server: Running, connect: Connect) -> None:
    alice, tab = await connect(server, "/chat", "alice"), await connect(server, "/chat", "alice")
    await join(alice)
    assert (await tab.call("typing", {"session_id": "s1", "is_typing": True}))["error"] == FORBIDDEN
    for nonsense in ("true", 1, None):
        error = (await alice.call("typing", {"session_id": "s1", "is_typing": nonsense}))["error"]
        assert error["code"] == "INVALID_MESSAGE"


async def test_typing_ends_after_a_silence(server: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typists, "SILENCE_SECONDS", 0.05)
    alice = await connect(server, "/chat", "alice")
    olga = await connect(server, "/chat", "olga", roles=("operator",))
    await join(alice)
    await join(olga)
    await alice.call("typing", {"session_id": "s1", "is_typing": True})
    assert (await olga.expect("typing"))["is_typing"]
    assert not (await olga.expect("typing"))["is_typing"]


@pytest.mark.parametrize("way", ["leave", "disconnect"])
async def test_typing_ends_with_the_typist(
    server: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(typists, "SILENCE_SECONDS", 3600)
    alice = await connect(server, "/chat", "alice")
    olga = await connect(server, "/chat", "olga", roles=("operator",))
    await join(alice)
    await join(olga)
    await alice.call("typing", {"session_id": "s1", "is_typing": True})
    await (alice.call("leave", {"session_id": "s1"}) if way == "leave" else alice.close())
    assert [(await olga.expect("typing"))["is_typing"] for _ in range(2)] == [True, False]
    await olga.expect("system", lambda payload: payload["event"] == "user_left")


async def test_the_server_stops_while_somebody_types(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    await alice.call("typing", {"session_id": "s1", "is_typing": True})
    await server.runner.cleanup()


# -- the agent ------------------------------------------------------------------------------------------------------


async def test_the_agent_streams_its_answer_and_it_is_stored_once(
    serve: Serve, connect: Connect, database_url: str
) -> None:
    server = await serve(DATABASE_URL=database_url)
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    await say(alice, QUESTION)
    end = await alice.expect("stream_end")
    start = await alice.expect("stream_start")
    chunks = alice.payloads("stream_chunk")
    of_stream = {"message_id": end["message_id"], "session_id": "s1"}
    assert start == {**of_stream, "sender_type": "agent", "sender_id": "1"}
    assert [chunk["index"] for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk == {**of_stream, "content": chunk["content"], "index": chunk["index"]} for chunk in chunks)
    assert {len(chunk["content"]) for chunk in chunks[:-1]} == {10}
    answer = "".join(chunk["content"] for chunk in chunks)
    assert "연 3.5%~5.0%" in answer
    created_at, latency = end.pop("created_at"), end.pop("latency_ms")
    assert end == {
        **of_stream,
        "content": answer,
        "seq": 2,
        "tokens_used": len(answer.split()),
        "intent": "INFO_REQ",
        "suggested_action": "CONTINUE",
        "source_documents": end["source_documents"],
    }
    assert end["source_documents"][0]["document"] == "loans.md"
    await alice.settle()
    assert [message["sender_type"] for message in alice.payloads("message")] == ["user"]
    stored = (await join(alice))["messages"][1]
    assert stored == {
        **of_stream,
        "seq": 2,
        "sender_type": "agent",
        "sender_id": "1",
        "message_type": "text",
        "content": answer,
        "metadata": {
            "intent": "INFO_REQ",
            "suggested_action": "CONTINUE",
            "source_documents": end["source_documents"],
            "tokens_used": end["tokens_used"],
            "latency_ms": latency,
        },
        "created_at": created_at,
    }
    names = [name for name, _ in alice.received]
    assert (
        names.index("message") < names.index("stream_start") < names.index("stream_chunk") < names.index("stream_end")
    )


async def test_what_the_agent_does_not_know_it_hands_over(serve: Serve, connect: Connect) -> None:
    alice = await connect(await serve(), "/chat", "alice")
    await join(alice)
    await say(alice, "오늘 날씨 어때?")
    end = await alice.expect("stream_end")
    assert (end["suggested_action"], end["source_documents"]) == ("HANDOVER", [])
    assert "알지 못합니다" in (await join(alice))["messages"][1]["content"]


async def test_chunks_are_as_long_as_the_setting_says(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    server = await serve(STREAM_CHUNK_SIZE="3", **agents(tmp_path, "tests.support.agents.Echo"))
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    await say(alice, "ab|cdef|🙂🙂🙂|h")
    await alice.expect("stream_end")
    assert [chunk["content"] for chunk in alice.payloads("stream_chunk")] == ["abc", "def", "🙂🙂🙂", "h"]


async def test_answers_come_one_at_a_time_in_the_order_of_the_questions(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    server = await serve(STREAM_CHUNK_SIZE="1", **agents(tmp_path, "tests.support.agents.Echo"))
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    await asyncio.gather(*(say(alice, f"question {number}") for number in range(8)))
    ends = [await alice.expect("stream_end") for _ in range(8)]
    streams = [(name, payload["message_id"]) for name, payload in alice.received if name.startswith("stream_")]
    ids = list(dict.fromkeys(message_id for _, message_id in streams))
    assert [message_id for _, message_id in streams] == sorted((each for _, each in streams), key=ids.index)
    assert [end["message_id"] for end in ends] == ids
    history = {message["message_id"]: message["content"] for message in (await join(alice))["messages"]}
    assert [history[message_id] for message_id in ids] == [f"question {number}" for number in range(8)]
    assert [end["seq"] for end in ends] == sorted(end["seq"] for end in ends)


async def test_a_repeated_message_is_answered_once(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    server = await serve(**agents(tmp_path, "tests.support.agents.Echo"))
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    await say(alice, "once", client_message_id="c1")
    await say(alice, "once", client_message_id="c1")
    await say(alice, "last")
    for expected in (3, 4):
        seq = (await alice.expect("stream_end"))["seq"]
        assert seq in (2, expected)
    await alice.settle()
    assert len(alice.payloads("stream_start")) == 2


async def test_staff_are_not_answered_but_an_owner_with_a_role_is(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    server = await serve(**agents(tmp_path, "tests.support.agents.Echo"))
    alice = await connect(server, "/chat", "alice")
    olga = await connect(server, "/chat", "olga", roles=("admin",))
    await join(alice)
    await join(olga)
    await say(olga, "let me help")
    await say(alice, "thank you")
    end = await alice.expect("stream_end")
    assert end["seq"] == 3
    await alice.settle()
    assert len(alice.payloads("stream_start")) == 1
    await join(olga, "olgas own")
    await say(olga, "and me?", "olgas own")
    assert (await olga.expect("stream_end", lambda payload: payload["session_id"] == "olgas own"))["seq"] == 2


@pytest.mark.parametrize("backend", ["Dying", "Mute"])
async def test_a_dead_agent_ends_its_stream_with_an_error(
    serve: Serve, connect: Connect, tmp_path: Path, backend: str
) -> None:
    server = await serve(**agents(tmp_path, f"tests.support.agents.{backend}"))
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    for turn in (1, 2):  # it is asked again
        await say(alice, "hello?")
        end = await alice.expect("stream_end")
        assert end["error"]["code"] == "INTERNAL"
        assert "seq" not in end
        assert (await join(alice))["last_seq"] == turn


async def test_people_only(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    await say(alice, QUESTION)
    await alice.settle()
    assert alice.payloads("stream_start") == []


async def test_the_agent_finishes_for_the_others_when_the_asker_is_gone(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    server = await serve(STREAM_CHUNK_SIZE="1", STREAM_DELAY_MS="1", **agents(tmp_path, "tests.support.agents.Echo"))
    alice = await connect(server, "/chat", "alice")
    olga = await connect(server, "/chat", "olga", roles=("admin",))
    await join(alice)
    await join(olga)
    await say(alice, "a question with many chunks")
    await alice.expect("stream_chunk")
    await alice.close()
    assert (await olga.expect("stream_end"))["seq"] == 2
    assert (await join(olga))["messages"][1]["content"] == "a question with many chunks"


async def test_nobody_is_there_when_the_answer_comes(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    server = await serve(STREAM_CHUNK_SIZE="1", STREAM_DELAY_MS="1", **agents(tmp_path, "tests.support.agents.Echo"))
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    await say(alice, "a question with many chunks")
    await alice.expect("stream_chunk")
    await alice.close()
    again = await connect(server, "/chat", "alice")
    ack = await join(again)
    if ack["last_seq"] == 1:
        await again.expect("stream_end")
        ack = await join(again)
    assert ack["messages"][1]["content"] == "a question with many chunks"


async def test_the_server_stops_in_the_middle_of_an_answer(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    server = await serve(**agents(tmp_path, "tests.support.agents.Stuck"))
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    await say(alice, "hello?")
    await alice.expect("stream_chunk")
    await server.runner.cleanup()
    backend = server.realtime._served["/chat"].service._agents[1].backend  # type: ignore[attr-defined]
    assert backend.closed.is_set()


# -- files in pieces ------------------------------------------------------------------------------------------------


async def test_a_file_in_pieces_goes_on_on_another_connection(server: Running, connect: Connect) -> None:
    alice, phone = await connect(server, "/chat", "alice"), await connect(server, "/chat", "alice")
    mallory = await connect(server, "/chat", "mallory")
    await join(alice)
    content = b"piece by piece, " * 4000
    wanted = {"session_id": "s1", "name": "a.txt", "size": len(content), "type": "image/png"}
    started = await alice.call("upload_start", wanted)
    upload, size = {"upload_id": started["upload_id"]}, started["chunk_size"]
    first = await alice.call("upload_chunk", ({**upload, "offset": 0}, content[:size]))  # an argument of its own
    assert first == {"ok": True, "received": size}
    for event in ("upload_status", "upload_end"):
        assert (await mallory.call(event, upload))["error"]["code"] == "NOT_FOUND"
    chunk = {**upload, "offset": size, "data": b"not hers"}
    assert (await mallory.call("upload_chunk", chunk))["error"]["code"] == "NOT_FOUND"
    await alice.close()
    received = (await phone.call("upload_status", upload))["received"]
    while received < len(content):
        chunk = {**upload, "offset": received, "data": content[received : received + size]}  # a field of the payload
        received = (await phone.call("upload_chunk", chunk))["received"]
    file = await phone.call("upload_end", upload)
    assert (file["name"], file["type"], file["size"]) == ("a.txt", "text/plain", len(content))
    said = await phone.call("file", {"session_id": "s1", "file_id": file["file_id"], "message": "look"})
    assert (said["ok"], said["seq"]) == (True, 1)


# -- configuration --------------------------------------------------------------------------------------------------


async def test_a_default_agent_that_does_not_exist_is_a_fault(serve: Serve) -> None:
    with pytest.raises(ConfigError, match=r"agents\.toml.*7.*CHAT_DEFAULT_AGENT"):
        await serve(CHAT_DEFAULT_AGENT="7")


async def test_a_token_is_required_unless_told_otherwise(serve: Serve, connect: Connect) -> None:
    server = await serve(WS_REQUIRE_AUTH="false", **PEOPLE)
    visitor = await connect(server, "/chat")
    user_id = (await visitor.expect("connected"))["user_id"]
    assert (await join(visitor))["session"]["user_id"] == user_id


async def test_a_token_with_fewer_roles_costs_the_sessions_it_does_not_open(serve: Serve, connect: Connect) -> None:
    server = await serve(CHAT_DEFAULT_AGENT="")
    owner = await connect(server, "/chat", "carol")
    await owner.call("join", {"session_id": "private"})
    operator = await connect(server, "/chat", "olga", roles=("operator",))
    await operator.call("join", {"session_id": "private"})
    await operator.call("join", {"session_id": "own"})
    assert (await operator.call("authenticate", {"token": running.token("olga")}))["ok"]
    assert (await owner.expect("system", lambda event: event["event"] == "user_left"))["user_id"] == "olga"
    await owner.call("message", {"session_id": "private", "content": "among us"})
    await operator.call("message", {"session_id": "own", "content": "to myself"})
    await operator.settle()
    assert [message["content"] for message in operator.payloads("message")] == ["to myself"]


async def test_a_join_beyond_the_rooms_makes_no_session(serve: Serve, connect: Connect) -> None:
    server = await serve(WS_MAX_ROOMS=4)
    alice, bob = await connect(server, "/chat", "alice"), await connect(server, "/chat", "bob")
    acks = [await alice.call("join", {"session_id": f"s{number}"}) for number in range(5)]
    assert [ack["ok"] for ack in acks] == [True, True, False, False, False]
    assert {ack["error"]["code"] for ack in acks[2:]} == {"LIMIT_EXCEEDED"}
    assert (await bob.call("join", {"session_id": "s4"}))["ok"]
