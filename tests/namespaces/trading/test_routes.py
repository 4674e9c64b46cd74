"""Publishing by HTTP, beside stock Socket.IO clients that hear it. What may be seen there is in test_statistics.py."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.conftest import Connect, Serve
from tests.support.client import Client
from tests.support.rest import Rest
from tests.support.running import Running

ALERTS = "/api/channels/alerts/messages"


@pytest.fixture
def feed(server: Running) -> Rest:
    return Rest(server.url, "feed", roles=("publisher",))


@pytest.fixture
async def alice(server: Running, connect: Connect) -> Client:
    client = await connect(server, "/trading", "alice")
    await client.call("subscribe", {"channel": "alerts"})
    return client


def url(channel: str) -> str:
    return f"/api/channels/{quote(channel, safe='')}/messages"


async def keyed(user: Rest, body: Any, key: str, path: str = ALERTS) -> Any:
    return await user.call("POST", path, json=body, headers={"Idempotency-Key": key})


async def heard(client: Client, event: str = "message") -> list[Any]:
    await client.settle()
    return [each["data"] for each in client.payloads(event)]


# -- what is refused ----------------------------------------------------------------------------------------------


async def test_who_may_not_publish_learns_nothing(server: Running, alice: Client) -> None:
    for channel in ("alerts", "user:alice", "user:nobody", "group:desk-1", "ticks:A", "nowhere"):
        for body in ({"data": 1}, {"messages": [{"data": 1}]}):
            assert (await Rest(server.url).post(url(channel), body)).error == (403, "FORBIDDEN"), channel
    async with aiohttp.ClientSession() as http, http.post(server.url + ALERTS, json={"data": 1}) as response:
        assert response.status == 401
    assert await heard(alice) == []


async def test_names_that_no_channel_has(feed: Rest) -> None:
    for name in ("a\nb", "a\0b", " a", "x" * 101, "x" * 5000, "ticks:*", "user:*", "\u202e"):
        for path in (url(name), f"/api/users/{quote(name, safe='')}/messages"):
            assert (await feed.post(path, {"data": 1})).error == (422, "INVALID_MESSAGE"), path
    async with feed.request("POST", url("x" * 10_000), json={"data": 1}) as response:
        assert response.status == 400  # no server reads on that far


BAD_BODIES = (
    b'{"data": NaN}', b'{"data": {"price": -Infinity}}', b'{"data": 1e999}', b'{"data": "\\ud800"}', b'{"data": 1',
    b"[]", b"5", b"{}", b'{"data": ' + b"[" * 40 + b"]" * 40 + b"}", b'{"data": 1, "type": "error"}',
    b'{"messages": []}', b'{"messages": [' + b",".join([b'{"data":1}'] * 1001) + b"]}",
    b'{"messages": [{"data": 1}, {"data": NaN}]}',
)  # fmt: skip


async def test_bodies_that_are_refused(feed: Rest, alice: Client) -> None:
    for body in BAD_BODIES:
        reply = await feed.call("POST", ALERTS, data=body, headers={"Content-Type": "application/json"})
        assert reply.error == (422, "INVALID_MESSAGE"), body
    assert await heard(alice) == []


async def test_too_much_at_once(serve: Serve) -> None:
    server = await serve(TRADING_FEED="none", WS_MESSAGE_SIZE_LIMIT_TRADING=1000)
    feed = Rest(server.url, "feed", roles=("publisher",))
    assert (await feed.post(ALERTS, {"data": "x" * 1000})).error == (413, "MESSAGE_TOO_BIG")
    assert (await keyed(feed, {"data": 1}, "k" * 101)).error == (422, "INVALID_MESSAGE")


async def test_no_room_for_another_channel_is_said_of_each(serve: Serve, connect: Connect) -> None:
    server = await serve(TRADING_FEED="none", TRADING_MAX_CHANNELS=100, WS_MAX_ROOMS=200)
    feed = Rest(server.url, "feed", roles=("publisher",))
    alice = await connect(server, "/trading", "alice")
    for number in range(100):
        await alice.call("subscribe", {"channel": f"chat:{number}"})
    assert (await feed.post(ALERTS, {"data": 1})).error == (429, "LIMIT_EXCEEDED")
    results = (await feed.post(ALERTS, {"messages": [{"data": 1}]})).body["results"]
    assert [(each["status"], each["error"]["code"]) for each in results] == [(429, "LIMIT_EXCEEDED")]


# -- one message --------------------------------------------------------------------------------------------------


async def test_one_message_reaches_the_subscribers(feed: Rest, alice: Client) -> None:
    reply = await feed.post(ALERTS, {"type": "price_alert", "data": {"price": 72_000}})
    assert reply.status == 201
    assert reply.body == {"seq": 1, "epoch": reply.body["epoch"], "subscribers": 1}
    said = await alice.expect("price_alert")
    assert said == {"channel": "alerts", "seq": 1, "timestamp": said["timestamp"], "data": {"price": 72_000}}


async def test_a_key_is_one_for_socket_and_http(server: Running, connect: Connect, feed: Rest, alice: Client) -> None:
    first = await keyed(feed, {"data": 1}, "k1")
    assert first.status == 201
    assert (await keyed(feed, {"data": 2}, "k1")).body == first.body
    assert (await feed.post(ALERTS, {"data": 3, "idempotency_key": "k1"})).body == first.body
    socket = await connect(server, "/trading", "feed", roles=("publisher",))
    ack = await socket.call("publish", {"channel": "alerts", "data": 4, "idempotency_key": "k1"})
    assert ack == {"ok": True, **first.body}
    other = Rest(server.url, "other", roles=("publisher",))
    assert (await keyed(other, {"data": 5}, "k1")).body["seq"] == 2
    assert await heard(alice) == [1, 5]


@pytest.mark.parametrize("channel", ["chat:삼성전자 뉴스", "chat:a/b%2Fc", "user:a/b", "chat:a?b#c"])
async def test_names_are_percent_encoded(server: Running, connect: Connect, feed: Rest, channel: str) -> None:
    reader = await connect(server, "/trading", "a/b")
    await reader.call("subscribe", {"channel": channel})
    assert (await feed.post(url(channel), {"data": "안녕"})).body["subscribers"] == 1
    assert (await reader.expect("message"))["channel"] == channel


async def test_a_users_message_reaches_all_their_connections_in_their_tenant(
    server: Running, connect: Connect, feed: Rest
) -> None:
    path = f"/api/users/{quote('a/b', safe='')}/messages"
    first, second = await connect(server, "/trading", "a/b"), await connect(server, "/trading", "a/b")
    namesake = await connect(server, "/trading", "a/b", tenant="acme")
    assert (await feed.post(path, {"data": 1})).body["subscribers"] == 2
    assert (await feed.post(path, {"messages": [{"data": 2}, {"data": 3}]})).status == 207
    assert [await heard(each) for each in (first, second, namesake)] == [[1, 2, 3], [1, 2, 3], []]
    assert (await Rest(server.url, "a/b").post(path, {"data": 1})).error == (403, "FORBIDDEN")


# -- a batch ------------------------------------------------------------------------------------------------------


async def test_one_bad_message_does_not_stop_the_others(feed: Rest, alice: Client) -> None:
    messages = [{"data": 1}, {"type": "ping", "data": 2}, None, {}, {"data": 3, "more": 1}, {"data": 4, "type": "tick"}]
    reply = await feed.post(ALERTS, {"messages": messages})
    assert reply.status == 207
    results = reply.body["results"]
    assert [each["status"] for each in results] == [201, 422, 422, 422, 422, 201]
    assert results[0] == {"status": 201, "seq": 1, "epoch": results[5]["epoch"], "subscribers": 1}
    assert [list(each["error"].get("details", ())) for each in results[1:5]] == [["type"], [], ["data"], ["more"]]
    assert {each["error"]["code"] for each in results[1:5]} == {"INVALID_MESSAGE"}
    assert await heard(alice) == [1]
    assert await heard(alice, "tick") == [4]


async def test_a_batch_sent_again_is_published_once(feed: Rest, alice: Client) -> None:
    batch = {"messages": [{"data": 0}, {"data": 1, "idempotency_key": "own"}, {"data": 2}]}
    first = await keyed(feed, batch, "b1")
    again = await asyncio.gather(*(keyed(feed, batch, "b1") for _ in range(3)))
    assert {str(each.body) for each in again} == {str(first.body)}
    assert (await keyed(feed, {"data": 1}, "own")).body["seq"] == 2
    assert await heard(alice) == [0, 1, 2]


async def test_a_thousand_messages_stay_in_order(feed: Rest, alice: Client) -> None:
    reply = await feed.post(ALERTS, {"messages": [{"data": number} for number in range(1000)]})
    assert [each["seq"] for each in reply.body["results"]] == list(range(1, 1001))
    assert await heard(alice) == list(range(1000))
