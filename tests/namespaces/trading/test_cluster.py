"""What two nodes do while Redis goes and comes; what they do with it is in `test_broker.py`."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from server.namespaces.trading import cluster
from server.namespaces.trading.cluster import ClusterBroker
from server.realtime.cluster import commands, node
from tests.conftest import Connect, Serve
from tests.support.client import Client
from tests.support.managers import node_of, until_up
from tests.support.proxy import Proxy
from tests.support.raw import RawSocket, raw_socket
from tests.support.recovering import auth, raw_connect
from tests.support.redis import RedisServer
from tests.support.running import Running


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried at each pulse is tried soon, and nobody waits for long."""
    monkeypatch.setattr(node, "PULSE_SECONDS", 0.1)
    monkeypatch.setattr(node, "STALLED_SECONDS", 0.2)


@pytest_asyncio.fixture
async def nodes(redis: RedisServer, serve: Serve) -> list[Running]:
    options = {"TRADING_FEED": "none", "REDIS_URL": redis.url, "REDIS_CHANNEL_PREFIX": secrets.token_hex(4)}
    found = [await serve(**options) for _ in range(2)]
    await is_up(found)
    return found


@pytest_asyncio.fixture
async def publishers(nodes: list[Running], connect: Connect) -> list[Client]:
    return [await connect(node, "/trading", "feed", roles=("publisher",)) for node in nodes]


@pytest_asyncio.fixture
async def readers(nodes: list[Running], connect: Connect) -> list[Client]:
    found = [await connect(node, "/trading", "reader") for node in nodes]
    for reader in found:
        await subscribe(reader, "stock_updates")
    return found


async def subscribe(client: Client, channel: str, **options: Any) -> Any:
    ack = await client.call("subscribe", {"channel": channel, **options})
    assert ack["ok"], ack
    return ack


async def say(client: Client, data: Any, channel: str = "stock_updates", **options: Any) -> Any:
    ack = await client.call("publish", {"channel": channel, "data": data, **options})
    assert ack["ok"], ack
    return ack


def data(client: Client) -> list[Any]:
    return [payload["data"] for payload in client.payloads("message")]


async def is_up(nodes: list[Running], *, up: bool = True) -> None:
    await until_up(*map(node_of, nodes), up=up)


def broker(node: Running) -> ClusterBroker:
    found: ClusterBroker = node.realtime._served["/trading"]._cluster  # type: ignore[attr-defined]
    return found


async def test_without_redis_a_node_serves_its_own_and_others_hear_it_later(
    redis: RedisServer, nodes: list[Running], publishers: list[Client], readers: list[Client]
) -> None:
    before = await say(publishers[0], "before")
    for reader in readers:
        await reader.expect("message")
    await redis.kill()
    await is_up(nodes, up=False)
    during = [await say(publishers[0], f"during {number}") for number in range(3)]
    assert [each["seq"] - during[0]["seq"] for each in during] == [0, 1, 2]
    assert during[0]["seq"] > before["seq"] + 1, "a gap shows"
    assert during[0]["epoch"] != before["epoch"]
    await readers[0].expect("message", lambda payload: payload["data"] == "during 2")
    known = {"epoch": before["epoch"], "seq": before["seq"]}
    ack = await subscribe(readers[0], "stock_updates", since=known)
    assert (ack["recovered"], ack["epoch"]) == (False, during[0]["epoch"])
    assert [each["data"] for each in ack["snapshot"]] == ["during 0", "during 1", "during 2"]
    assert data(readers[1]) == ["before"]
    await redis.start()
    await readers[1].expect("message", lambda payload: payload["data"] == "during 2")
    after = await say(publishers[1], "after")
    assert after["epoch"] not in (before["epoch"], during[0]["epoch"])
    assert after["seq"] > during[2]["seq"] + 1, "a gap shows to those who heard the others without Redis"
    for reader in readers:
        await reader.expect("message", lambda payload: payload["data"] == "after")
        assert data(reader) == ["before", "during 0", "during 1", "during 2", "after"]
        ack = await subscribe(reader, "stock_updates", since=known)
        assert (ack["recovered"], ack["epoch"], ack["seq"]) == (False, after["epoch"], after["seq"])
        assert [each["data"] for each in ack["snapshot"]] == ["before", "during 0", "during 1", "during 2", "after"]
    seqs = [payload["seq"] for payload in readers[1].payloads("message")]
    assert seqs == sorted(set(seqs))


async def test_what_is_said_while_redis_dies_is_heard_once_everywhere(
    redis: RedisServer, nodes: list[Running], publishers: list[Client], readers: list[Client]
) -> None:
    saying = [
        asyncio.create_task(say(publisher, f"{place}:{number}"))
        for number in range(200)
        for place, publisher in enumerate(publishers)
    ]
    await readers[0].expect("message", lambda payload: payload["data"].endswith(":50"))
    await redis.kill()
    await asyncio.gather(*saying)
    await redis.start()
    await is_up(nodes)
    expected = sorted([f"{place}:{number}" for number in range(200) for place in range(2)])
    for publisher in publishers:
        await say(publisher, "last")
    for reader in readers:
        for _ in publishers:
            await reader.expect("message", lambda payload: payload["data"] == "last")
        assert sorted(each for each in data(reader) if each != "last") == expected
        for place in range(2):
            own = [each for each in data(reader) if each.startswith(f"{place}:")]
            assert own == [f"{place}:{number}" for number in range(200)]


async def test_a_silent_redis_keeps_nobody_waiting_for_long(
    redis: RedisServer, nodes: list[Running], publishers: list[Client], readers: list[Client]
) -> None:
    redis.pause()
    try:
        assert (await say(publishers[0], "first"))["subscribers"] == 1
        await readers[0].expect("message")
        await say(publishers[0], {"symbol": "A"}, "ticks:A")
        await subscribe(readers[0], "alerts")
    finally:
        redis.resume()
    await readers[1].expect("message", lambda payload: payload["data"] == "first")
    await is_up(nodes)
    await say(publishers[1], "second")
    for reader in readers:
        await reader.expect("message", lambda payload: payload["data"] == "second")
        assert data(reader) == ["first", "second"]


async def test_a_key_that_was_used_without_redis_counts_with_it(
    redis: RedisServer, nodes: list[Running], publishers: list[Client], readers: list[Client]
) -> None:
    with_redis = await say(publishers[0], "a", idempotency_key="a")
    for reader in readers:
        await reader.expect("message")
    await redis.kill()
    await is_up(nodes, up=False)
    assert await say(publishers[0], "a", idempotency_key="a") == with_redis
    without = await say(publishers[0], "b", idempotency_key="b")
    assert await say(publishers[0], "b", idempotency_key="b") == without
    await redis.start()
    await is_up(nodes)
    assert await say(publishers[0], "b", idempotency_key="b") == without
    await readers[1].expect("message", lambda payload: payload["data"] == "b")
    await say(publishers[1], "b", idempotency_key="b")
    await say(publishers[1], "c")
    for reader in readers:
        await reader.expect("message", lambda payload: payload["data"] == "c")
        assert data(reader) == ["a", "b", "c"]


async def test_without_redis_tenants_hear_market_data_and_not_each_other(
    redis: RedisServer, nodes: list[Running], publishers: list[Client], connect: Connect
) -> None:
    readers = [await connect(nodes[0], "/trading", "reader", tenant=tenant) for tenant in ("acme", "rival", None)]
    for reader in readers:
        await subscribe(reader, "stock_updates")
    inner = await connect(nodes[0], "/trading", "boss", roles=("publisher",), tenant="acme")
    await redis.kill()
    await is_up(nodes, up=False)
    assert (await say(publishers[0], "all"))["subscribers"] == 3
    assert (await say(inner, "ours"))["subscribers"] == 1
    await say(publishers[0], "end")
    for reader, expected in zip(readers, (["all", "ours", "end"], ["all", "end"], ["all", "end"]), strict=True):
        await reader.expect("message", lambda payload: payload["data"] == "end")
        assert data(reader) == expected


async def test_what_waits_for_redis_is_bounded(
    redis: RedisServer,
    nodes: list[Running],
    publishers: list[Client],
    readers: list[Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "MAX_WAITING", 5)
    await redis.kill()
    await is_up(nodes, up=False)
    for number in range(8):
        await say(publishers[0], number)
    assert broker(nodes[0]).counters["lost"] == 3
    await redis.start()
    await readers[1].expect("message", lambda payload: payload["data"] == 7)
    assert data(readers[1]) == [3, 4, 5, 6, 7]
    assert data(readers[0]) == list(range(8))


# -- what Redis does not take at once -------------------------------------------------------------------------------


async def test_what_cannot_be_sent_at_once_is_sent_later(
    brisk: None,
    nodes: list[Running],
    publishers: list[Client],
    readers: list[Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When too many commands wait for Redis already."""
    with monkeypatch.context() as full:
        full.setattr(commands, "MAX_WAITING", 0)
        for number in range(2):
            await say(publishers[0], number)
    await say(publishers[0], "last")
    await heard_once(nodes, readers, [*range(2), "last"])


async def test_what_is_said_while_redis_is_greeted_is_sent_later(
    redis: RedisServer, brisk: None, nodes: list[Running], publishers: list[Client], readers: list[Client]
) -> None:
    """What waited is on its way, and nothing else may go yet."""
    greeting, greeted = asyncio.Event(), asyncio.Event()

    async def greet() -> None:
        greeting.set()
        await greeted.wait()

    await redis.kill()
    await is_up(nodes, up=False)
    await say(publishers[0], "before")
    node_of(nodes[0]).returns.append(greet)
    await redis.start()
    await greeting.wait()
    for number in range(5):
        await say(publishers[0], number)
    greeted.set()
    await is_up(nodes)
    await say(publishers[0], "after")
    await heard_once(nodes, readers, ["before", *range(5), "after"])


async def test_what_a_full_redis_refuses_is_sent_when_it_has_room(
    redis: RedisServer, brisk: None, nodes: list[Running], publishers: list[Client], readers: list[Client]
) -> None:
    async with redis.client() as client:
        await client.config_set("maxmemory", 1)
        await asyncio.gather(*(say(publishers[0], number) for number in range(5)))
        await client.config_set("maxmemory", 0)
    await say(publishers[0], "last")
    await heard_once(nodes, readers, [*range(5), "last"])


async def heard_once(nodes: list[Running], readers: list[Client], expected: list[Any]) -> None:
    """By the clients of each node."""

    def is_last(payload: Any) -> bool:
        return bool(payload["data"] == expected[-1])

    for reader in readers:
        await reader.expect("message", is_last)
        assert data(reader) == expected
    assert not any(broker(node).counters["lost"] for node in nodes)


async def test_a_dead_nodes_subscribers_count_no_more(
    nodes: list[Running], publishers: list[Client], readers: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await say(publishers[0], 1))["subscribers"] == 2
    dead = broker(nodes[1])
    await dead._node.call("DEL", dead._reach._keys[1])  # as Redis does to what a dead node does not refresh
    assert (await say(publishers[0], 2))["subscribers"] == 1
    await dead._pulse()
    assert (await say(publishers[0], 3))["subscribers"] == 2


async def test_tenants_still_hear_the_market_from_a_redis_that_forgot(
    nodes: list[Running], publishers: list[Client], connect: Connect
) -> None:
    tenant = await connect(nodes[1], "/trading", "desk", tenant="acme")
    for channel in ("stock_updates", "ticks:*"):
        await subscribe(tenant, channel)
    there = broker(nodes[1])
    await there._node.call("FLUSHALL")
    await there._pulse()
    for channel in ("stock_updates", "ticks:A"):
        await say(publishers[0], {"symbol": "A"}, channel)
        await tenant.expect("message", lambda payload, channel=channel: payload["channel"] == channel)


async def test_who_comes_back_on_another_node_missed_nothing(nodes: list[Running], publishers: list[Client]) -> None:
    """A message's number and its offset come of one step."""
    async with raw_socket(nodes[0].url) as first:
        pid = (await raw_connect(first, "/trading"))["pid"]
        await first.send('42/trading,1["subscribe",{"channel":"stock_updates"}]')
        await first.expect("43/trading,1")
        seen = []
        for number in range(6):
            await say(publishers[number % 2], number)
            seen.append(await _message(first))
        offset = seen[3][2]  # the last two never reached it
    for number in range(6, 10):
        await say(publishers[number % 2], number)
    async with raw_socket(nodes[1].url) as second:
        await second.send(f"40/trading,{json.dumps(auth(pid=pid, offset=offset))}")
        missed = [await _message(second) for _ in range(6)]
        assert json.loads((await second.expect("40/trading,")).partition(",")[2])["pid"] == pid
        await say(publishers[0], 10)
        told = [*seen[:4], *missed, await _message(second)]
    assert [(payload["seq"], payload["data"]) for _, payload, _ in told] == [(n + 1, n) for n in range(11)]


async def _message(client: RawSocket) -> Any:
    """Event, payload and offset."""
    return json.loads((await client.expect('42/trading,["message"')).partition(",")[2])


async def test_a_node_that_was_cut_off_amid_it_hears_all_once_and_is_heard_once(
    redis: RedisServer, serve: Serve, connect: Connect
) -> None:
    """Redis knows what it knew: what had no answer may have been numbered, and is not numbered again."""
    options = {"TRADING_FEED": "none", "REDIS_CHANNEL_PREFIX": secrets.token_hex(4)}
    proxy = await Proxy.start("127.0.0.1", redis.port)
    nodes = [await serve(**options, REDIS_URL=url) for url in (redis.url_on(proxy.port), redis.url)]
    await is_up(nodes)
    publishers = [await connect(node, "/trading", "feed", roles=("publisher",)) for node in nodes for _ in range(5)]
    readers = [await connect(node, "/trading", "reader") for node in nodes]
    for reader in readers:
        await subscribe(reader, "stock_updates")
    proxy.delay(0.02)  # so that commands and answers are under way when it is cut
    for turn in range(3):
        saying = [
            asyncio.create_task(say(publisher, f"{place}:{turn}:{number}"))
            for number in range(6)
            for place, publisher in enumerate(publishers)
        ]
        await readers[0].expect("message", lambda payload, turn=turn: payload["data"] == f"{turn}:{turn}:1")
        await proxy.cut()
        await asyncio.gather(*saying)
        await is_up(nodes)
    for publisher in (publishers[0], publishers[-1]):
        await say(publisher, "last")
    for reader in readers:
        for _ in range(2):
            await reader.expect("message", lambda payload: payload["data"] == "last")
        for place in range(len(publishers)):
            own = [each for each in data(reader) if each.startswith(f"{place}:")]
            assert own == [f"{place}:{turn}:{number}" for turn in range(3) for number in range(6)]
    kept = (await subscribe(readers[1], "stock_updates"))["snapshot"]
    assert len(kept) == 182
    assert len({each["data"] for each in kept}) == 181, "nothing was numbered twice"
    await proxy.close()
