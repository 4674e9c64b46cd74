"""Who is told of a session they have not joined, and who takes part in one no more: on one node, and on two."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from server.errors import Conflict, Forbidden, NotFound
from server.identity import Identity
from tests.conftest import Connect, Serve
from tests.support.chatting import FORBIDDEN, OPERATOR, chat, config, fence, invite, join, say, scripted, start
from tests.support.client import PATIENCE, Client
from tests.support.managers import Reader
from tests.support.raw import raw_socket
from tests.support.redis import RedisServer
from tests.support.running import Running, token

Nodes = tuple[Running, Running]
ALICE = Identity("alice")


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server


@pytest_asyncio.fixture(params=[1, 2])
async def nodes(request: pytest.FixtureRequest, redis: RedisServer, serve: Serve) -> Nodes:
    """Where alice is, and where others are."""
    return await start(serve, None if request.param == 1 else redis, CHAT_DEFAULT_AGENT="")


@pytest_asyncio.fixture
async def alice(nodes: Nodes, connect: Connect) -> Client:
    """Who owns s1, and has joined it."""
    alice = await connect(nodes[0], "/chat", "alice")
    await join(alice)
    return alice


def of_session(client: Client, event: str, session_id: str = "s1") -> list[Any]:
    return [payload for payload in client.payloads(event) if payload["session_id"] == session_id]


def notified(client: Client) -> list[Any]:
    """Of messages."""
    return [each["seq"] for each in of_session(client, "notification") if each["event"] == "message"]


async def test_a_message_notifies_the_connections_that_have_not_joined(
    nodes: Nodes, alice: Client, connect: Connect
) -> None:
    here, there = nodes
    await invite(here, "bob")
    tab = await connect(here, "/chat", "alice")
    joined, away = await connect(there, "/chat", "bob"), await connect(there, "/chat", "bob")
    nearby = await connect(here, "/chat", "bob")
    strangers = [await connect(there, "/chat", "bob", tenant="other"), await connect(there, "/chat", "carol")]
    await join(joined)
    sent = await say(alice, "가" * 200)
    told = await away.expect("notification", lambda each: each["event"] == "message")
    assert told == {
        "event": "message",
        "session_id": "s1",
        "message_id": sent["message_id"],
        "seq": 1,
        "sender_type": "user",
        "sender_id": "alice",
        "message_type": "text",
        "content": "가" * 100,
        "created_at": sent["created_at"],
    }
    assert await nearby.expect("notification", lambda each: each["event"] == "message") == told
    assert (await joined.expect("message"))["seq"] == 1
    for client in (joined, away, nearby):
        await fence(here, client, "bob")
    await fence(here, tab, "alice")
    for client in (alice, tab, joined, *strangers):
        await client.settle()
        assert notified(client) == []
    assert (notified(away), notified(nearby)) == ([1], [1])
    assert away.payloads("message") == nearby.payloads("message") == tab.payloads("message") == []


async def test_joining_and_leaving_change_what_one_is_told(nodes: Nodes, alice: Client, connect: Connect) -> None:
    here, there = nodes
    await invite(here, "bob")
    bob = await connect(there, "/chat", "bob")
    await say(alice, "1")
    await bob.expect("notification", lambda each: each.get("seq") == 1)
    assert (await join(bob))["session"]["unread_count"] == 1
    await say(alice, "2")
    await bob.expect("message")
    await bob.call("leave", {"session_id": "s1"})
    await say(alice, "3")
    await bob.expect("notification", lambda each: each.get("seq") == 3)
    assert notified(bob) == [1, 3]
    assert [each["seq"] for each in bob.payloads("message")] == [2]


async def test_a_message_that_is_sent_again_notifies_once(nodes: Nodes, alice: Client, connect: Connect) -> None:
    here, there = nodes
    await invite(here, "bob")
    bob = await connect(there, "/chat", "bob")
    for _ in range(3):
        await say(alice, "hi", client_message_id="c1")
    await fence(here, bob, "bob")
    assert notified(bob) == [1]


async def test_the_owner_hears_what_the_staff_say(nodes: Nodes, alice: Client, connect: Connect) -> None:
    here, there = nodes
    await alice.call("leave", {"session_id": "s1"})
    olga, adam = [await connect(there, "/chat", user, roles=OPERATOR) for user in ("olga", "adam")]
    await say(olga, "hello?")
    assert (await alice.expect("notification"))["sender_id"] == "olga"
    assert (await olga.call("handover_accept", {"session_id": "s1"}))["ok"]
    await say(alice, "yes")
    assert (await olga.expect("notification"))["sender_id"] == "alice"  # it is hers
    await fence(here, adam, "adam")
    assert notified(adam) == []


async def test_an_operator_whose_role_is_gone_is_told_no_more(nodes: Nodes, alice: Client, connect: Connect) -> None:
    here, there = nodes
    olga = await connect(there, "/chat", "olga", roles=OPERATOR)
    await olga.call("handover_accept", {"session_id": "s1"})
    assert (await olga.call("authenticate", {"token": token("olga")}))["ok"]
    await say(alice, "not for her")
    await fence(here, olga, "olga")
    assert notified(olga) == []


async def test_the_agents_answer_notifies_too(
    serve: Serve, redis: RedisServer, tmp_path: Any, connect: Connect
) -> None:
    path = await asyncio.to_thread(config, tmp_path / "config")
    here, there = await start(serve, redis, CONFIG_DIR=path)
    alice, tab = await connect(here, "/chat", "1"), await connect(there, "/chat", "1")  # a name as the agent's
    await join(alice)
    await say(alice, "?")
    scripted(here).say("the answer", None)
    end = await alice.expect("stream_end")
    told = await tab.expect("notification")
    assert (told["message_id"], told["seq"], told["sender_type"]) == (end["message_id"], 2, "agent")
    assert told["content"] == "the answer"
    await alice.settle()
    assert (notified(alice), notified(tab)) == ([], [2])
    assert (await join(tab))["session"]["unread_count"] == 1


class Phone(Reader):
    """Keeps what it heard of s1 over all its connections."""

    def __init__(self, *of: Any, heard: list[tuple[str, int]]) -> None:
        super().__init__(*of)
        self.events = heard

    async def _read(self) -> str:
        frame = await super()._read()
        if frame.startswith("42"):
            name, payload, *_ = json.loads(frame.partition(",")[2])
            if "seq" in payload:
                self.events.append((name, payload["seq"]))
        return frame

    async def join(self) -> None:
        await self.raw.send('42/chat,9["join",{"session_id":"s1"}]')
        while not (await self._read()).startswith("43/chat,9"):
            pass

    async def hears(self, seq: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while seq not in [heard for _, heard in self.events]:
                await self._read()


@pytest.mark.parametrize("event", ["notification", "message"])
async def test_who_recovers_is_told_what_they_missed_once(nodes: Nodes, alice: Client, event: str) -> None:
    here, there = nodes
    await invite(here, "bob")
    heard: list[tuple[str, int]] = []
    async with raw_socket(there.url) as raw:
        phone = Phone(raw, "/chat", heard=heard)
        await phone.connect(token=token("bob"), recovery=True)
        if event == "message":
            await phone.join()
        await say(alice, "1")
        await phone.hears(1)
        known = phone.known
        raw.socket._response.close()  # type: ignore[union-attr]  # the connection, without a word
    await say(alice, "2")
    await say(alice, "3")
    async with raw_socket(there.url) as raw:
        again = Phone(raw, "/chat", heard=heard)
        await again.connect(token=token("bob"), recovery=True, **known)
        assert again.recovered
        await say(alice, "4")
        await again.hears(4)
    assert heard == [(event, seq) for seq in (1, 2, 3, 4)]


# -- participants -----------------------------------------------------------------------------------------------------


async def test_who_is_invited_is_told_and_may_join(nodes: Nodes, alice: Client, connect: Connect) -> None:
    here, there = nodes
    bob = await connect(there, "/chat", "bob")
    assert (await join(bob))["error"] == FORBIDDEN
    await invite(here, "bob")
    await invite(here, "bob")
    told = await bob.expect("notification")
    assert told == {"event": "invited", "session_id": "s1", "user_id": "alice"}
    assert (await alice.expect("system"))["event"] == "participant_added"
    assert (await join(bob))["participants"] == ["alice", "bob"]
    await fence(here, bob, "bob")
    assert of_session(bob, "notification") == [told]


async def test_only_owner_and_staff_manage_participants(nodes: Nodes, alice: Client) -> None:
    directory = chat(nodes[1]).directory
    await invite(nodes[0], "bob")
    for who in (Identity("bob"), Identity("mallory"), Identity("olga", roles=frozenset(OPERATOR), tenant="other")):
        for user_id in ("carol", "alice"):
            with pytest.raises(Forbidden):
                await directory.invite(who, "s1", user_id)
            with pytest.raises(Forbidden):
                await directory.remove(who, "s1", user_id)
    olga = Identity("olga", roles=frozenset(OPERATOR))
    with pytest.raises(Conflict):
        await directory.remove(olga, "s1", "alice")
    with pytest.raises(NotFound):
        await directory.remove(olga, "s1", "carol")
    await directory.remove(Identity("bob"), "s1", "bob")
    with pytest.raises(Forbidden):
        await directory.remove(Identity("bob"), "s1", "bob")


async def test_who_is_removed_leaves_on_every_node(nodes: Nodes, alice: Client, connect: Connect) -> None:
    here, there = nodes
    await invite(here, "bob")
    await invite(here, "olga")
    tabs = [await connect(server, "/chat", "bob") for server in (here, there, there)]
    olga = await connect(there, "/chat", "olga", roles=OPERATOR)
    for client in (*tabs[:2], olga):
        await join(client)
    await join(tabs[1], "s2")
    await say(alice, "for all")
    for tab in tabs[:2]:
        await tab.expect("message")
    await chat(here).directory.remove(ALICE, "s1", "bob")
    await chat(here).directory.remove(ALICE, "s1", "olga")
    await alice.expect("system", lambda each: (each["event"], each["user_id"]) == ("user_left", "bob"))
    await say(alice, "not for bob")
    assert (await say(tabs[1], "still here", "s2"))["ok"]
    assert (await say(tabs[0], "hi"))["error"] == FORBIDDEN
    assert (await join(tabs[1]))["error"] == FORBIDDEN
    await olga.expect("message", lambda each: each["content"] == "not for bob")  # her role is enough
    for tab in tabs:
        await fence(here, tab, "bob")
        assert [each["content"] for each in of_session(tab, "message")] == (["for all"] if tab is not tabs[2] else [])
        assert notified(tab) == ([] if tab is not tabs[2] else [1])
    assert (await join(alice))["online"] == ["alice", "olga"]


async def test_who_is_removed_while_they_join_is_not_in(
    nodes: Nodes, alice: Client, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = nodes
    await invite(here, "bob")
    bob = await connect(there, "/chat", "bob")
    looked, removed = asyncio.Event(), asyncio.Event()
    describe = chat(there).directory.describe

    async def slow(*of: Any) -> Any:
        session = await describe(*of)
        looked.set()
        await removed.wait()
        return session

    monkeypatch.setattr(chat(there).directory, "describe", slow)
    joining = asyncio.create_task(join(bob))
    await looked.wait()
    removing = asyncio.create_task(chat(here).directory.remove(ALICE, "s1", "bob"))
    await alice.expect("system", lambda each: each["event"] == "participant_removed")
    removed.set()
    await joining
    await removing
    await say(alice, "not for bob")
    await fence(here, bob, "bob")
    assert of_session(bob, "message") == []
    assert (await join(alice))["online"] == ["alice"]
