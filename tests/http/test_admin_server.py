"""How the server is, and what is said to everybody: on one node, and on two that answer for each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from server.http.admin_server import RESERVED
from server.realtime.others import NoOthers
from tests.conftest import Connect, Serve
from tests.support.client import PATIENCE, Client
from tests.support.managers import node_of, until_up
from tests.support.redis import RedisServer
from tests.support.rest import Rest
from tests.support.running import Running

BROADCAST = "/api/admin/broadcast"
OF_THE_PROCESS = ("nodes", "figures", "alerts")


@pytest_asyncio.fixture
async def server(serve: Serve) -> Running:
    return await serve(TRADING_FEED="none", CHAT_DEFAULT_AGENT="")


@pytest.fixture
def root(server: Running) -> Rest:
    return Rest(server.url, "root", roles=("admin",))


@pytest_asyncio.fixture
async def nodes(serve: Serve) -> AsyncIterator[list[Running]]:
    async with RedisServer() as redis:
        pair = [
            await serve(REDIS_URL=redis.url, TRADING_FEED="none", CHAT_DEFAULT_AGENT="", MONITOR_PERIOD=60)
            for _ in range(2)
        ]
        await until_up(*map(node_of, pair))
        yield pair


async def counted(root: Rest, namespace: str, name: str, total: int) -> Any:
    """The figures, once the seconds that add up to so many are over."""
    async with asyncio.timeout(PATIENCE):
        while True:
            body = (await root.get("/api/admin/figures", seconds=60)).body
            values = body["namespaces"].get(namespace, {}).get(name, [])
            if sum(each or 0 for each in values) >= total:
                return body


@pytest.mark.parametrize("what", [*OF_THE_PROCESS, "rooms"])
async def test_only_administrators_see_how_it_is(server: Running, what: str) -> None:
    user = Rest(server.url, "alice", roles=("operator", "publisher"))
    assert (await user.get(f"/api/admin/{what}")).error == (403, "FORBIDDEN")
    assert (await user.post(BROADCAST, {"namespace": "/chat", "event": "x"})).error == (403, "FORBIDDEN")


@pytest.mark.parametrize("what", OF_THE_PROCESS)
async def test_what_is_of_all_tenants_is_not_for_one(server: Running, what: str) -> None:
    acme = Rest(server.url, "root", roles=("admin",), tenant="acme")
    assert (await acme.get(f"/api/admin/{what}")).error == (403, "FORBIDDEN")


async def test_a_node(server: Running, connect: Connect, root: Rest) -> None:
    await connect(server, "/chat", "alice")
    await connect(server, "/trading", "bob", transports=["polling"])
    body = (await root.get("/api/admin/nodes")).body
    [node] = body["nodes"]
    assert (node["node"], node["this"], node["draining"], body["silent"]) == ("", True, False, [])
    assert node["connections"] == {"/chat": 1, "/trading": 1, "/monitor": 0, "/copilot": 0}
    assert node["transports"] == {"websocket": 1, "polling": 1}
    assert node["redis"]["state"] == "none"
    assert node["started_at"].endswith("Z")
    assert set(node["process"]) == {
        "rss_bytes",
        "cpu_percent",
        "loop_lag_ms",
        "loop_lag_peak_ms",
        "threads",
        "open_files",
    }


async def test_figures_of_what_clients_did(server: Running, connect: Connect, root: Rest) -> None:
    alice = await connect(server, "/chat", "alice")
    await alice.call("join", {"session_id": "s1"})
    await alice.call("message", {"session_id": "s1", "content": "said"})
    await alice.call("no such event")
    await alice.close()
    body = await counted(root, "/chat", "connects", 1)
    if not sum(body["namespaces"]["/chat"]["disconnects"]["client"]):
        body = await counted(root, "/chat", "errors", 1)
    chat, length = body["namespaces"]["/chat"], len(body["t"])
    assert sum(chat["events_in"]) >= 3
    assert sum(chat["errors"]) == 1
    assert any(each is not None for each in chat["ack_p99_ms"])
    assert any(each is not None for each in chat["write_p99_ms"])
    for values in (*chat["disconnects"].values(), *chat["asks"].values(), chat["connections"], *body["all"].values()):
        assert len(values) == length
    assert body["t"] == list(range(body["t"][0], body["t"][0] + length))
    newer = (await root.get("/api/admin/figures", since=body["t"][-1])).body
    assert all(t > body["t"][-1] for t in newer["t"])
    assert newer["totals"]["/chat"]["errors"] == 1


@pytest.mark.parametrize("query", [{"seconds": 0}, {"seconds": 3601}, {"since": -1}, {"since": "now"}, {"other": 1}])
async def test_malformed_questions(root: Rest, query: dict[str, Any]) -> None:
    assert (await root.get("/api/admin/figures", **query)).error == (422, "INVALID_MESSAGE")


async def test_rooms(server: Running, connect: Connect, root: Rest) -> None:
    for name in ("alice", "bob"):
        client = await connect(server, "/trading", name)
        await client.call("subscribe", {"channel": "general"})
    hidden = await connect(server, "/trading", "carol", tenant="acme")
    await hidden.call("subscribe", {"channel": "general"})
    body = (await root.get("/api/admin/rooms", namespace="/trading", kind="channel")).body
    assert [(each["room"], each["tenant"], each["members"]) for each in body["rooms"]] == [
        ("channel:0::general", None, 2),
        ("channel:4:acme:general", "acme", 1),
    ]
    assert (body["total"], body["truncated"]) == (2, False)
    largest = (await root.get("/api/admin/rooms", sort="members", descending="true", limit=1)).body
    assert (largest["rooms"][0]["kind"], largest["rooms"][0]["members"]) == ("everyone", 3)
    assert (await root.get("/api/admin/rooms", q="GENER", offset=1)).body["rooms"][0]["tenant"] == "acme"
    acme = Rest(server.url, "root", roles=("admin",), tenant="acme")
    seen = (await acme.get("/api/admin/rooms")).body
    assert {each["tenant"] for each in seen["rooms"]} == {"acme"}
    assert {each["kind"] for each in seen["rooms"]} == {"channel", "user"}


@pytest.mark.parametrize("event", sorted(RESERVED))
async def test_the_protocols_own_events_are_not_for_administrators(root: Rest, event: str) -> None:
    assert (await root.post(BROADCAST, {"namespace": "/chat", "event": event})).error == (422, "INVALID_MESSAGE")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"event": "x"}, (422, "INVALID_MESSAGE")),
        ({"namespace": "/nowhere", "event": "x"}, (422, "INVALID_MESSAGE")),
        ({"namespace": "/chat", "event": ""}, (422, "INVALID_MESSAGE")),
        ({"namespace": "/chat", "event": "x", "data": [1]}, (422, "INVALID_MESSAGE")),
        ({"namespace": "/chat", "event": "x", "data": {"a": "x" * 70_000}}, (413, "MESSAGE_TOO_BIG")),
        ({"namespace": "/chat", "event": "x", "room": "session:0::nobody"}, (404, "NOT_FOUND")),
    ],
)
async def test_what_cannot_be_told(root: Rest, body: object, error: tuple[int, str]) -> None:
    assert (await root.post(BROADCAST, body)).error == error


@pytest.mark.undeclared("administrators choose the names of their events")
async def test_everybody_is_told_or_a_room_or_a_tenant(server: Running, connect: Connect, root: Rest) -> None:
    alice = await connect(server, "/chat", "alice")
    bob = await connect(server, "/chat", "bob", tenant="acme")
    await alice.call("join", {"session_id": "s1"})
    said = {"namespace": "/chat", "event": "maintenance", "data": {"at": "noon"}}
    assert (await root.post(BROADCAST, said)).body == {"event": "maintenance", "members": 2, "silent": []}
    for each in (alice, bob):
        assert await each.expect("maintenance") == {"at": "noon"}
    assert (await root.post(BROADCAST, said | {"room": "session:0::s1"})).body["members"] == 1
    assert await alice.expect("maintenance") == {"at": "noon"}
    acme = Rest(server.url, "root", roles=("admin",), tenant="acme")
    assert (await acme.post(BROADCAST, said | {"room": "session:0::s1"})).error == (404, "NOT_FOUND")
    assert (await acme.post(BROADCAST, said | {"room": "everyone"})).error == (404, "NOT_FOUND")
    assert (await acme.post(BROADCAST, said)).body["members"] == 1
    assert await bob.expect("maintenance") == {"at": "noon"}
    for each in (alice, bob):
        await each.settle()
        assert len(each.payloads("maintenance")) == 2


@pytest.mark.undeclared("administrators choose the names of their events")
async def test_a_room_that_may_be_on_a_silent_node_is_told(
    server: Running, connect: Connect, root: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(self: NoOthers, verb: str, body: object) -> dict[str, None]:
        return {"n2": None}

    monkeypatch.setattr(NoOthers, "ask_each", silent)
    said = {"namespace": "/chat", "event": "maintenance", "room": "session:0::s1"}
    told = await root.post(BROADCAST, said)
    assert told.body == {"event": "maintenance", "members": 0, "silent": ["n2"]}
    acme = Rest(server.url, "root", roles=("admin",), tenant="acme")
    for room in ("session:0::s1", "everyone"):
        assert (await acme.post(BROADCAST, said | {"room": room})).error == (404, "NOT_FOUND")


@pytest.mark.undeclared("administrators choose the names of their events")
async def test_two_nodes_answer_for_each_other(nodes: list[Running], connect: Connect) -> None:
    here, there = nodes
    alice, bob = await connect(here, "/chat", "alice"), await connect(there, "/chat", "bob", roles=("operator",))
    ids = [each.sio.get_sid("/chat") for each in (alice, bob)]
    for each in nodes:
        root = Rest(each.url, "root", roles=("admin",))
        body = (await root.get("/api/admin/nodes")).body
        assert [node["redis"]["state"] for node in body["nodes"]] == ["up", "up"]
        assert sorted(node["this"] for node in body["nodes"]) == [False, True]
        found = (await root.get("/api/admin/connections")).body
        assert [each["connection_id"] for each in found["connections"]] == ids
        assert len({each["node"] for each in found["connections"]}) == 2
        for id in ids:
            assert (await root.get(f"/api/admin/connections/{id}")).body["state"] == "connected"
    await alice.call("join", {"session_id": "s1"})
    await alice.call("message", {"session_id": "s1", "content": "one"})
    await bob.call("join", {"session_id": "s1"})
    await alice.call("message", {"session_id": "s1", "content": "two"})
    await bob.expect("message", lambda payload: payload["seq"] == 2)
    root = Rest(here.url, "root", roles=("admin",))
    rooms = (await root.get("/api/admin/rooms", kind="session")).body["rooms"]
    assert [(each["members"], sorted(each["nodes"].values())) for each in rooms] == [(2, [1, 1])]
    path = f"/api/admin/connections/{ids[1]}/missed"
    codes = [(await root.get(path, room="s1", seq=seq)).body["code"] for seq in (1, 2, 3)]
    assert codes == ["not_in_room", "sent", "no_such_message"]
    told = await root.post(BROADCAST, {"namespace": "/chat", "event": "maintenance", "data": {"a": 1}})
    assert told.body["members"] == 2
    for client in (alice, bob):
        assert await client.expect("maintenance") == {"a": 1}
    assert (await root.post(f"/api/admin/connections/{ids[1]}/disconnect", {})).body == {"disconnected": 1}
    assert (await bob.expect("disconnecting_reason"))["code"] == "DISCONNECTED"
    assert (await root.get(f"/api/admin/connections/{ids[1]}")).body["state"] == "gone"
    body = await counted(root, "/chat", "connects", 2)
    assert len(body["nodes"]) == 2
    assert max(each or 0 for each in body["all"]["rss_bytes"]) > 0


async def test_redis_that_is_lost_is_an_alert(serve: Serve, connect: Connect) -> None:
    async with RedisServer() as redis:
        server = await serve(REDIS_URL=redis.url, TRADING_FEED="none", CHAT_DEFAULT_AGENT="")
        await until_up(node_of(server))
        root = Rest(server.url, "root", roles=("admin",))
        alice: Client = await connect(server, "/chat", "alice")
        await redis.stop()
        await _alert(root, "firing")
        assert (await root.get("/api/admin/nodes")).body["nodes"][0]["redis"]["state"] == "lost"
        assert (await root.get("/api/admin/connections")).body["total"] == 1
        await redis.start()
        await _alert(root, "resolved")
        assert (await alice.call("ping"))["ok"]


async def _alert(root: Rest, state: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            alerts = (await root.get("/api/admin/alerts")).body["alerts"]
            if [each["state"] for each in alerts if each["kind"] == "redis_lost"] == [state]:
                return
