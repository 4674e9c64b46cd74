"""What is shown of channels, clients and nodes, by HTTP and by socket, on one node and on two."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Connect, Serve
from tests.support.chatting import start
from tests.support.client import Client
from tests.support.redis import RedisServer
from tests.support.rest import Rest
from tests.support.running import Running

ADMIN, PUBLISHER = ("admin",), ("publisher",)
CHANNELS, STATS, CLIENTS = "/api/channels", "/api/trading/stats", "/api/trading/clients"


def sid(client: Client) -> str:
    return str(client.sio.get_sid("/trading"))


async def names(user: Rest, **query: Any) -> tuple[list[str], str | None]:
    body = (await user.get(CHANNELS, **query)).body
    return [each["channel"] for each in body["channels"]], body["next"]


# -- channels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["user:bob", "user:nobody", "group:desk-1", "nowhere"])
async def test_a_channel_that_one_may_not_subscribe_to_is_refused_whether_it_is_there_or_not(
    server: Running, connect: Connect, channel: str
) -> None:
    await Rest(server.url, "feed", roles=PUBLISHER).post("/api/users/bob/messages", {"data": 1})
    reply = await Rest(server.url).get(f"{CHANNELS}/{channel}")
    assert reply.error == (403, "FORBIDDEN")
    ack = await (await connect(server, "/trading", "alice")).call("channel_info", {"channel": channel})
    assert ack["error"] == reply.body["error"]


@pytest.mark.parametrize("name", ["a\nb", "x" * 101, "ticks:*"])
async def test_names_that_no_channel_has(root: Rest, name: str) -> None:
    assert (await root.get(f"{CHANNELS}/{quote(name, safe='')}")).error == (422, "INVALID_MESSAGE")


async def test_a_channel_as_its_subscribers_and_as_publishers_see_it(
    server: Running, connect: Connect, root: Rest
) -> None:
    alice, bob = await connect(server, "/trading", "alice"), await connect(server, "/trading", "bob")
    for each in (alice, bob):
        await each.call("subscribe", {"channel": "general"})
    said = await alice.call("chat_message", {"message": "hi"})
    seen = (await Rest(server.url).get(f"{CHANNELS}/general")).body
    assert seen == {
        "channel": "general",
        "subscriber_count": 2,
        "seq": 1,
        "epoch": said["epoch"],
        "last_published": seen["last_published"],
        "history": {"held": 1, "count": 50, "seconds": 86_400},
        "conflated": False,
        "priority": "normal",
        "presence": True,
    }
    for user in (root, Rest(server.url, "feed", roles=PUBLISHER)):
        assert (await user.get(f"{CHANNELS}/general")).body == {**seen, "subscribers": sorted([sid(alice), sid(bob)])}
    assert (await Rest(server.url, "root", roles=ADMIN, tenant="acme").get(f"{CHANNELS}/general")).body["seq"] == 0
    alerts = (await root.get(f"{CHANNELS}/alerts")).body
    assert (alerts["subscriber_count"], alerts["epoch"], alerts["last_published"], alerts["priority"]) == (
        0,
        None,
        None,
        "high",
    )
    ack = await (await connect(server, "/trading", "root", roles=ADMIN)).call("channel_info", {"channel": "general"})
    assert ack == {"ok": True, **seen, "subscribers": sorted([sid(alice), sid(bob)])}


async def test_pages_of_those_that_one_may_subscribe_to(server: Running, root: Rest) -> None:
    feed = Rest(server.url, "feed", roles=PUBLISHER)
    for channel in ("ticks:A", "ticks:B", "ticks", "chat:1", "user:alice", "user:bob", "alerts"):
        await feed.post(f"{CHANNELS}/{channel}/messages", {"data": 1})
    everything = ["alerts", "chat:1", "ticks:A", "ticks:B", "user:alice", "user:bob"]
    assert await names(root) == (everything, None)
    assert await names(Rest(server.url)) == (everything[:-1], None)
    assert await names(root, prefix="ticks:") == (["ticks:A", "ticks:B"], None)
    assert await names(root, prefix="ticks:A") == (["ticks:A"], None)
    assert await names(root, prefix="ticks:", limit=1) == (["ticks:A"], "ticks:A")
    assert await names(root, prefix="ticks:", limit=1, after="ticks:A") == (["ticks:B"], None)
    assert await names(root, prefix="ticks:", after="user") == ([], None)
    assert await names(root, limit=6) == (everything, None)
    page, next = await names(root, limit=4)
    assert (page, next) == (everything[:4], "ticks:B")
    assert await names(root, limit=4, after=next) == (everything[4:], None)
    assert await names(Rest(server.url, tenant="acme")) == ([], None)
    assert (await root.get(CHANNELS, limit=101)).error == (422, "INVALID_MESSAGE")
    first = (await root.get(CHANNELS)).body["channels"][0]
    assert (first["seq"], first["priority"], "subscribers" in first) == (1, "high", False)


# -- for admins ---------------------------------------------------------------------------------------------------


async def test_stats_and_clients_are_for_admins_alone(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/trading", "alice", roles=("publisher", "operator"))
    user = Rest(server.url, "alice", roles=("publisher", "operator"))
    for path in (STATS, f"{CLIENTS}/{sid(alice)}", f"{CLIENTS}/nobody"):
        assert (await user.get(path)).error == (403, "FORBIDDEN")
    assert (await alice.call("client_info", {"client_id": sid(alice)}))["error"]["code"] == "FORBIDDEN"


async def test_stats_as_in_the_seed(server: Running, connect: Connect, root: Rest) -> None:
    first, second = await connect(server, "/trading", "alice"), await connect(server, "/trading", "alice")
    bob = await connect(server, "/trading", "bob", tenant="acme")
    for each in (first, second, bob):
        await each.call("subscribe", {"channel": "general"})
    await first.call("publish", {"channel": "general", "data": 1})
    stats = (await root.get(STATS)).body
    assert stats == {
        "total_connections": 3,
        "active_connections": 3,
        "messages_sent": stats["messages_sent"],
        "messages_received": 4,
        "errors": 1,
        "channels": 2,
        "users_with_connections": 2,
        "nodes": {"local": {name: value for name, value in stats.items() if name != "nodes"}},
    }
    inside = (await Rest(server.url, "boss", roles=ADMIN, tenant="acme").get(STATS)).body
    seen = {"active_connections": 1, "channels": 1, "users_with_connections": 1}
    assert inside == {**seen, "nodes": {"local": seen}}
    ack = await (await connect(server, "/trading", "root", roles=ADMIN)).call("stats")
    assert (ack["ok"], ack["active_connections"]) == (True, 4)


async def test_a_client_as_in_the_seed(server: Running, connect: Connect, root: Rest) -> None:
    alice = await connect(server, "/trading", "alice", tenant="acme", roles=("group:desk-1",))
    await alice.call("subscribe", {"channel": "general"})
    await alice.call("subscribe", {"channel": "ticks:*"})
    path = f"{CLIENTS}/{sid(alice)}"
    found = (await root.get(path)).body
    assert found == {
        "client_id": sid(alice),
        "user_id": "alice",
        "channels": ["general", "ticks:*"],
        "state": "connected",
        "last_ping": None,
        "last_pong": None,
        "metadata": {
            "tenant": "acme",
            "username": None,
            "roles": ["group:desk-1"],
            "address": "127.0.0.1",
            "connected_at": found["metadata"]["connected_at"],
            "node": "local",
        },
    }
    await alice.call("ping")
    assert (await root.get(path)).body["last_ping"] >= found["metadata"]["connected_at"]
    assert (await Rest(server.url, "boss", roles=ADMIN, tenant="acme").get(path)).status == 200
    assert (await Rest(server.url, "boss", roles=ADMIN, tenant="rival").get(path)).error == (404, "NOT_FOUND")
    assert (await root.get(f"{CLIENTS}/nobody")).error == (404, "NOT_FOUND")
    assert (await root.get(f"{CLIENTS}/a%0Ab")).error == (422, "INVALID_MESSAGE")


async def test_over_two_nodes(serve: Serve, connect: Connect) -> None:
    async with RedisServer() as redis:
        here, there = await start(serve, redis)
        root = Rest(here.url, "root", roles=ADMIN)
        near, far = await connect(here, "/trading", "alice"), await connect(there, "/trading", "alice")
        for each in (near, far):
            await each.call("subscribe", {"channel": "general"})
        await far.call("subscribe", {"channel": "alerts"})
        await Rest(there.url, "feed", roles=PUBLISHER).post(f"{CHANNELS}/alerts/messages", {"data": 1})
        stats = (await root.get(STATS)).body
        nodes = stats["nodes"]
        assert set(nodes) == {each.realtime.node.id for each in (here, there) if each.realtime.node is not None}
        assert (stats["active_connections"], stats["channels"], stats["users_with_connections"]) == (2, 2, 1)
        assert stats["messages_received"] == sum(each["messages_received"] for each in nodes.values()) == 3
        general = (await root.get(f"{CHANNELS}/general")).body
        assert (general["subscriber_count"], general["subscribers"]) == (2, sorted([sid(near), sid(far)]))
        assert await names(root) == (["alerts", "general"], None)
        found = (await root.get(f"{CLIENTS}/{sid(far)}")).body
        assert (found["channels"], found["metadata"]["node"]) == (["alerts", "general"], there.realtime.node.id)  # type: ignore[union-attr]
        assert (await root.get(f"{CLIENTS}/nobody")).error == (404, "NOT_FOUND")
        for server in (here, there):
            await server.realtime.stop()
