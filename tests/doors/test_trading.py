"""The trading seed's clients: its script as it stands, Postman's and wscat's lines, and its test lists 1 to 5."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
import websockets

from server.namespaces.trading.namespace import TradingNamespace
from server.realtime.connection import Connection
from server.realtime.namespace import Namespace
from server.realtime.schema import Payload, Text
from tests.conftest import Connect, Serve
from tests.doors.plain import Plain, address, plain
from tests.support.client import PATIENCE
from tests.support.present import until
from tests.support.redis import RedisServer
from tests.support.running import Running

QUIET = {"TRADING_FEED": "none"}
AS_IN_THE_SEED = {**QUIET, "WS_DEFAULT_NAMESPACE": "trading"}
CLIENT = "/ws/trading/test_client_001"
STOCKS = "stock_updates"
PUBLISHER: dict[str, Any] = {"roles": ["publisher"]}


async def seeds_script(uri: str) -> list[Any]:
    """As in the seed; what it prints as received is returned."""
    received = []

    async with websockets.connect(uri) as websocket:
        ping_message = {"type": "ping", "timestamp": "2025-01-20T10:30:00Z"}
        await websocket.send(json.dumps(ping_message))

        response = await websocket.recv()
        received.append(json.loads(response))

        subscribe_message = {"type": "subscribe", "channel": "test_channel"}
        await websocket.send(json.dumps(subscribe_message))

        response = await websocket.recv()
        received.append(json.loads(response))
    return received


async def test_the_seeds_script(serve: Serve) -> None:
    """What it takes for the pong is the confirmation of its connection, as it was at home."""
    server = await serve(**AS_IN_THE_SEED, WS_REQUIRE_AUTH="false")
    received = await seeds_script(address(server, "/ws/test_client_001"))
    assert [each["type"] for each in received] == ["connected", "pong"]


@pytest.mark.parametrize("path", [CLIENT, "/ws/test_client_001"])
async def test_lines_of_wscat_and_postman(serve: Serve, path: str) -> None:
    async with plain(await serve(**AS_IN_THE_SEED), path, "test_user_001") as wscat:
        await wscat.say('{"type": "ping", "timestamp": "2025-01-20T10:30:00Z"}')
        assert (await wscat.expect("pong"))["timestamp"] == "2025-01-20T10:30:00Z"
        await wscat.say('{"type": "subscribe", "channel": "stock_updates"}')
        result = await wscat.expect("subscription_result")
        assert (result["channel"], result["success"]) == (STOCKS, True)
        await wscat.say('{"type": "subscribe", "channel": "general"}')
        await wscat.expect("subscription_result")
        await wscat.say('{"type": "chat_message", "message": "테슬라 주식 분석 요청", "channel": "general"}')
        said = await wscat.expect("chat_message")
        assert {name: said[name] for name in ("client_id", "message", "channel")} == {
            "client_id": "test_client_001",
            "message": "테슬라 주식 분석 요청",
            "channel": "general",
        }
        assert said["timestamp"].endswith("Z")
        await wscat.say('{"type": "unsubscribe", "channel": "stock_updates"}')
        ack = await wscat.expect("ack", lambda said: said["event"] == "unsubscribe")
        assert (ack["channel"], ack["success"]) == (STOCKS, True)


# -- 1: connecting ------------------------------------------------------------------------------------------------


async def test_connecting_is_confirmed_or_refused(serve: Serve) -> None:
    server = await serve(**QUIET)
    async with plain(server, CLIENT) as nobody:
        assert await nobody.closed() == 1008
    async with plain(server, CLIENT, "alice") as alice:
        assert (await alice.next())["type"] == "connected"


async def test_who_disconnects_is_gone(serve: Serve) -> None:
    server = await serve(**QUIET, WS_LEAVE_DELAY=0)
    async with plain(server, CLIENT, "alice") as alice:
        await subscribe(alice, "general")
        async with plain(server, "/ws/trading/test_client_002", "bob") as bob:
            await subscribe(bob, "general")
            await alice.send("presence", channel="general")
            assert (await alice.expect("ack"))["count"] == 2
        users = ["alice", "bob"]
        async with asyncio.timeout(PATIENCE):
            while users != ["alice"]:
                await alice.send("presence", channel="general")
                users = (await alice.expect("ack"))["users"]
        assert len(trading(server).connections) == 1


# -- 2: messages --------------------------------------------------------------------------------------------------


async def test_a_channel_has_to_be_named(serve: Serve) -> None:
    async with plain(await serve(**QUIET), CLIENT, "alice") as alice:
        for nothing in ({}, {"channel": None}, {"channel": ""}):
            await alice.send("subscribe", **nothing)
            error = await alice.expect("error")
            assert error["message"] == "Channel name required for subscription"
            assert error["timestamp"].endswith("Z")
        await alice.send("subscribe", channel=["general"])
        assert (await alice.expect("error"))["code"] == "INVALID_MESSAGE"
        assert alice.of("subscription_result") == []


async def test_a_channel_that_may_not_be_had(serve: Serve) -> None:
    async with plain(await serve(**QUIET), CLIENT, "alice") as alice:
        for channel in ("test_channel", "user:bob"):
            result = await subscribe(alice, channel)
            assert (result["channel"], result["success"], result["code"]) == (channel, False, "FORBIDDEN")


async def test_a_handler_of_ones_own(serve: Serve) -> None:
    server = await serve(**QUIET)

    class Order(Payload):
        symbol = Text(most=10, required=True)

    async def order(namespace: Namespace, connection: Connection, symbol: str) -> Mapping[str, object]:
        return {"order": f"{connection.user_id} buys {symbol}"}

    trading(server).add("order", Order, order)
    async with plain(server, CLIENT, "alice") as alice:
        await alice.send("order", symbol="TSLA", timestamp="2025-01-20T10:30:00Z")
        assert (await alice.expect("ack"))["order"] == "alice buys TSLA"
        await alice.say('{"type": "order", "symbol": "TSLA"')
        assert (await alice.expect("error"))["code"] == "INVALID_MESSAGE"
        await alice.send("order")
        assert list((await alice.expect("error"))["details"]) == ["symbol"]


async def test_what_a_client_calls_itself_is_not_who_it_is(serve: Serve) -> None:
    server = await serve(**QUIET)
    async with plain(server, "/ws/trading/bobs-client", "mallory") as mallory:
        await subscribe(mallory, "general")
        await mallory.send("chat_message", message="I am Bob", user_id="bob")
        assert (await mallory.expect("error"))["code"] == "INVALID_MESSAGE"
        await mallory.send("chat_message", message="I am Bob")
        said = await mallory.expect("chat_message")
        assert (said["client_id"], said["user_id"]) == ("bobs-client", "mallory")


# -- 3: broadcasts ------------------------------------------------------------------------------------------------


async def test_subscribers_hear_the_rest_do_not(serve: Serve, connect: Connect) -> None:
    """Of both doors, and in one order."""
    server = await serve(**QUIET)
    publisher = await connect(server, "/trading", "market", roles=("publisher",))
    on_socketio = await connect(server, "/trading", "carol")
    await on_socketio.call("subscribe", {"channel": STOCKS})
    async with (
        plain(server, CLIENT, "alice") as alice,
        plain(server, "/ws/trading/2", "bob") as bob,
        plain(server, "/ws/trading/3", "dave") as dave,
    ):
        await subscribe(alice, STOCKS)
        await subscribe(bob, STOCKS)
        for number in range(5):
            await publisher.call("publish", {"channel": STOCKS, "type": "stock_update", "data": {"n": number}})
        await bob.send("unsubscribe", channel=STOCKS)
        await bob.expect("ack")
        await publisher.call("publish", {"channel": STOCKS, "type": "stock_update", "data": {"n": 5}})
        for client in (alice, bob, dave):
            await client.settle()
        await on_socketio.settle()
        heard = [each["data"]["n"] for each in on_socketio.payloads("stock_update")]
        assert heard == numbers(alice) == list(range(6))
        assert numbers(bob) == list(range(5))
        assert numbers(dave) == []
        assert [each["seq"] for each in alice.of("stock_update")] == list(range(1, 7))


async def test_one_user_on_two_devices(serve: Serve) -> None:
    server = await serve(**QUIET)
    async with (
        plain(server, CLIENT, "alice") as phone,
        plain(server, "/ws/trading/2", "alice") as desk,
        plain(server, "/ws/trading/3", "market", **PUBLISHER) as market,
    ):
        for device in (phone, desk):
            assert (await subscribe(device, "user:alice"))["success"]
        await market.send("publish", channel="user:alice", event="filled", data={"order": 1})
        for device in (phone, desk):
            assert (await device.expect("filled"))["data"] == {"order": 1}


# -- 4: two servers -----------------------------------------------------------------------------------------------


async def test_two_servers_and_a_redis_that_dies(serve: Serve) -> None:
    """Without it each serves its own."""
    async with RedisServer() as redis:
        here, there = [await serve(**QUIET, REDIS_URL=redis.url) for _ in range(2)]
        async with (
            plain(here, CLIENT, "alice", **PUBLISHER) as alice,
            plain(there, "/ws/trading/2", "bob") as bob,
            redis.client() as backend,
        ):
            for client in (alice, bob):
                await subscribe(client, STOCKS)
            await alice.send("publish", channel=STOCKS, event="stock_update", data={"n": 1})
            assert (await bob.expect("stock_update"))["data"] == {"n": 1}
            message = json.dumps({"type": "stock_update", "data": {"n": 2}})
            await backend.publish(f"atrium:{STOCKS}", message)
            for client in (alice, bob):
                await client.expect("stock_update", lambda said: said["data"] == {"n": 2})
            await redis.kill()
            await alice.send("publish", channel=STOCKS, event="stock_update", data={"n": 3})
            await alice.expect("stock_update", lambda said: said["data"] == {"n": 3})


# -- 5: bounds ----------------------------------------------------------------------------------------------------


async def test_a_full_server(serve: Serve) -> None:
    server = await serve(**QUIET, WS_MAX_CONNECTIONS=2)
    async with plain(server, CLIENT, "alice") as alice, plain(server, "/ws/trading/2", "bob") as bob:
        for client in (alice, bob):
            await client.expect("connected")
        async with plain(server, "/ws/trading/3", "carol") as carol:
            assert await carol.closed() == 1013
        assert carol.received[-1]["code"] == "SERVER_FULL"
        await alice.settle()


async def test_many_messages_to_many(serve: Serve) -> None:
    server = await serve(**QUIET)
    async with plain(server, "/ws/trading/market", "market", **PUBLISHER) as market:
        clients = [plain(server, f"/ws/trading/{number}", f"user-{number}") for number in range(10)]
        subscribers = [await each.__aenter__() for each in clients]
        for each in subscribers:
            await subscribe(each, STOCKS)
        for number in range(100):
            await market.send("publish", channel=STOCKS, event="stock_update", data={"n": number})
        for each in subscribers:
            await each.expect("stock_update", lambda said: said["data"]["n"] == 99)
            assert numbers(each) == list(range(100))
        for context in clients:
            await context.__aexit__(None, None, None)


async def test_who_does_not_answer_is_cleared_away(serve: Serve) -> None:
    """Control pings, which a library answers by itself: this one reads nothing any more."""
    quick = {"WS_PING_INTERVAL": 0.05, "WS_PONG_TIMEOUT": 0.3, "WS_MAX_MISSED_PONGS": 2}
    server = await serve(**QUIET, **quick)
    async with plain(server, "/ws/trading/2", "bob") as alive:
        async with plain(server, CLIENT, "alice") as silent:
            await silent.expect("connected")
            silent.socket.transport.pause_reading()
            await until(lambda: len(trading(server).connections) == 1)
            silent.socket.transport.resume_reading()
            assert await silent.closed() == 4003
        assert silent.received[-1]["code"] == "HEARTBEAT_LOST"
        await alive.settle()


async def subscribe(client: Plain, channel: str) -> dict[str, Any]:
    await client.send("subscribe", channel=channel)
    return await client.expect("subscription_result", lambda said: said["channel"] == channel)


def numbers(client: Plain) -> list[int]:
    return [each["data"]["n"] for each in client.of("stock_update")]


def trading(server: Running) -> TradingNamespace:
    return cast(TradingNamespace, server.realtime._served["/trading"])
