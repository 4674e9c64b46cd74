from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from socketio.exceptions import ConnectionError as ConnectionRefused

from server.namespaces.trading.feeds import SAMPLE, replay
from server.timestamps import iso_utc
from tests.conftest import Connect, Serve
from tests.support import running
from tests.support.client import Client
from tests.support.redis import RedisServer
from tests.support.running import Running


def failure(ack: Any) -> str:
    assert ack["ok"] is False, ack
    return str(ack["error"]["code"])


def seqs(client: Client, event: str) -> list[int]:
    return [payload["seq"] for payload in client.payloads(event)]


# -- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [{}, {"channel": ""}, {"channel": None}])
async def test_no_channel_is_answered_as_in_the_seed(server: Running, connect: Connect, payload: Any) -> None:
    alice = await connect(server, "/trading", "alice")
    for event, word in (("subscribe", "subscription"), ("unsubscribe", "unsubscription")):
        error = (await alice.call(event, payload))["error"]
        assert (error["code"], error["message"]) == ("INVALID_MESSAGE", f"Channel name required for {word}")


async def test_without_an_ack_the_seeds_message_comes_as_an_error(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/trading", "alice")
    await alice.emit("subscribe", {})
    assert (await alice.expect("error"))["message"] == "Channel name required for subscription"


REFUSED: tuple[tuple[str, Any, str], ...] = (
    ("subscribe", {"channel": "test_channel"}, "FORBIDDEN"),
    ("subscribe", {"channel": "x" * 10_000}, "INVALID_MESSAGE"),
    ("subscribe", {"channel": "general\n"}, "INVALID_MESSAGE"),
    ("subscribe", {"channel": "chat:\u0000"}, "INVALID_MESSAGE"),
    ("subscribe", {"channel": "*"}, "INVALID_MESSAGE"),
    ("subscribe", {"channel": "ticks:0*"}, "INVALID_MESSAGE"),
    ("subscribe", {"channel": "chat:*"}, "INVALID_MESSAGE"),
    ("subscribe", {"channel": "user:*"}, "INVALID_MESSAGE"),
    ("subscribe", {"channel": "nowhere:*"}, "INVALID_MESSAGE"),
    ("publish", {"channel": "ticks:*", "data": 1}, "INVALID_MESSAGE"),
    ("presence", {"channel": "ticks:*"}, "INVALID_MESSAGE"),
    ("stats", {}, "FORBIDDEN"),
    ("channel_info", {"channel": "user:bob"}, "FORBIDDEN"),
    ("channel_info", {"channel": "nowhere"}, "FORBIDDEN"),
    ("channel_info", {"channel": "ticks:*"}, "INVALID_MESSAGE"),
    ("client_info", {"client_id": "somebody"}, "FORBIDDEN"),
    ("subscribe", {"channel": 5}, "INVALID_MESSAGE"),
    ("subscribe", {"channel": "user:bob"}, "FORBIDDEN"),
    ("subscribe", {"channel": "user:Alice"}, "FORBIDDEN"),
    ("subscribe", {"channel": "group:desk-1"}, "FORBIDDEN"),
    ("subscribe", {"channel": "general", "since": {"epoch": "e"}}, "INVALID_MESSAGE"),
    ("subscribe", {"channel": "general", "sinse": 1}, "INVALID_MESSAGE"),
    ("unsubscribe", {"channel": "x" * 10_000}, "INVALID_MESSAGE"),
    ("publish", {"channel": "stock_updates", "data": 1}, "FORBIDDEN"),
    ("publish", {"channel": "user:alice", "data": 1}, "FORBIDDEN"),
    ("publish", {"channel": "general", "data": 1}, "FORBIDDEN"),
    ("publish", {"channel": "nowhere", "data": 1}, "FORBIDDEN"),
    ("publish", {"channel": "stock_updates"}, "INVALID_MESSAGE"),
    ("publish", {"channel": "stock_updates", "type": "disconnect", "data": 1}, "INVALID_MESSAGE"),
    ("chat_message", {"channel": "stock_updates", "message": "hi"}, "FORBIDDEN"),
    ("chat_message", {"channel": "user:alice", "message": "hi"}, "FORBIDDEN"),
    ("chat_message", {"channel": "general", "message": ""}, "INVALID_MESSAGE"),
    ("chat_message", {"channel": "general", "message": "x" * 4001}, "INVALID_MESSAGE"),
)


async def test_what_is_refused(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/trading", "alice")
    for event, payload, code in REFUSED:
        assert failure(await alice.call(event, payload)) == code, (event, payload)
    assert (await alice.call("ping"))["ok"] is True


async def test_a_token_is_needed(server: Running) -> None:
    nobody = Client("/trading")
    with pytest.raises(ConnectionRefused):
        await nobody.connect(server.url)
    assert (await nobody.expect("connect_error"))["data"]["code"] == "TOKEN_MISSING"
    await nobody.close()


# -- channels -----------------------------------------------------------------------------------------------------


async def test_subscribers_get_the_same_numbers_without_gaps(
    server: Running, connect: Connect, publisher: Client
) -> None:
    second = await connect(server, "/trading", "feed2", roles=("publisher",))
    readers = [await connect(server, "/trading", name) for name in ("alice", "bob")]
    for reader in readers:
        ack = await reader.call("subscribe", {"channel": "stock_updates"})
        assert ack == {
            "ok": True,
            "channel": "stock_updates",
            "success": True,
            "seq": 0,
            "epoch": ack["epoch"],
            "snapshot": [],
        }
    acks = await asyncio.gather(
        *(
            each.call("publish", {"channel": "stock_updates", "type": "quote", "data": {"n": number}})
            for number in range(25)
            for each in (publisher, second)
        )
    )
    assert sorted(ack["seq"] for ack in acks) == list(range(1, 51))
    assert {ack["subscribers"] for ack in acks} == {2}
    assert {ack["epoch"] for ack in acks} == {ack["epoch"]}
    for reader in readers:
        await reader.settle()
        assert seqs(reader, "quote") == list(range(1, 51))
    assert readers[0].payloads("quote") == readers[1].payloads("quote")
    payload = readers[0].payloads("quote")[0]
    assert set(payload) == {"channel", "seq", "timestamp", "data"}
    assert payload["channel"] == "stock_updates"
    assert payload["data"]["n"] in range(25)


async def test_data_stays_under_data(server: Running, connect: Connect, publisher: Client) -> None:
    alice = await connect(server, "/trading", "alice")
    await alice.call("subscribe", {"channel": "alerts"})
    for data in ({"seq": 99, "channel": "general"}, None, [1, 2], "text", 5):
        await publisher.call("publish", {"channel": "alerts", "data": data})
        payload = await alice.expect("message")
        assert payload["data"] == data
        assert payload["channel"] == "alerts"
    assert seqs(alice, "message") == [1, 2, 3, 4, 5]


async def test_after_unsubscribing_nothing_comes(server: Running, connect: Connect, publisher: Client) -> None:
    alice = await connect(server, "/trading", "alice")
    assert (await alice.call("unsubscribe", {"channel": "alerts"}))["success"] is False
    assert (await alice.call("unsubscribe", {"channel": "nowhere"}))["success"] is False
    for _ in range(2):
        assert (await alice.call("subscribe", {"channel": "alerts"}))["success"] is True
    await publisher.call("publish", {"channel": "alerts", "data": 1})
    assert await alice.call("unsubscribe", {"channel": "alerts"}) == {"ok": True, "channel": "alerts", "success": True}
    assert (await publisher.call("publish", {"channel": "alerts", "data": 2}))["subscribers"] == 0
    await alice.settle()
    assert [payload["data"] for payload in alice.payloads("message")] == [1]


async def test_one_who_left_is_no_subscriber(server: Running, connect: Connect, publisher: Client) -> None:
    alice = await connect(server, "/trading", "alice")
    await alice.call("subscribe", {"channel": "alerts"})
    await alice.close()
    async with asyncio.timeout(10):
        while (await publisher.call("publish", {"channel": "alerts", "data": 1}))["subscribers"]:
            pass


async def test_a_late_joiner_has_the_snapshot_and_one_who_was_away_what_was_missed(
    server: Running, connect: Connect, publisher: Client
) -> None:
    alice = await connect(server, "/trading", "alice")
    before = await alice.call("subscribe", {"channel": "stock_updates"})
    await publisher.call("publish", {"channel": "stock_updates", "data": 1})
    await alice.expect("message")
    await alice.close()
    for number in (2, 3):
        await publisher.call("publish", {"channel": "stock_updates", "type": "quote", "data": number})
    back = await connect(server, "/trading", "alice")
    epoch = before["epoch"]
    ack = await back.call("subscribe", {"channel": "stock_updates", "since": {"epoch": epoch, "seq": 1}})
    assert (ack["recovered"], ack["seq"], ack["epoch"]) == (True, 3, epoch)
    assert "snapshot" not in ack
    assert [(each["type"], each["seq"], each["data"]) for each in ack["messages"]] == [("quote", 2, 2), ("quote", 3, 3)]
    assert set(ack["messages"][0]) == {"type", "channel", "seq", "timestamp", "data"}
    late = await connect(server, "/trading", "bob")
    for since in ({"epoch": "another", "seq": 1}, {"epoch": epoch, "seq": 4}):
        ack = await late.call("subscribe", {"channel": "stock_updates", "since": since})
        assert ack["recovered"] is False
        assert "messages" not in ack
        assert [each["data"] for each in ack["snapshot"]] == [1, 2, 3]
    for _ in range(200):
        await publisher.call("publish", {"channel": "stock_updates", "data": 0})
    ack = await back.call("subscribe", {"channel": "stock_updates", "since": {"epoch": epoch, "seq": 2}})
    assert (ack["recovered"], len(ack["snapshot"])) == (False, 200)
    ack = await back.call("subscribe", {"channel": "stock_updates", "since": {"epoch": epoch, "seq": 3}})
    assert (ack["recovered"], len(ack["messages"])) == (True, 200)


async def test_the_same_key_again_gives_the_first_ack_and_no_second_message(
    server: Running, connect: Connect, publisher: Client
) -> None:
    alice = await connect(server, "/trading", "alice")
    await alice.call("subscribe", {"channel": "alerts"})
    payload = {"channel": "alerts", "data": 1, "idempotency_key": "k1"}
    first = await publisher.call("publish", payload)
    again = await connect(server, "/trading", "feed", roles=("publisher",))
    assert await again.call("publish", {**payload, "data": 2}) == first
    other = await connect(server, "/trading", "other", roles=("publisher",))
    assert (await other.call("publish", payload))["seq"] == 2
    await alice.settle()
    assert seqs(alice, "message") == [1, 2]


# -- people -------------------------------------------------------------------------------------------------------


async def test_a_chat_message_reaches_the_subscribers(server: Running, connect: Connect) -> None:
    alice, bob, carol = [await connect(server, "/trading", name) for name in ("alice", "bob", "carol")]
    await bob.call("subscribe", {"channel": "general"})
    ack = await alice.call("chat_message", {"message": "테슬라 주식 분석 요청"})
    assert (ack["ok"], ack["seq"], ack["remaining"]) == (True, 1, 59)
    said = await bob.expect("chat_message")
    assert said == {
        "client_id": alice.sio.get_sid("/trading"),
        "user_id": "alice",
        "message": "테슬라 주식 분석 요청",
        "channel": "general",
        "timestamp": said["timestamp"],
        "seq": 1,
    }
    await bob.call("chat_message", {"channel": "chat:lobby", "message": "elsewhere"})
    await carol.settle()
    await bob.settle()
    assert carol.payloads("chat_message") == []
    assert len(bob.payloads("chat_message")) == 1
    ack = await carol.call("subscribe", {"channel": "chat:lobby"})
    assert [(each["type"], each["message"], each["user_id"]) for each in ack["snapshot"]] == [
        ("chat_message", "elsewhere", "bob")
    ]


async def test_chat_messages_count_under_the_rate_of_messages(serve: Serve, connect: Connect) -> None:
    server = await serve(TRADING_FEED="none", RATE_LIMIT_MESSAGES_PER_MINUTE=2)
    alice = await connect(server, "/trading", "alice")
    codes = [(await alice.call("chat_message", {"message": "hi"})).get("error", {}).get("code") for _ in range(3)]
    assert codes == [None, None, "RATE_LIMITED"]


async def test_a_users_message_reaches_each_connection_of_that_user_once(
    server: Running, connect: Connect, publisher: Client
) -> None:
    first, second = await connect(server, "/trading", "alice"), await connect(server, "/trading", "alice")
    bob = await connect(server, "/trading", "bob")
    namesake = await connect(server, "/trading", "alice", tenant="acme")
    await first.call("subscribe", {"channel": "user:alice"})
    for number in (1, 2):
        ack = await publisher.call("publish", {"channel": "user:alice", "type": "order_filled", "data": number})
        assert (ack["seq"], ack["subscribers"]) == (number, 2)
    await first.call("unsubscribe", {"channel": "user:alice"})
    await publisher.call("publish", {"channel": "user:alice", "type": "order_filled", "data": 3})
    for each, heard in ((first, [1, 2, 3]), (second, [1, 2, 3]), (bob, []), (namesake, [])):
        await each.settle()
        assert seqs(each, "order_filled") == heard
    assert len((await second.call("subscribe", {"channel": "user:alice"}))["snapshot"]) == 3


async def test_another_tenant_hears_nothing(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/trading", "alice", tenant="acme")
    inside = await connect(server, "/trading", "feed", roles=("publisher",), tenant="acme")
    others = [await connect(server, "/trading", "alice", tenant="rival"), await connect(server, "/trading", "alice")]
    for each in (alice, *others):
        for channel in ("general", "stock_updates", "user:alice"):
            await each.call("subscribe", {"channel": channel})
    await alice.call("chat_message", {"message": "inside"})
    for channel in ("stock_updates", "user:alice"):
        assert (await inside.call("publish", {"channel": channel, "data": 1}))["subscribers"] == 1
    await alice.settle()
    assert len(alice.payloads("message")) == 2
    assert len(alice.payloads("chat_message")) == 1
    for each in others:
        await each.settle()
        assert each.payloads("message") + each.payloads("chat_message") == []
        for channel in ("general", "stock_updates", "user:alice"):
            assert (await each.call("subscribe", {"channel": channel}))["seq"] == 0


async def test_a_group_is_for_those_with_its_role(server: Running, connect: Connect, publisher: Client) -> None:
    carol = await connect(server, "/trading", "carol", roles=("group:desk-1",))
    dave = await connect(server, "/trading", "dave", roles=("group:desk-1",))
    await dave.expect("connected")
    await carol.call("subscribe", {"channel": "group:desk-1"})
    assert failure(await carol.call("subscribe", {"channel": "group:desk-2"})) == "FORBIDDEN"
    for each in (dave, publisher):
        assert (await each.call("publish", {"channel": "group:desk-1", "data": 1}))["subscribers"] == 2
    ack = await carol.call("authenticate", {"token": running.token("carol")})
    assert (ack["ok"], ack["unsubscribed"]) == (True, ["group:desk-1"])
    assert (await dave.call("publish", {"channel": "group:desk-1", "data": 1}))["subscribers"] == 1
    ack = await carol.call("authenticate", {"token": running.token("carol", roles=("group:desk-1",))})
    assert "unsubscribed" not in ack
    await publisher.call("publish", {"channel": "group:desk-1", "data": 1})
    for each, heard in ((carol, [1, 2, 4]), (dave, [1, 2, 3, 4]), (publisher, [])):
        await each.settle()
        assert seqs(each, "message") == heard


async def test_a_connection_is_in_so_many_channels_and_no_more(serve: Serve, connect: Connect) -> None:
    server = await serve(TRADING_FEED="none", WS_MAX_ROOMS=5)
    alice = await connect(server, "/trading", "alice")
    acks = [await alice.call("subscribe", {"channel": f"chat:{number}"}) for number in range(5)]
    assert [ack["ok"] for ack in acks] == [True, True, True, False, False]
    assert failure(acks[-1]) == "LIMIT_EXCEEDED"
    await alice.call("unsubscribe", {"channel": "chat:0"})
    assert (await alice.call("subscribe", {"channel": "chat:4"}))["ok"] is True


# -- the feed -----------------------------------------------------------------------------------------------------


async def test_ticks_arrive_in_order_and_every_tenant_sees_the_market(serve: Serve, connect: Connect) -> None:
    server = await serve(TRADING_FEED_SPEED=50)
    alice = await connect(server, "/trading", "alice")
    bob = await connect(server, "/trading", "bob", tenant="acme")
    for each in (alice, bob):
        await each.call("subscribe", {"channel": "stock_updates"})
        start = (await each.call("subscribe", {"channel": "ticks:005930"}))["seq"]
        ticks = [await each.expect("tick") for _ in range(20)]
        assert [tick["seq"] for tick in ticks] == list(range(start + 1, start + 21))
        for tick in ticks:
            assert tick["channel"] == "ticks:005930"
            assert set(tick["data"]) == {"symbol", "name", "price", "change", "volume", "time"}
            assert (tick["data"]["symbol"], tick["data"]["name"]) == ("005930", "삼성전자")
        update = await each.expect("stock_update")
        assert update["channel"] == "stock_updates"
        assert {"symbol", "price", "change"} == set(update["data"]["stocks"][0])
    late = await connect(server, "/trading", "carol")
    ack = await late.call("subscribe", {"channel": "ticks:005930"})
    assert [(each["type"], each["seq"]) for each in ack["snapshot"]] == [("tick", ack["seq"])]


async def test_one_of_two_nodes_plays_the_feed_and_the_other_goes_on_with_it(serve: Serve, connect: Connect) -> None:
    recorded = await asyncio.to_thread(replay.read, Path("config", SAMPLE))
    rows = [row for row in recorded if row.symbol == "005930"]
    async with RedisServer() as redis:
        servers = [await serve(REDIS_URL=redis.url, TRADING_FEED="replay", TRADING_FEED_SPEED=100) for _ in range(2)]
        alice, bob = [await connect(server, "/trading", "alice") for server in servers]
        for each in (alice, bob):
            await each.call("subscribe", {"channel": "ticks:005930"})
        for each in (alice, bob):
            ticks = [await each.expect("tick") for _ in range(len(rows))]
            played = iter(rows * 3)  # two players would show most of them twice
            assert all(any(_shows(tick, row) for row in played) for tick in ticks)
        await servers[0].realtime.stop()
        stopped = iso_utc()
        await bob.expect("tick", matching=lambda tick: tick["timestamp"] > stopped)
        await servers[1].realtime.stop()


def _shows(tick: Any, row: replay.Row) -> bool:
    data = tick["data"]
    return (data["price"], data["change"], data["volume"]) == (row.price, row.change, row.volume)
