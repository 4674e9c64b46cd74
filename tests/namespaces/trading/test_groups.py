"""Groups that admins make: their members hear all they are told, everywhere, and from the moment on that they are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.identity import Identity
from server.namespaces.trading import groups
from server.namespaces.trading.groups import Groups
from server.namespaces.trading.namespace import TradingNamespace
from tests.conftest import Connect, Serve
from tests.support import running
from tests.support.chatting import start
from tests.support.client import Client
from tests.support.redis import RedisServer
from tests.support.rest import Rest
from tests.support.running import Running

ADMIN = ("admin",)
DESK = "/api/groups/desk-1"
CHANNEL = "group:desk-1"


def of(server: Running) -> Groups:
    namespace = server.realtime._served["/trading"]
    assert isinstance(namespace, TradingNamespace)
    return namespace.service.groups


async def arrive(connect: Connect, server: Running, user_id: str, **options: Any) -> Client:
    """In its groups from `connected` on."""
    client = await connect(server, "/trading", user_id, **options)
    await client.expect("connected")
    return client


async def add(root: Rest, user_id: str, path: str = DESK) -> Any:
    reply = await root.call("PUT", f"{path}/members/{user_id}")
    assert reply.status == 200, reply
    return reply.body


async def tell(server: Running, *, tenant: str | None = None, channel: str = CHANNEL) -> int:
    """How many it reached."""
    publisher = Rest(server.url, "feed", roles=("publisher",), tenant=tenant)
    reply = await publisher.post(f"/api/channels/{channel}/messages", {"data": "hello"})
    assert reply.status == 201, reply
    return int(reply.body["subscribers"])


async def heard(client: Client) -> int:
    await client.settle()
    return len(client.payloads("message"))


# -- who may ------------------------------------------------------------------------------------------------------


async def test_groups_are_for_admins_alone(server: Running) -> None:
    member = f"{DESK}/members/alice"
    for who in (Rest(server.url), Rest(server.url, "feed", roles=("publisher", "operator", CHANNEL))):
        for method, path in (("PUT", member), ("DELETE", member), ("GET", DESK)):
            assert (await who.call(method, path)).error == (403, "FORBIDDEN")


async def test_what_is_refused(root: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("/api/groups/%0A", f"/api/groups/{'x' * 101}", f"{DESK}/members/{'x' * 101}", f"{DESK}/members/a%00"):
        method = "PUT" if "members" in path else "GET"
        assert (await root.call(method, path)).error == (422, "INVALID_MESSAGE"), path
    assert (await root.call("PUT", "/api/groups/a*/members/alice")).error == (422, "INVALID_MESSAGE")
    assert (await root.delete(f"{DESK}/members/nobody")).error == (404, "NOT_FOUND")
    monkeypatch.setattr(groups, "MAX_MEMBERS", 1)
    await add(root, "alice")
    await add(root, "alice")
    assert (await root.call("PUT", f"{DESK}/members/bob")).error == (429, "LIMIT_EXCEEDED")
    monkeypatch.setattr(groups, "MAX_GROUPS", 1)
    assert (await root.call("PUT", "/api/groups/desk-2/members/alice")).error == (429, "LIMIT_EXCEEDED")


# -- members ------------------------------------------------------------------------------------------------------


async def test_a_member_hears_on_every_connection_from_then_on_and_may_subscribe(
    serve: Serve, database_url: str, connect: Connect
) -> None:
    server = await serve(DATABASE_URL=database_url, TRADING_FEED="none")
    root = Rest(server.url, "root", roles=ADMIN)
    first, bob = await arrive(connect, server, "alice"), await arrive(connect, server, "bob")
    assert await tell(server) == 0
    added = await add(root, "alice")
    assert added == {"name": "desk-1", "user_id": "alice", "added_by": "root", "added_at": added["added_at"]}
    assert await add(root, "alice") == added
    later = await arrive(connect, server, "alice")
    assert await tell(server) == 2
    ack = await first.call("subscribe", {"channel": CHANNEL})
    assert len(ack["snapshot"]) == 2
    assert (await later.call("publish", {"channel": CHANNEL, "data": "thanks"}))["subscribers"] == 2
    assert [await heard(each) for each in (first, later, bob)] == [2, 2, 0]
    assert (await bob.call("subscribe", {"channel": CHANNEL}))["error"]["code"] == "FORBIDDEN"
    said = await Rest(server.url, "alice").post(f"/api/channels/{CHANNEL}/messages", {"data": "by http"})
    assert (said.status, said.body["subscribers"]) == (201, 2)
    for query, found, next in (({}, ["alice"], None), ({"after": "alice"}, [], None)):
        listed = (await root.get(DESK, **query)).body
        assert (listed["channel"], listed["count"], listed["next"]) == (CHANNEL, 1, next)
        assert [each["user_id"] for each in listed["members"]] == found


async def test_who_is_removed_hears_no_more_and_is_told_so(serve: Serve, database_url: str, connect: Connect) -> None:
    server = await serve(DATABASE_URL=database_url, TRADING_FEED="none")
    root = Rest(server.url, "root", roles=ADMIN)
    await add(root, "alice")
    subscribed, other = await arrive(connect, server, "alice"), await arrive(connect, server, "alice")
    by_role = await arrive(connect, server, "alice", roles=(CHANNEL,))
    for each in (subscribed, by_role):
        await each.call("subscribe", {"channel": CHANNEL})
    reply = await root.delete(f"{DESK}/members/alice")
    assert reply.body == {"name": "desk-1", "user_id": "alice", "removed": True}
    assert await subscribed.expect("unsubscribed") == {"channel": CHANNEL}
    assert await tell(server) == 1
    assert [await heard(each) for each in (subscribed, other, by_role)] == [0, 0, 1]
    assert [each.payloads("unsubscribed") for each in (other, by_role)] == [[], []]


async def test_a_group_is_of_its_tenant(server: Running, connect: Connect) -> None:
    boss = Rest(server.url, "boss", roles=ADMIN, tenant="acme")
    await add(boss, "alice")
    inside, outside = (
        await arrive(connect, server, "alice", tenant="acme"),
        await arrive(connect, server, "alice"),
    )
    assert (await tell(server, tenant="acme"), await tell(server)) == (1, 0)
    assert (await heard(inside), await heard(outside)) == (1, 0)
    assert (await Rest(server.url, "root", roles=ADMIN).get(DESK)).body["members"] == []


async def test_pages_of_members(root: Rest) -> None:
    for user_id in ("carol", "alice", "밥"):
        await add(root, user_id)
    page = (await root.get(DESK, limit=2)).body
    assert (page["count"], [each["user_id"] for each in page["members"]], page["next"]) == (
        3,
        ["alice", "carol"],
        "carol",
    )
    page = (await root.get(DESK, limit=2, after=page["next"])).body
    assert ([each["user_id"] for each in page["members"]], page["next"]) == (["밥"], None)


async def test_a_fresh_token_leaves_what_is_stored(server: Running, connect: Connect, root: Rest) -> None:
    await add(root, "alice")
    alice = await arrive(connect, server, "alice", roles=("group:desk-2",))
    await alice.call("subscribe", {"channel": CHANNEL})
    await alice.call("subscribe", {"channel": "group:desk-2"})
    ack = await alice.call("authenticate", {"token": running.token("alice")})
    assert ack["unsubscribed"] == ["group:desk-2"]
    assert (await tell(server), await tell(server, channel="group:desk-2")) == (1, 0)


async def test_more_groups_than_a_connection_has_rooms_for_keep_nobody_out(serve: Serve, connect: Connect) -> None:
    server = await serve(TRADING_FEED="none", WS_MAX_ROOMS=5)
    roles = tuple(f"group:{number}" for number in range(9))
    alice = await arrive(connect, server, "alice", roles=roles)
    assert alice.payloads("connect_error") == []
    assert [await tell(server, channel=role) for role in roles] == [1, 1, 1, 0, 0, 0, 0, 0, 0]


# -- a database that is away --------------------------------------------------------------------------------------


async def test_without_the_database_there_are_roles_until_it_is_back(
    server: Running, connect: Connect, root: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(root, "alice")

    async def away(*_: object) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as patched:
        patched.setattr(groups, "_channels", away)
        alice = await arrive(connect, server, "alice", roles=("group:desk-2",))
        assert (await alice.call("subscribe", {"channel": CHANNEL}))["error"]["code"] == "FORBIDDEN"
        assert (await tell(server), await tell(server, channel="group:desk-2")) == (0, 1)
        await of(server).refresh()
        assert of(server)._unread
    await of(server).refresh()
    assert not of(server)._unread
    assert await tell(server) == 1
    await alice.close()
    carol = await arrive(connect, server, "carol")
    await carol.settle()
    await of(server).refresh()
    assert list(of(server)._stored) == [(None, "carol")]


async def test_a_database_that_does_not_answer_keeps_nobody_waiting_for_long(
    server: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(groups, "READ_SECONDS", 0.01)
    monkeypatch.setattr(groups, "_channels", hang)
    alice = await arrive(connect, server, "alice", roles=(CHANNEL,))
    assert await tell(server) == 1
    assert await heard(alice) == 1


async def test_those_who_come_at_once_are_read_together(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    read, reads, begun = groups._channels, [], asyncio.Event()

    async def counted(database: Any, users: Any) -> Any:
        reads.append(users)
        begun.set()
        return await read(database, users)

    monkeypatch.setattr(groups, "_channels", counted)
    together = [of(server)._read_together((None, f"u{number:02}")) for number in range(20)]
    assert all(found == {} for found in await asyncio.gather(*together))
    begun.clear()
    assert reads == [[f"u{number:02}" for number in range(20)]]
    first = asyncio.create_task(of(server)._read_together((None, "first")))
    await begun.wait()
    await asyncio.gather(first, *(of(server)._read_together((None, name)) for name in ("second", "third")))
    assert reads[1:] == [["first"], ["second", "third"]]


async def test_a_change_while_groups_are_read_is_not_missed(
    server: Running, root: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = groups._channels
    changes = [add(root, "alice")]

    async def slow(*arguments: Any) -> Any:
        before = await read(*arguments)
        while changes:
            await changes.pop()
        return before

    monkeypatch.setattr(groups, "_channels", slow)
    assert (await of(server).looked_up(Identity("alice"))).roles == {CHANNEL}


# -- other nodes --------------------------------------------------------------------------------------------------


async def test_on_another_node(serve: Serve, connect: Connect) -> None:
    async with RedisServer() as redis:
        here, there = await start(serve, redis)
        root = Rest(here.url, "root", roles=ADMIN)
        near, far = await arrive(connect, here, "alice"), await arrive(connect, there, "alice")
        await add(root, "alice")
        assert await tell(here) == 2
        for each in (near, far):
            await each.expect("message")
        await far.call("subscribe", {"channel": CHANNEL})
        await root.delete(f"{DESK}/members/alice")
        assert await far.expect("unsubscribed") == {"channel": CHANNEL}
        assert await tell(there) == 0
        for server in (here, there):
            await server.realtime.stop()


async def test_while_admins_change_groups_without_end_nobody_waits_for_it(
    server: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = of(server)

    async def change_amid(*_: object) -> dict[Any, Any]:
        known._changes += 1
        return {}

    monkeypatch.setattr(groups, "_channels", change_amid)
    await arrive(connect, server, "alice")
    assert known._changes == groups.MOST_READS
    assert known._unread, "it is read anew at the next tick"
