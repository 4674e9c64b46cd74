"""Connection state recovery in a whole server: what its namespaces' rooms and rights make of it."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import Any

import pytest

from tests.conftest import Connect, Serve
from tests.support.client import PATIENCE
from tests.support.client import Client as Bystander
from tests.support.recovering import Client, client
from tests.support.running import Running, token

PEOPLE = {"CHAT_DEFAULT_AGENT": ""}  # sessions without an agent


@pytest.fixture
def serve(serve: Serve, redis_url: str | None) -> Serve:
    """On a node alone and on one among many."""
    if redis_url is None:
        return serve
    return partial(serve, REDIS_URL=redis_url, REDIS_CHANNEL_PREFIX=secrets.token_hex(4))


async def drop(server: Running, alice: Client, id: str, namespace: str) -> None:
    """Until the server, too, knows."""
    await alice.cut()
    async with asyncio.timeout(PATIENCE):
        while server.realtime.manager.is_connected(id, namespace):  # noqa: ASYNC110 - no event of /trading tells
            await asyncio.sleep(0.01)


async def say(bystander: Bystander, content: str, session_id: str = "s1") -> None:
    assert (await bystander.call("message", {"session_id": session_id, "content": content}))["ok"]


def heard(alice: Client, event: str) -> list[Any]:
    return [arguments[0] for name, *arguments in alice.heard if name == event]


async def test_a_chat_goes_on(serve: Serve, connect: Connect) -> None:
    """Nobody's message is missing, and the others see that its user went and came."""
    server = await serve(**PEOPLE)
    operator = await connect(server, "/chat", "operator", roles=("operator",))
    async with client(server, namespace="/chat") as alice:
        first = await alice.connect()
        await alice.call("join", {"session_id": "s1"})
        await operator.call("join", {"session_id": "s1"})
        await say(operator, "one")
        await drop(server, alice, first["id"], "/chat")
        await operator.expect("system", lambda each: (each["event"], each["user_id"]) == ("user_left", "alice"))
        await say(operator, "two")
        await operator.emit("typing", {"session_id": "s1", "is_typing": True})
        await say(operator, "three")
        alice.heard.clear()
        assert await alice.connect() == first | {"recovered": True}
        await operator.expect("system", lambda each: (each["event"], each["user_id"]) == ("user_joined", "alice"))
        assert [each["content"] for each in heard(alice, "message")] == ["two", "three"]
        assert heard(alice, "typing") == []
        assert (await alice.call("message", {"session_id": "s1", "content": "four"}))["ok"]
        await operator.expect("message", lambda each: each["content"] == "four")
        await alice.settle()
        seqs = [each["seq"] for each in heard(alice, "message")]
        assert seqs == [2, 3, 4]


async def test_a_chat_that_is_not_its_any_more_is_left(serve: Serve, connect: Connect) -> None:
    """An operator comes back as a user: what was said in others' sessions is not for it, also what it missed."""
    server = await serve(**PEOPLE)
    owner = await connect(server, "/chat", "owner")
    async with client(server, namespace="/chat", token=token("alice", roles=["operator"])) as alice:
        first = await alice.connect()
        await owner.call("join", {"session_id": "s1"})
        await alice.call("join", {"session_id": "s1"})
        await alice.call("join", {"session_id": "own"})
        await drop(server, alice, first["id"], "/chat")
        await say(owner, "secret")
        await alice.tell("auth", {"recovery": True, "token": token("alice")})
        alice.heard.clear()
        assert await alice.connect() == first | {"recovered": True}
        await say(owner, "also secret")
        assert (await alice.call("message", {"session_id": "s1", "content": "x"}))["error"]["code"] == "FORBIDDEN"
        assert (await alice.call("message", {"session_id": "own", "content": "mine"}))["ok"]
        await alice.settle()
        assert [each["content"] for each in heard(alice, "message")] == ["mine"]


async def test_channels_go_on_without_a_gap(serve: Serve, connect: Connect) -> None:
    server = await serve()
    publisher = await connect(server, "/trading", "publisher", roles=("publisher",))

    async def publish(channel: str, text: str) -> None:
        message = {"channel": channel, "type": "news", "data": {"text": text}}
        assert (await publisher.call("publish", message))["ok"]

    async with client(server, namespace="/trading", token=token("alice", roles=["group:desk-1"])) as alice:
        first = await alice.connect()
        for channel in ("alerts", "group:desk-1"):
            assert (await alice.call("subscribe", {"channel": channel}))["success"]
        await publish("alerts", "one")
        await alice.expect("news")
        await drop(server, alice, first["id"], "/trading")
        for channel in ("alerts", "user:alice", "user:bob", "group:desk-1", "general", "alerts"):
            await publish(channel, "missed")
        alice.heard.clear()
        assert await alice.connect() == first | {"recovered": True}
        await publish("alerts", "live")
        await alice.settle()
        news = [(each["channel"], each["seq"], each["data"]["text"]) for each in heard(alice, "news")]
        assert news == [
            ("alerts", 2, "missed"),
            ("user:alice", 1, "missed"),
            ("group:desk-1", 1, "missed"),
            ("alerts", 3, "missed"),
            ("alerts", 4, "live"),
        ]
        await drop(server, alice, first["id"], "/trading")
        await publish("group:desk-1", "secret")
        await publish("alerts", "missed again")
        await alice.tell("auth", {"recovery": True, "token": token("alice")})
        alice.heard.clear()
        assert await alice.connect() == first | {"recovered": True}
        await publish("group:desk-1", "secret")
        await alice.settle()
        assert [each["data"]["text"] for each in heard(alice, "news")] == ["missed again"]


async def test_nobody_recovers_where_it_is_switched_off(serve: Serve) -> None:
    server = await serve(RECOVERY_SECONDS=0)
    async with client(server, namespace="/trading") as alice:
        first = await alice.connect()
        await drop(server, alice, first["id"], "/trading")
        again = await alice.connect()
        assert "pid" not in again
        assert again["id"] != first["id"]
