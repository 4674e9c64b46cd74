"""All channels of a class by one subscription, on one node and on two."""

from __future__ import annotations

from typing import Any

from tests.conftest import Connect, Serve
from tests.support.chatting import start
from tests.support.client import Client
from tests.support.redis import RedisServer
from tests.support.running import Running

ALL = {"channel": "ticks:*"}


async def tick(publisher: Client, symbol: str, price: int) -> Any:
    data = {"symbol": symbol, "price": price}
    return await publisher.call("publish", {"channel": f"ticks:{symbol}", "type": "tick", "data": data})


def prices(client: Client) -> list[tuple[str, int]]:
    return [(each["channel"], each["data"]["price"]) for each in client.payloads("tick")]


async def test_the_ack_has_the_newest_of_every_channel_and_events_follow(
    server: Running, connect: Connect, publisher: Client
) -> None:
    for symbol, price in (("A", 1), ("A", 2), ("B", 3)):
        await tick(publisher, symbol, price)
    alice = await connect(server, "/trading", "alice")
    ack = await alice.call("subscribe", ALL)
    assert (ack["ok"], ack["channel"], ack["success"], ack["seq"], ack["epoch"]) == (True, "ticks:*", True, None, None)
    assert {name: each["seq"] for name, each in ack["channels"].items()} == {"ticks:A": 2, "ticks:B": 1}
    assert {(each["channel"], each["seq"], each["data"]["price"]) for each in ack["snapshot"]} == {
        ("ticks:A", 2, 2),
        ("ticks:B", 1, 3),
    }
    assert "recovered" not in ack
    for symbol in ("B", "new"):
        await tick(publisher, symbol, 4)
    await alice.expect("tick", matching=lambda tick: tick["channel"] == "ticks:new")
    assert prices(alice) == [("ticks:B", 4), ("ticks:new", 4)]


async def test_a_since_is_of_no_use_here(server: Running, connect: Connect, publisher: Client) -> None:
    said = await tick(publisher, "A", 1)
    alice = await connect(server, "/trading", "alice")
    ack = await alice.call("subscribe", {**ALL, "since": {"epoch": said["epoch"], "seq": 1}})
    assert (ack["recovered"], len(ack["snapshot"])) == (False, 1)
    assert "messages" not in ack


async def test_who_is_in_both_hears_each_once(server: Running, connect: Connect, publisher: Client) -> None:
    alice = await connect(server, "/trading", "alice")
    await alice.call("subscribe", ALL)
    await alice.call("subscribe", {"channel": "ticks:A"})
    await tick(publisher, "A", 1)
    await alice.settle()
    assert prices(alice) == [("ticks:A", 1)]
    assert (await alice.call("unsubscribe", ALL))["success"] is True
    assert (await alice.call("unsubscribe", ALL))["success"] is False
    await tick(publisher, "A", 2)
    await tick(publisher, "B", 3)
    await alice.settle()
    assert prices(alice) == [("ticks:A", 1), ("ticks:A", 2)]


async def test_on_two_nodes_and_in_a_tenant_that_the_market_reaches(serve: Serve, connect: Connect) -> None:
    async with RedisServer() as redis:
        here, there = await start(serve, redis)
        publisher = await connect(here, "/trading", "feed", roles=("publisher",))
        inside = await connect(here, "/trading", "desk", roles=("publisher",), tenant="acme")
        await tick(publisher, "A", 1)
        alice, bob = await connect(there, "/trading", "alice"), await connect(there, "/trading", "bob", tenant="acme")
        for each in (alice, bob):
            assert list((await each.call("subscribe", ALL))["channels"]) == ["ticks:A"]
        await tick(publisher, "B", 2)
        await tick(inside, "C", 3)
        await tick(publisher, "D", 4)
        for each in (alice, bob):
            await each.expect("tick", matching=lambda tick: tick["channel"] == "ticks:D")
        assert prices(alice) == [("ticks:B", 2), ("ticks:D", 4)]
        assert prices(bob) == [("ticks:B", 2), ("ticks:C", 3), ("ticks:D", 4)]
        for server in (here, there):
            await server.realtime.stop()
