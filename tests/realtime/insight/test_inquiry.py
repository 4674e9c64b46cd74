"""Why a connection that moved between two nodes got a message, or did not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.realtime.rooms import room_name
from tests.conftest import Connect, Serve
from tests.support.client import PATIENCE
from tests.support.managers import node_of, until_up
from tests.support.raw import raw_socket
from tests.support.recovering import auth
from tests.support.redis import RedisServer
from tests.support.rest import Rest
from tests.support.running import Running


@pytest_asyncio.fixture
async def nodes(serve: Serve) -> AsyncIterator[list[Running]]:
    async with RedisServer() as redis:
        environ = {"REDIS_URL": redis.url, "TRADING_FEED": "none", "CHAT_DEFAULT_AGENT": ""}
        pair = [await serve(**environ) for _ in range(2)]
        await until_up(*map(node_of, pair))
        yield pair


async def test_a_session_that_went_on_elsewhere(nodes: list[Running], connect: Connect) -> None:
    here, there = nodes
    alice = await connect(here, "/chat", "alice")
    await alice.call("join", {"session_id": "s1"})
    async with raw_socket(here.url) as raw:
        await raw.send("40/chat," + json.dumps(auth()))
        greeting = json.loads((await raw.expect("40/chat,")).removeprefix("40/chat,"))
        await raw.send('42/chat,0["join",{"session_id":"s1"}]')
        await raw.expect("43/chat,0")
        await alice.call("message", {"session_id": "s1", "content": "one"})
        offset = json.loads((await raw.expect('42/chat,["message"')).removeprefix("42/chat,"))[-1]
        raw.socket._response.connection.transport.abort()  # type: ignore[union-attr]
    root = Rest(here.url, "root", roles=("admin",))
    path = f"/api/admin/connections/{greeting['sid']}"
    async with asyncio.timeout(PATIENCE):
        while (await root.get(path)).body["state"] == "connected":
            """Its node has not noticed yet."""
    await alice.call("message", {"session_id": "s1", "content": "two"})
    async with raw_socket(there.url) as raw:
        await raw.send("40/chat," + json.dumps(auth(pid=greeting["pid"], offset=offset)))
        await raw.expect('42/chat,["message"')
        await alice.call("message", {"session_id": "s1", "content": "three"})
        await raw.expect('42/chat,["message"')
        for server in nodes:
            root = Rest(server.url, "root", roles=("admin",))
            body = (await root.get(path)).body
            assert (body["state"], body["node"]) == ("connected", node_of(there).id)
            codes = [(await root.get(path + "/missed", room="s1", seq=seq)).body["code"] for seq in (1, 2, 3, 4)]
            assert codes == ["sent", "replayed", "sent", "no_such_message"]


async def test_a_name_that_several_rooms_have(serve: Serve, connect: Connect) -> None:
    server = await serve(TRADING_FEED="none", CHAT_DEFAULT_AGENT="")
    namespace = server.realtime._served["/chat"]
    alice = await connect(server, "/chat", "alice")
    [connection] = namespace.connections
    rooms = [room_name(None, kind, "same") for kind in ("one", "other")]
    for each in rooms:
        await namespace.enter(connection, each)
    root = Rest(server.url, "root", roles=("admin",))
    path = f"/api/admin/connections/{alice.sio.get_sid('/chat')}/missed"
    reply = await root.get(path, room="same", seq=1)
    assert reply.error == (422, "INVALID_MESSAGE")
    assert all(each in reply.body["error"]["details"]["room"][0] for each in rooms)
    assert (await root.get(path, room=rooms[0], seq=1)).body["code"] == "unknown"


@pytest.mark.parametrize("id", ["nobody", "x" * 100])
async def test_nobody(serve: Serve, id: str) -> None:
    server = await serve(TRADING_FEED="none", CHAT_DEFAULT_AGENT="")
    reply = await Rest(server.url, "root", roles=("admin",)).get(
        f"/api/admin/connections/{id}/missed", room="s1", seq=1
    )
    assert reply.error == (404, "NOT_FOUND")
