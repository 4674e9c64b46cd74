"""What is said in a session, through real sockets; where it matters on both databases, and on two nodes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest.mock import AsyncMock

import pytest
import pytest_asyncio

from server.errors import InvalidMessage
from server.identity import Identity
from server.namespaces.chat.messages import Stored
from server.namespaces.chat.models import Draft
from server.namespaces.chat.schemas import MAX_CONTENT_CHARS
from tests.conftest import Connect, Serve
from tests.support.chatting import FORBIDDEN, OPERATOR, chat, invite, join, say, start
from tests.support.client import Client
from tests.support.managers import vanish
from tests.support.raw import raw_socket
from tests.support.redis import RedisServer
from tests.support.rest import Rest
from tests.support.running import Running, token

Nodes = tuple[Running, Running]
FREE = {
    "CHAT_DEFAULT_AGENT": "",
    "WS_MESSAGE_SIZE_LIMIT": 1_000_000,
    "RATE_LIMIT_MESSAGES_PER_MINUTE": 1_000_000,
}
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # where the database has no part in it
ACK = ("message_id", "seq", "created_at", "status")


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server


@pytest_asyncio.fixture
async def nodes(redis: RedisServer, database_url: str, serve: Serve) -> Nodes:
    """One on SQLite, two on PostgreSQL."""
    return await start(serve, None if database_url.startswith("sqlite") else redis, DATABASE_URL=database_url, **FREE)


@pytest_asyncio.fixture
async def server(database_url: str, serve: Serve) -> Running:
    return await serve(DATABASE_URL=database_url, **FREE)


@pytest_asyncio.fixture
async def alice(server: Running, connect: Connect) -> Client:
    """Who owns s1, and has joined it."""
    alice = await connect(server, "/chat", "alice")
    await join(alice)
    return alice


@pytest_asyncio.fixture
async def bob(server: Running, alice: Client, connect: Connect) -> Client:
    """Who was invited to it and has joined it."""
    await invite(server, "bob")
    bob = await connect(server, "/chat", "bob")
    await join(bob)
    return bob


def code(ack: Any) -> str:
    return str(ack["error"]["code"])


async def edit(client: Client, message_id: str, content: str = "better", session_id: str = "s1") -> Any:
    return await client.call("edit", {"session_id": session_id, "message_id": message_id, "content": content})


async def delete(client: Client, message_id: str, session_id: str = "s1") -> Any:
    return await client.call("delete", {"session_id": session_id, "message_id": message_id})


async def read(client: Client, seq: int) -> Any:
    ack = await client.call("read", {"session_id": "s1", "seq": seq})
    return ack["last_read_seq"], ack["unread_count"]


async def contents(client: Client) -> list[str]:
    return [message["content"] for message in (await join(client))["messages"]]


async def upload(server: Running, name: str = "plan.txt") -> str:
    """The id of a file of alice's that nobody has said yet."""

    async def content() -> AsyncIterator[bytes]:
        yield b"the plan"

    return (await chat(server).files.store(Identity("alice"), "s1", name, content())).file_id


# -- sending ----------------------------------------------------------------------------------------------------------


async def test_one_message_sent_on_two_nodes_at_once(nodes: Nodes, connect: Connect) -> None:
    tabs = [await connect(server, "/chat", "alice") for server in nodes]
    for tab in tabs:
        await join(tab)
    for turn in range(4):
        acks = await asyncio.gather(*(say(tab, "hi", client_message_id=f"c{turn}") for tab in tabs))
        assert [acks[0][name] for name in ACK] == [acks[1][name] for name in ACK]
        assert acks[0]["seq"] == turn + 1
    await say(tabs[0], "last")
    for tab in tabs:
        await tab.expect("message", lambda message: message["content"] == "last")
        assert [message["seq"] for message in tab.payloads("message")] == list(range(1, 6))


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("ending", ["goes on", "dies"])
async def test_sent_again_while_its_node_has_stored_and_not_told_it(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    here, _ = nodes
    phone, laptop = [await connect(server, "/chat", "alice") for server in nodes]
    for tab in (phone, laptop):
        await join(tab)
    conversation = chat(here).conversation
    stored, go_on, tell = asyncio.Event(), asyncio.Event(), conversation._tell

    async def stall(message: Stored) -> None:
        stored.set()
        await go_on.wait()
        await tell(message)

    monkeypatch.setattr(conversation, "_tell", stall)
    sending = asyncio.create_task(say(phone, "hi", client_message_id="c1"))
    await stored.wait()
    if ending == "dies":
        sending.cancel()
        await vanish(here)
    assert (await say(laptop, "hi", client_message_id="c1"))["seq"] == 1
    if ending == "goes on":
        assert laptop.payloads("message") == []
        go_on.set()
        assert (await sending)["seq"] == 1
    await laptop.expect("message", lambda message: message["seq"] == 1)
    await say(laptop, "last")
    await laptop.expect("message", lambda message: message["seq"] == 2)
    assert [message["seq"] for message in laptop.payloads("message")] == [1, 2]


async def test_sent_again_after_it_was_changed(alice: Client, bob: Client) -> None:
    first = await say(alice, "hi", client_message_id="c1")
    await edit(alice, first["message_id"], "hello")
    again = await say(alice, "hi", client_message_id="c1")
    assert [again[name] for name in ACK] == [first[name] for name in ACK]
    assert await contents(alice) == ["hello"]
    await delete(alice, first["message_id"])
    assert (await say(alice, "hi", client_message_id="c1"))["message_id"] == first["message_id"]
    assert await contents(alice) == [""]
    assert (await say(bob, "mine", client_message_id="c1"))["seq"] == 2
    await bob.expect("message", lambda message: message["seq"] == 2)
    assert len(bob.payloads("message")) == 2


async def test_no_more_than_64_k_characters(alice: Client, bob: Client) -> None:
    for unit in ("x", "가", "🙂"):
        content = unit * MAX_CONTENT_CHARS
        sent = await say(alice, content)
        assert (await bob.expect("message"))["content"] == content
        assert code(await say(alice, content + unit)) == "INVALID_MESSAGE"
        assert code(await edit(alice, sent["message_id"], content + unit)) == "INVALID_MESSAGE"
        assert (await contents(bob))[-1] == content


async def test_what_people_write_comes_back_as_it_was(alice: Client, bob: Client) -> None:
    for content in ("👩‍👩‍👧‍👦🏳️‍🌈", "שלום \u202eעולם\u202c", "\u0001\u007f", "e\u0301\ufeff", "\\u0000", "';--"):
        message_id = (await say(alice, "?"))["message_id"]
        assert (await edit(alice, message_id, content))["ok"]
        assert (await bob.expect("message_edited"))["content"] == content
        assert (await contents(bob))[-1] == content
    for content in ("\ud800", "a\udfffb", "a\0b"):
        for refused in (await say(alice, content), await edit(alice, message_id, content)):
            assert code(refused) == "INVALID_MESSAGE"


@ON_SQLITE
async def test_nothing_is_said_in_an_archived_session(server: Running, alice: Client, bob: Client) -> None:
    message_id = (await say(alice, "hi"))["message_id"]
    file_id = await upload(server)
    await chat(server).directory.archive(Identity("alice"), "s1")
    assert (await bob.expect("system", lambda told: told["event"] == "session_archived"))["user_id"] == "alice"
    session = {"session_id": "s1"}
    for event, fields in (
        ("message", {"content": "more"}),
        ("edit", {"message_id": message_id, "content": "more"}),
        ("delete", {"message_id": message_id}),
        ("file", {"file_id": file_id}),
        ("typing", {"is_typing": True}),
        ("handover_request", {}),
    ):
        assert code(await alice.call(event, session | fields)) == "CONFLICT", event
    assert await read(bob, 1) == (1, 0)
    assert await contents(bob) == ["hi"]
    assert [name for name, _ in bob.received if name in ("message", "message_edited", "typing")] == ["message"]


@ON_SQLITE
async def test_the_ack_comes_after_the_message_which_is_stored_by_then(server: Running, alice: Client) -> None:
    async with raw_socket(server.url) as raw:
        await raw.send(f"40/chat,{json.dumps({'token': token('alice')})}")
        await raw.expect("40/chat,")
        await raw.send('42/chat,1["join",{"session_id":"s1"}]')
        await raw.expect("43/chat,1")
        await raw.send('42/chat,2["message",{"session_id":"s1","content":"hi"}]')
        assert (await raw.expect("4")).startswith('42/chat,["message"')
        stored = await chat(server).conversation.history(Identity("alice"), "s1", limit=1)
        assert [message["content"] for message in stored["messages"]] == ["hi"]  # type: ignore[attr-defined]
        assert (await raw.expect("4")).startswith('43/chat,2[{"ok":true')


async def test_each_message_is_younger_than_the_one_before(nodes: Nodes, connect: Connect) -> None:
    tabs = [await connect(server, "/chat", "alice") for server in nodes for _ in range(3)]
    await join(tabs[0])
    await asyncio.gather(*(say(tab, f"{turn}") for tab in tabs for turn in range(8)))
    messages = (await join(tabs[0], after_seq=0))["messages"]
    assert [message["seq"] for message in messages] == list(range(1, 49))
    times = [message["created_at"] for message in messages]
    assert times == sorted(set(times))


# -- changing what was said -------------------------------------------------------------------------------------------


@ON_SQLITE
async def test_only_who_wrote_it_changes_it(alice: Client, bob: Client, server: Running, connect: Connect) -> None:
    message_id = (await say(alice, "mine"))["message_id"]
    answer = "msg_1"
    of_agent = Draft("s1", answer, "agent", "alice", "text", "of an agent that is called as she is")
    await chat(server)._transcript.append(of_agent, AsyncMock())
    await join(alice, "s2")
    olga = await connect(server, "/chat", "olga", roles=OPERATOR)
    mallory = await connect(server, "/chat", "mallory")
    other = await connect(server, "/chat", "alice", tenant="other")
    for act in (edit, delete):
        for client, id, session_id, expected in (
            (bob, message_id, "s1", "FORBIDDEN"),
            (olga, message_id, "s1", "FORBIDDEN"),
            (mallory, message_id, "s1", "FORBIDDEN"),
            (mallory, message_id, "unknown", "FORBIDDEN"),
            (other, message_id, "s1", "FORBIDDEN"),
            (alice, answer, "s1", "FORBIDDEN"),
            (alice, "msg_0", "s1", "NOT_FOUND"),
            (alice, message_id, "s2", "NOT_FOUND"),
            (alice, message_id, "unknown", "FORBIDDEN"),
        ):
            assert code(await act(client, id, session_id=session_id)) == expected
        assert (await act(mallory, message_id))["error"] == FORBIDDEN
    assert await contents(bob) == ["mine", of_agent.content]
    assert [name for name, _ in bob.received if name.startswith("message_")] == []


async def test_an_edit_is_told_and_kept(alice: Client, bob: Client) -> None:
    first = await say(alice, "helo", metadata={"device": "phone"})
    ack = await edit(alice, first["message_id"], "hello")
    assert (ack["message_id"], ack["seq"]) == (first["message_id"], 1)
    told = await bob.expect("message_edited")
    assert told == (await join(bob))["messages"][0]
    assert (told["content"], told["created_at"]) == ("hello", first["created_at"])
    assert told["metadata"] == {"device": "phone", "edited_at": ack["edited_at"]}
    hits = [(await bob.call("search", {"query": query}))["hits"] for query in ("helo", "hello")]
    assert [len(each) for each in hits] == [0, 1]


async def test_a_deleted_message_leaves_its_place_and_nothing_else(server: Running, alice: Client, bob: Client) -> None:
    message_id = (await say(alice, "before"))["message_id"]
    secret = (await say(alice, "the secret word", metadata={"secret": "too"}))["message_id"]
    assert (await edit(alice, secret, "the secret word is 열려라"))["ok"]
    ack = await delete(alice, secret)
    assert (ack["ok"], ack["seq"]) == (True, 2)
    told = await bob.expect("message_deleted")
    assert told == {"session_id": "s1", "user_id": "alice"} | {name: ack[name] for name in ack if name != "ok"}
    assert code(await delete(alice, secret)) == code(await edit(alice, secret)) == "NOT_FOUND"
    joined = await join(bob)
    assert [message["seq"] for message in joined["messages"]] == [1, 2]
    history = await chat(server).conversation.history(Identity("bob"), "s1", limit=50)
    listed = await chat(server).directory.list(Identity("bob"))
    found = [await bob.call("search", {"query": query}) for query in ("secret", "열려라", "word")]
    assert [each["hits"] for each in found] == [[], [], []]
    for everything in (joined, history, listed):
        assert "secret" not in json.dumps(everything, default=str)
        assert "열려라" not in json.dumps(everything, ensure_ascii=False, default=str)
    assert (await say(alice, "after"))["seq"] == 3
    assert await contents(bob) == ["before", "", "after"]
    assert (await delete(alice, message_id))["ok"]


async def test_the_file_of_a_deleted_message_is_nobodys(server: Running, alice: Client, bob: Client) -> None:
    said = await alice.call("file", {"session_id": "s1", "file_id": (file_id := await upload(server))})
    users = [Rest(server.url, "alice"), Rest(server.url, "bob")]

    async def statuses() -> list[int]:
        found = []
        for user in users:
            async with user.request("GET", f"/files/{file_id}") as response:
                found.append(response.status)
        return found

    assert (await bob.expect("message"))["metadata"]["file"]["file_id"] == file_id
    assert await statuses() == [200, 200]
    assert code(await edit(alice, said["message_id"])) == "CONFLICT"
    assert (await delete(alice, said["message_id"]))["ok"]
    assert await statuses() == [404, 404]
    assert code(await alice.call("file", {"session_id": "s1", "file_id": file_id})) == "NOT_FOUND"
    assert "plan" not in json.dumps((await join(bob))["messages"])


@ON_SQLITE
async def test_a_file_is_said_once_by_who_sent_it(server: Running, alice: Client, bob: Client) -> None:
    said = {"session_id": "s1", "file_id": await upload(server, "a.txt")}
    assert code(await bob.call("file", said)) == "NOT_FOUND"
    assert code(await alice.call("file", said | {"file_id": "file_0"})) == "NOT_FOUND"
    await join(alice, "s2")
    assert code(await alice.call("file", said | {"session_id": "s2"})) == "NOT_FOUND"
    first, again = [await alice.call("file", said | {"client_message_id": "c1"}) for _ in range(2)]
    assert [first[name] for name in ACK] == [again[name] for name in ACK]
    assert code(await alice.call("file", said)) == "NOT_FOUND"
    told = await bob.expect("message")
    assert (told["message_type"], told["content"], told["message_id"]) == ("file", "a.txt", first["message_id"])
    assert (await join(bob))["last_seq"] == 1


# -- reading ----------------------------------------------------------------------------------------------------------


async def test_nobody_reads_backwards_or_ahead(alice: Client, bob: Client) -> None:
    for number in range(5):
        await say(alice, str(number))
    assert await read(bob, 3) == (3, 2)
    assert await read(bob, 1) == (3, 2)
    assert await read(bob, 3) == (3, 2)
    assert await read(bob, 2**53 - 1) == (5, 0)
    assert (await say(alice, "6"))["seq"] == 6
    assert await read(bob, 5) == (5, 1)
    await bob.expect("message", lambda message: message["seq"] == 6)
    await alice.expect("read", lambda told: told["seq"] == 5)
    assert alice.payloads("read") == [{"session_id": "s1", "user_id": "bob", "seq": seq} for seq in (3, 5)]


@ON_SQLITE
async def test_staff_read_without_a_trace(server: Running, alice: Client, connect: Connect) -> None:
    await say(alice, "hi")
    olga = await connect(server, "/chat", "olga", roles=OPERATOR)
    await join(olga)
    assert await read(olga, 1) == (1, 0)
    stranger = await connect(server, "/chat", "mallory")
    assert (await stranger.call("read", {"session_id": "s1", "seq": 1}))["error"] == FORBIDDEN
    await alice.settle()
    assert alice.payloads("read") == []


async def test_each_user_has_their_own_unread(server: Running, alice: Client, bob: Client) -> None:
    async def unread() -> dict[str, Any]:
        counts = {}
        for user in ("alice", "bob", "carol"):
            listed = await chat(server).directory.list(Identity(user))
            one = await chat(server).directory.get(Identity(user), "s1")
            assert isinstance(listed["sessions"], list)
            assert listed["sessions"][0]["unread_count"] == one["unread_count"]
            counts[user] = one["unread_count"]
        return counts

    await say(alice, "1")
    await invite(server, "carol")
    assert await unread() == {"alice": 0, "bob": 1, "carol": 0}  # who is invited need not read what came before
    await say(bob, "2")  # who speaks has read
    assert await unread() == {"alice": 1, "bob": 0, "carol": 1}
    await say(alice, "3")
    await read(bob, 3)
    assert await unread() == {"alice": 0, "bob": 0, "carol": 2}


# -- history ----------------------------------------------------------------------------------------------------------


async def test_before_and_after_in_all_their_forms(server: Running, alice: Client) -> None:
    messages = [await say(alice, str(number)) for number in range(1, 6)]
    third = messages[2]
    moment = datetime.fromisoformat(third["created_at"])
    forms = ["3", third["message_id"], third["created_at"], moment.isoformat(), "0003"]
    forms += [moment.astimezone(timezone(timedelta(hours=hours))).isoformat() for hours in (9, -9)]
    conversation = chat(server).conversation

    async def page(**at: Any) -> tuple[list[Any], Any]:
        found: Any = await conversation.history(Identity("alice"), "s1", **{"limit": 50, **at})
        assert found["total"] == 5
        return [message["seq"] for message in found["messages"]], found["has_more"]

    for form in forms:
        assert await page(before=form) == ([1, 2], False)
        assert await page(after=form) == ([4, 5], False)
        assert await page(before=form, limit=1) == ([2], True)
        assert await page(after=form, limit=1) == ([4], True)
        assert await page(after="1", before=form) == ([2], False)
    assert await page(limit=2) == ([4, 5], True)
    assert await page(before="0") == await page(after="999999999999999") == ([], False)
    assert await page(after="4", before="2") == ([], False)
    assert await page(before="9999-12-31T23:59:59Z") == ([1, 2, 3, 4, 5], False)


@ON_SQLITE
async def test_nonsense_is_no_place_in_history(server: Running, alice: Client, connect: Connect) -> None:
    mallory = await connect(server, "/chat", "mallory")
    await join(mallory, "s2")
    of_others = (await say(mallory, "hi", "s2"))["message_id"]
    for nonsense in (
        *(
            "",
            "-1",
            "1.5",
            "٣",
            "1" * 16,
            "yesterday",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00 09:00",
        ),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "msg_0", "\0", "a" * 5000, of_others),
    ):
        for name in ("before", "after"):
            with pytest.raises(InvalidMessage) as refused:
                await chat(server).conversation.history(Identity("alice"), "s1", limit=5, **{name: nonsense})
            assert list(refused.value.details or {}) == [name]
