"""Who is connected, looked into and put out; and why somebody did not get a message."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest

from server.http.admin import CONNECTIONS as PATH
from server.realtime.others import NoOthers
from tests.conftest import Connect, Serve
from tests.support import running
from tests.support.client import PATIENCE, Client
from tests.support.raw import WEBSOCKET, raw_socket
from tests.support.rest import Rest
from tests.support.running import Running

As = Callable[..., Rest]

STUCK = timedelta(seconds=0.5)  # longer than the acknowledgement of a segment is delayed


@pytest.fixture
async def server(serve: Serve) -> Running:
    return await serve(TRADING_FEED="none", CHAT_DEFAULT_AGENT="")


@pytest.fixture
def user(server: Running) -> As:
    """`user("root", roles=("admin",))`."""
    return lambda *who, **what: Rest(server.url, *who, **what)


@pytest.fixture
def root(user: As) -> Rest:
    return user("root", roles=("admin",))


def sid(client: Client) -> str:
    found: str = client.sio.get_sid(client.namespace)
    return found


def who(body: Any) -> list[str]:
    return [each["user_id"] for each in body["connections"]]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/nobody", f"{PATH}/nobody/missed?room=x&seq=1"])
@pytest.mark.parametrize("roles", [(), ("operator", "publisher"), ("Admin",)])
async def test_only_administrators_see_who_is_connected(user: As, path: str, roles: tuple[str, ...]) -> None:
    assert (await user("alice", roles=roles, tenant="acme").get(path)).error == (403, "FORBIDDEN")


@pytest.mark.parametrize("path", [f"{PATH}/nobody/disconnect", "/api/admin/users/bob/disconnect"])
async def test_only_administrators_put_anybody_out(user: As, path: str) -> None:
    assert (await user("alice", roles=("operator",)).post(path, {})).error == (403, "FORBIDDEN")


async def test_one_outside_any_tenant_sees_all_the_oldest_first(server: Running, connect: Connect, root: Rest) -> None:
    alice = await connect(server, "/chat", "alice", tenant="acme")
    await connect(server, "/copilot", "bob", transports=["polling"])
    body = (await root.get(PATH)).body
    assert (who(body), body["total"], body["silent"]) == (["alice", "bob"], 2, [])
    first, second = body["connections"]
    assert first | {"connected_at": None, "outbox": None} == {
        "connection_id": sid(alice),
        "namespace": "/chat",
        "user_id": "alice",
        "tenant": "acme",
        "address": "127.0.0.1",
        "connected_at": None,
        "node": "",
        "transport": "websocket",
        "door": "/socket.io/",
        "recoverable": False,
        "recovered": False,
        "rooms": 2,
        "outbox": None,
    }
    assert first["connected_at"].endswith("Z")
    assert set(first["outbox"]) == {"messages", "bytes", "peak_messages", "peak_bytes", "dropped", "conflated"}
    assert second["transport"] == "polling"


async def test_one_of_a_tenant_sees_the_tenants_and_no_trace_of_others(
    server: Running, connect: Connect, user: As
) -> None:
    alice = await connect(server, "/chat", "alice", tenant="acme")
    bob = await connect(server, "/chat", "bob")
    await bob.call("join", {"session_id": "s1"})
    acme, other = [user("root", roles=("admin",), tenant=tenant) for tenant in ("acme", "other")]
    assert who((await acme.get(PATH)).body) == ["alice"]
    assert (await other.get(PATH)).body == {"connections": [], "total": 0, "silent": []}
    assert (await acme.get(f"{PATH}/{sid(alice)}")).body["user_id"] == "alice"
    for rest, hidden in ((acme, sid(bob)), (other, sid(alice)), (other, "nobody")):
        assert (await rest.get(f"{PATH}/{hidden}")).error == (404, "NOT_FOUND")
        assert (await rest.get(f"{PATH}/{hidden}/missed", room="s1", seq=1)).error == (404, "NOT_FOUND")
        assert (await rest.post(f"{PATH}/{hidden}/disconnect", {})).error == (404, "NOT_FOUND")
    assert (await acme.get(f"{PATH}/{sid(alice)}/missed", room="session:0::s1", seq=1)).error == (404, "NOT_FOUND")
    closed = await acme.post("/api/admin/users/bob/disconnect", {"tenant": "acme"})
    assert closed.body == {"disconnected": 0, "silent": []}
    assert (await bob.call("ping"))["ok"]


async def test_some_of_them_are_found(server: Running, connect: Connect, root: Rest) -> None:
    for namespace, name in (("/chat", "alice"), ("/copilot", "alice"), ("/copilot", "bob")):
        await connect(server, namespace, name)
    url = f"{server.url}/ws/chat/s1?token={running.token('carol')}"
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as plain:
        async with asyncio.timeout(PATIENCE):
            while (await plain.receive_json()).get("event") != "join":
                """It is told more before."""

        async def found(**query: object) -> list[str]:
            return who((await root.get(PATH, **query)).body)

        assert await found(namespace="/copilot") == ["alice", "bob"]
        assert await found(user_id="alice", namespace="/chat") == ["alice"]
        assert await found(door="/ws/chat/{session_id}") == ["carol"]
        assert await found(room="session:0::s1") == ["carol"]
        assert await found(q="CAR") == ["carol"]
        assert await found(transport="polling") == []
        assert await found(node="elsewhere") == []
        assert await found(address="10.0.0.1") == []
        assert await found(slow="true") == []
        assert await found(sort="user_id", descending="true") == ["carol", "bob", "alice", "alice"]
        assert await found(limit=1, offset=2) == ["bob"]
        assert (await root.get(PATH, limit=1)).body["total"] == 4


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "x"},
        {"offset": -1},
        {"other": 1},
        {"user_id": ""},
        {"sort": "password"},
        {"transport": "udp"},
        {"slow": "maybe"},
        {"room": "x" * 501},
    ],
)
async def test_malformed_queries(root: Rest, query: dict[str, Any]) -> None:
    assert (await root.get(PATH, **query)).error == (422, "INVALID_MESSAGE")


async def test_who_is_told_why_it_is_put_out(server: Running, connect: Connect, root: Rest) -> None:
    alice = await connect(server, "/chat", "alice")
    assert (await root.post(f"{PATH}/{sid(alice)}/disconnect", {"reason": "x" * 201})).error[0] == 422
    id = sid(alice)
    assert (await root.post(f"{PATH}/{id}/disconnect", {"reason": "maintenance"})).body == {"disconnected": 1}
    told = await alice.expect("disconnecting_reason")
    assert told == {"code": "DISCONNECTED", "message": "maintenance", "close_code": 1000, "reconnect": False}
    body = (await root.get(f"{PATH}/{id}")).body
    assert (body["state"], body["reason"], body["outbox"], body["rooms"]) == ("gone", "server disconnect", None, [])
    assert [each["what"] for each in body["record"]] == ["connected", "told", "disconnected"]
    assert (await root.post(f"{PATH}/{id}/disconnect", {})).error == (404, "NOT_FOUND")


async def test_a_user_is_put_out_everywhere(server: Running, connect: Connect, root: Rest) -> None:
    clients = [await connect(server, namespace, "alice") for namespace in ("/chat", "/copilot", "/trading")]
    bob = await connect(server, "/chat", "bob")
    path = "/api/admin/users/alice/disconnect"
    assert (await root.post(path, {"namespace": "/chat"})).body == {"disconnected": 1, "silent": []}
    assert (await root.post(path, {})).body == {"disconnected": 2, "silent": []}
    assert (await root.post(path, {})).body == {"disconnected": 0, "silent": []}
    for each in clients:
        assert (await each.expect("disconnecting_reason"))["code"] == "DISCONNECTED"
    assert (await bob.call("ping"))["ok"]


async def test_the_same_id_in_another_tenant_is_somebody_else(
    server: Running, connect: Connect, user: As, root: Rest
) -> None:
    tenants = (None, "acme", "rival")
    alices = {each: await connect(server, "/chat", "alice", tenant=each) for each in tenants}
    path, acme = "/api/admin/users/alice/disconnect", user("root", roles=("admin",), tenant="acme")

    async def put_out(by: Rest, body: object) -> tuple[int, set[str | None]]:
        closed = (await by.post(path, body)).body["disconnected"]
        seen = (await root.get(PATH, user_id="alice")).body["connections"]
        return closed, {each["tenant"] for each in seen}

    assert (await root.post(path, {"tenant": "acme", "any_tenant": True})).error[0] == 422
    assert (await root.post(path, {"any_tenant": "yes"})).error[0] == 422
    assert await put_out(root, {}) == (1, {"acme", "rival"})
    assert await put_out(root, {"tenant": None}) == (0, {"acme", "rival"})
    assert await put_out(acme, {"tenant": "rival"}) == (0, {"acme", "rival"})
    assert await put_out(acme, {"any_tenant": True}) == (1, {"rival"})
    assert await put_out(root, {"tenant": "rival"}) == (1, set())
    for each in tenants:
        await alices[each].expect("disconnect")
        await connect(server, "/chat", "alice", tenant=each)
    assert await put_out(root, {"any_tenant": True}) == (3, set())


async def test_where_a_node_was_silent_nobody_is_said_to_be_nowhere(
    server: Running, root: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(self: NoOthers, verb: str, body: object) -> dict[str, None]:
        return {"n2": None}

    monkeypatch.setattr(NoOthers, "ask_each", silent)
    for reply in (
        await root.get(f"{PATH}/nobody"),
        await root.get(f"{PATH}/nobody/missed", room="s1", seq=1),
        await root.post(f"{PATH}/nobody/disconnect", {}),
    ):
        assert reply.error == (503, "NODE_SILENT")
        assert reply.body["error"]["details"] == {"silent": ["n2"]}
    closed = await root.post("/api/admin/users/nobody/disconnect", {})
    assert closed.body == {"disconnected": 0, "silent": ["n2"]}


async def test_why_one_missed_a_message(server: Running, connect: Connect, root: Rest) -> None:
    alice = await connect(server, "/chat", "alice")
    bob = await connect(server, "/chat", "bob", roles=("operator",))
    await alice.call("join", {"session_id": "s1"})
    for number in range(2):
        if number:
            await bob.call("join", {"session_id": "s1"})
        await alice.call("message", {"session_id": "s1", "content": "said"})
    path = f"{PATH}/{sid(bob)}/missed"

    async def verdict(**query: object) -> str:
        code: str = (await root.get(path, **query)).body["code"]
        return code

    assert await verdict(room="s1", seq=1) == "not_in_room"
    assert await verdict(room="session:0::s1", seq=2) == "sent"
    assert await verdict(room="s1", seq=3) == "no_such_message"
    assert await verdict(room="a room of nobody", seq=3) == "unknown"
    body = (await root.get(path, room="s1", seq=1)).body
    assert body["message"]["event"] == "message"
    assert [each["what"] for each in body["evidence"]][-1] == "joined"
    at = (await root.get(path, room="s1", at=body["message"]["at"])).body
    assert (at["code"], at["message"]) == ("not_in_room", None)
    assert {(each["message"]["seq"], each["code"]) for each in at["messages"]} >= {(1, "not_in_room"), (2, "sent")}


@pytest.mark.parametrize(
    "query",
    [
        {"room": "s1"},
        {"room": "s1", "seq": 1, "offset": "1"},
        {"seq": 1},
        {"room": "s1", "seq": -1},
        {"room": "s1", "offset": "x y"},
        {"room": "s1", "at": "yesterday"},
        {"room": "", "seq": 1},
    ],
)
async def test_a_message_is_meant_in_one_way(server: Running, connect: Connect, root: Rest, query: Any) -> None:
    alice = await connect(server, "/chat", "alice")
    assert (await root.get(f"{PATH}/{sid(alice)}/missed", **query)).error == (422, "INVALID_MESSAGE")


async def test_what_recovery_replayed(server: Running, connect: Connect, root: Rest) -> None:
    alice = await connect(server, "/chat", "alice")
    await alice.call("join", {"session_id": "s1"})
    auth = {"token": running.token("alice"), "recovery": True}
    async with raw_socket(server.url) as raw:
        await raw.send("40/chat," + json.dumps(auth))
        greeting = json.loads((await raw.expect("40/chat,")).removeprefix("40/chat,"))
        await raw.send('42/chat,0["join",{"session_id":"s1"}]')
        await raw.expect("43/chat,0")
        await alice.call("message", {"session_id": "s1", "content": "one"})
        offset = json.loads((await raw.expect('42/chat,["message"')).removeprefix("42/chat,"))[-1]
        raw.socket._response.connection.transport.abort()
    path = f"{PATH}/{greeting['sid']}"
    async with asyncio.timeout(PATIENCE):
        while (await root.get(path)).body["state"] == "connected":
            """Its server has not noticed yet."""
    await alice.call("message", {"session_id": "s1", "content": "two"})
    assert (await root.get(path + "/missed", room="s1", seq=2)).body["code"] == "not_connected"
    async with raw_socket(server.url) as raw:
        await raw.send("40/chat," + json.dumps({**auth, "pid": greeting["pid"], "offset": offset}))
        await raw.expect('42/chat,["message"')
        body = (await root.get(path)).body
        whats = [each["what"] for each in body["record"]]
        assert (body["state"], body["recovered"]) == ("connected", True)
        assert whats[:4] == ["connected", "joined", "disconnected", "resumed"]
        assert body["record"][3]["missed"] >= 1
        assert (await root.get(path + "/missed", room="s1", seq=1)).body["code"] == "sent"
        assert (await root.get(path + "/missed", room="s1", seq=2)).body["code"] == "replayed"
        assert (await root.get(path + "/missed", room="s1", offset=offset)).body["code"] == "sent"


async def test_what_a_slow_reader_did_not_get(serve: Serve) -> None:
    server = await serve(TRADING_FEED="none", WS_OUTBOX_MESSAGES=50)
    root = Rest(server.url, "root", roles=("admin",))
    service = server.realtime._served["/trading"].service  # type: ignore[attr-defined]
    async with aiohttp.ClientSession() as http, http.ws_connect(server.url + WEBSOCKET) as reader:
        await reader.send_str("40/trading," + json.dumps({"token": running.token("alice")}))
        for number, channel in enumerate(("ticks:*", "stock_updates")):
            await reader.send_str(f"42/trading,{number}" + json.dumps(["subscribe", {"channel": channel}]))
        acks = 0
        while acks < 2:
            acks += (await reader.receive_str()).startswith("43")
        reader._reader._protocol.pause_reading()  # type: ignore[union-attr]
        [listed] = (await root.get(PATH)).body["connections"]
        path = f"{PATH}/{listed['connection_id']}"
        stuck: dict[str, Any] = {"count": 0}
        async with asyncio.timeout(PATIENCE):
            moment = datetime.fromisoformat
            # The kernels take some more now and then, until both are full: after each of these a new run begins.
            while stuck["count"] <= 10 or moment(stuck["to"]) - moment(stuck["from"]) < STUCK:
                await service.announce("ticks:A", "tick", {"symbol": "A", "price": 1, "pad": "x" * 8000})
                body = (await root.get(path)).body
                stuck = body["missed"][-1] if body["missed"] else stuck
        assert body["record"][-1]["what"] == "behind"
        assert who((await root.get(PATH, slow="true")).body) == ["alice"]
        runs = body["missed"]
        assert {(run["how"], run["room"]) for run in runs} == {("conflated", "channel:0::ticks:A")}
        assert sum(run["count"] for run in runs) == body["outbox"]["conflated"]
        assert all(run["count"] == run["last_seq"] - run["first_seq"] + 1 for run in runs)
        missed = await root.get(path + "/missed", room="ticks:A", seq=stuck["first_seq"])
        assert (missed.body["code"], missed.body["evidence"][-1]["what"]) == ("conflated", "conflated")
        for earlier, later in itertools.pairwise(runs):
            assert earlier["last_seq"] < later["first_seq"] - 1  # what is between was sent
            between = await root.get(path + "/missed", room="ticks:A", seq=earlier["last_seq"] + 1)
            assert between.body["code"] == "sent"
        assert (await root.get(path + "/missed", room="ticks:A", seq=1)).body["code"] == "sent"
        async with asyncio.timeout(PATIENCE):
            while (await root.get(path)).body["state"] == "connected":
                await service.announce("stock_updates", "update", {"pad": "x" * 2000})
        body = (await root.get(path)).body
        assert [each["what"] for each in body["record"][-3:]] == ["too_slow", "caught_up", "disconnected"]
        runs = [each for each in body["missed"] if each["how"] == "dropped"]
        last = (await root.get(path + "/missed", room="stock_updates", seq=runs[-1]["last_seq"])).body
        assert (runs[-1]["room"], last["code"]) == ("channel:0::stock_updates", "dropped")
        [alert] = (await root.get("/api/admin/alerts")).body["alerts"]
        assert (alert["kind"], alert["state"], alert["details"]["user_id"]) == ("slow_reader", "resolved", "alice")


async def test_who_polls_and_has_it_is_told_so(server: Running, connect: Connect, root: Rest) -> None:
    alice = await connect(server, "/chat", "alice")
    await alice.call("ping")  # nothing waits for it any more
    first = await root.get(PATH)
    again = await root.call("GET", PATH, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, None)
