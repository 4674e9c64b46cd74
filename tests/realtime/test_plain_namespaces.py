"""A chat session, a channel and the plant floor, with Socket.IO and plain clients in them, on one node and on two."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest
import pytest_asyncio

from server.realtime.rooms import EVERYONE
from tests.conftest import Connect, Serve
from tests.support.chatting import start
from tests.support.plain import Plain, opening
from tests.support.redis import RedisServer
from tests.support.running import Running, token

Nodes = tuple[Running, Running]


@pytest.fixture(params=["one node", "two nodes"])
def redis(request: pytest.FixtureRequest) -> RedisServer | None:
    return request.getfixturevalue("redis_server") if request.param == "two nodes" else None


@pytest_asyncio.fixture
async def nodes(serve: Serve, redis: RedisServer | None) -> Nodes:
    return await start(serve, redis, CHAT_DEFAULT_AGENT="", REDIS_CHANNEL_PREFIX=secrets.token_hex(4))


async def numbers(plain: Plain, kind: str, count: int, number: Callable[[dict[str, Any]], int]) -> list[int]:
    return [number(await plain.hear(kind)) for _ in range(count)]


async def test_a_chat_session(nodes: Nodes, connect: Connect) -> None:
    """Both say something in turn. Each hears each once, and who is on one node hears all in the same order."""
    here, there = nodes
    stock = await connect(here, "/chat", "alice")
    assert (await stock.call("join", {"session_id": "s1"}))["ok"]
    async with (
        opening(here, "alice", path="/ws/chat/s1") as near,
        opening(there, "alice", path="/ws/chat/s1") as far,
    ):
        for each in (near, far):
            assert (await each.hear("ack"))["event"] == "join"
        for number in range(0, 20, 2):
            assert (await stock.call("message", {"session_id": "s1", "content": str(number)}))["ok"]
            await far.say("message", content=str(number + 1))
            await far.hear("ack")
        for number in range(20):
            await stock.expect("message", lambda message, number=number: message["content"] == str(number))
        heard = [(await near.hear("message"))["content"] for _ in range(20)]
        assert heard == [payload["content"] for payload in stock.payloads("message")]
        assert sorted(map(int, heard)) == list(range(20))
        assert here is not there or heard == [str(number) for number in range(20)]
        await stock.emit("typing", {"session_id": "s1", "is_typing": True})
        assert (await near.hear("typing"))["user_id"] == "alice"


async def test_a_channel(nodes: Nodes, connect: Connect) -> None:
    here, there = nodes
    publisher = await connect(there, "/trading", "exchange", roles=("publisher",))
    stock = await connect(here, "/trading", "bob")
    assert (await stock.call("subscribe", {"channel": "stock_updates"}))["ok"]
    async with (
        opening(here, "alice", path="/ws/trading/c1") as near,
        opening(there, "alice", path="/ws/trading/c2") as far,
    ):
        for each in (near, far):
            await each.say("subscribe", channel="stock_updates")
            assert (await each.hear("subscription_result"))["success"]
        for number in range(30):
            message = {"channel": "stock_updates", "type": "headline", "data": {"number": number}}
            assert (await publisher.call("publish", message))["ok"]
        for each in (near, far):
            assert await numbers(each, "headline", 30, lambda message: message["data"]["number"]) == list(range(30))
        await stock.expect("headline", lambda message: message["data"]["number"] == 29)
        assert [message["data"]["number"] for message in stock.payloads("headline")] == list(range(30))


async def test_ticks_conflated_for_all(nodes: Nodes, connect: Connect) -> None:
    """The last of each symbol comes, and what came and what that replaced are all there were."""
    here, there = nodes
    publisher = await connect(there, "/trading", "exchange", roles=("publisher",))
    async with opening(here, "alice", path="/ws/trading/c1") as near:
        await near.say("subscribe", channel="ticks:krx")
        assert (await near.hear("subscription_result"))["success"]
        for price in range(40):
            tick = {"channel": "ticks:krx", "type": "tick", "data": {"symbol": "005930", "price": price}}
            assert (await publisher.call("publish", tick))["ok"]
        heard = []
        while not heard or heard[-1]["data"]["price"] != 39:
            heard.append(await near.hear("tick"))
        assert sum(1 + each.get("conflated", 0) for each in heard) == 40
        assert [each["seq"] for each in heard] == sorted(each["seq"] for each in heard)


@pytest.mark.undeclared("alarms of fewer fields")
async def test_the_plant_floor(nodes: Nodes, connect: Connect) -> None:
    here, there = nodes
    stock = await connect(here, "/monitor", "bob")
    async with opening(here, "alice", path="/ws/monitor") as near, opening(there, "carol", path="/ws/monitor") as far:
        for each in (near, far):
            assert (await each.hear("connection_status"))["status"] == "connected"
        for number in range(20):
            floor = (here, there)[number % 2].realtime._served["/monitor"]
            await floor.emit("equipment_alarm", {"number": number}, room=EVERYONE)
        for each in (near, far):
            heard = await numbers(each, "equipment_alarm", 20, lambda alarm: alarm["number"])
            for sender in range(2):
                assert [number for number in heard if number % 2 == sender] == list(range(sender, 20, 2))
        for number in range(20):
            await stock.expect("equipment_alarm", lambda alarm, number=number: alarm["number"] == number)


async def test_tenants_never_meet(nodes: Nodes, connect: Connect) -> None:
    here, there = nodes
    stock = await connect(here, "/trading", "alice", tenant="one")
    assert (await stock.call("subscribe", {"channel": "general"}))["ok"]
    async with (
        opening(there, path="/ws/trading/c", token=token("alice", tenant="two")) as other,
        opening(there, path="/ws/trading/c", token=token("alice", tenant="one")) as same,
    ):
        for each in (other, same):
            await each.say("subscribe", channel="general")
            await each.hear("subscription_result")
        assert (await stock.call("chat_message", {"channel": "general", "message": "ours"}))["ok"]
        assert (await same.hear("chat_message"))["message"] == "ours"
        await other.say("chat_message", channel="general", message="theirs")
        assert (await other.hear("chat_message"))["message"] == "theirs"
        await same.settle()
        await stock.settle()
        assert [each["message"] for each in stock.payloads("chat_message")] == ["ours"]
