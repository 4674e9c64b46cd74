"""One suite: a node by itself, and two nodes that share a Redis. Clients are spread over the nodes there are."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.identity import Identity
from server.namespaces.trading.catalogue import load
from server.namespaces.trading.channels import EVICTION_TRIES
from tests.conftest import Connect, Serve
from tests.support.client import Client
from tests.support.managers import node_of, until_up
from tests.support.redis import RedisServer
from tests.support.running import Running

EVERYTHING = load(Path("config/channels.toml")).visible(Identity("root", roles=frozenset({"admin"})))
Join = Callable[..., Awaitable[Client]]


@pytest.fixture
def rate() -> float | None:
    """Of ticks, a second and symbol."""
    return None


@pytest.fixture
def config(rate: float | None, tmp_path: Path) -> str:
    if rate is None:
        return "config"
    shutil.copytree("config", tmp_path / "config")
    channels = tmp_path / "config" / "channels.toml"
    channels.write_text(channels.read_text().replace('{ key = "symbol" }', f'{{ key = "symbol", rate = {rate} }}'))
    return str(tmp_path / "config")


@pytest_asyncio.fixture(params=["memory", "redis"])
async def nodes(request: pytest.FixtureRequest, serve: Serve, config: str) -> Any:
    options = {"TRADING_FEED": "none", "TRADING_MAX_CHANNELS": 100, "CONFIG_DIR": config}
    if request.param == "memory":
        yield [await serve(**options)]
        return
    async with RedisServer() as redis:
        options |= {"REDIS_URL": redis.url, "REDIS_CHANNEL_PREFIX": secrets.token_hex(4)}
        found = [await serve(**options) for _ in range(2)]
        await until_up(*map(node_of, found))
        yield found


@pytest.fixture
def join(nodes: list[Running], connect: Connect) -> Join:
    """Each to the next node."""
    turns: Iterator[Running] = itertools.cycle(nodes)

    async def join(sub: str, **options: Any) -> Client:
        client = await connect(next(turns), "/trading", sub, **options)
        await client.expect("connected")  # it is in its rooms
        return client

    return join


@pytest_asyncio.fixture
async def publishers(join: Join) -> list[Client]:
    return [await join(f"feed-{number}", roles=("publisher",)) for number in range(2)]


async def subscribe(client: Client, channel: str, **options: Any) -> Any:
    ack = await client.call("subscribe", {"channel": channel, **options})
    assert ack["ok"], ack
    return ack


async def say(client: Client, channel: str, data: Any = None, **options: Any) -> Any:
    ack = await client.call("publish", {"channel": channel, "data": data, **options})
    assert ack["ok"], ack
    return ack


async def heard(client: Client, count: int, event: str = "message") -> list[Any]:
    """So many, and no more of what was sent until they had come."""
    while len(client.payloads(event)) < count:
        await client.expect(event)
    await client.settle()
    return client.payloads(event)


async def until(client: Client, seq: int) -> list[int]:
    """The numbers of all that it heard, up to this one."""
    await client.expect("message", lambda payload: payload["seq"] >= seq)
    return [payload["seq"] for payload in client.payloads("message")]


async def test_publishers_everywhere_give_one_numbering_in_one_order(join: Join, publishers: list[Client]) -> None:
    readers = [await join(f"reader-{number}") for number in range(4)]
    epochs = {(await subscribe(reader, "stock_updates"))["epoch"] for reader in readers}
    acks = await asyncio.gather(
        *(
            say(publisher, "stock_updates", [number, place])
            for number in range(60)
            for place, publisher in enumerate(publishers)
        )
    )
    assert sorted(ack["seq"] for ack in acks) == list(range(1, 121))
    assert {ack["epoch"] for ack in acks} == epochs
    assert {ack["subscribers"] for ack in acks} == {4}
    for reader in readers:
        assert await until(reader, 120) == list(range(1, 121))
    told = [reader.payloads("message") for reader in readers]
    assert all(each == told[0] for each in told)
    for place in range(2):  # and each publisher's in its order
        assert [each["data"][0] for each in told[0] if each["data"][1] == place] == list(range(60))


async def test_who_subscribes_amid_it_misses_nothing(join: Join, publishers: list[Client]) -> None:
    saying = [
        asyncio.create_task(say(publisher, "stock_updates", number)) for number in range(50) for publisher in publishers
    ]
    readers = [await join(f"reader-{number}") for number in range(4)]
    acks = [await subscribe(reader, "stock_updates") for reader in readers]
    await asyncio.gather(*saying)
    last = await say(publishers[0], "stock_updates")
    for reader, ack in zip(readers, acks, strict=True):
        await reader.expect("message", lambda payload: payload["seq"] == last["seq"])
        live = [payload["seq"] for payload in reader.payloads("message")]
        given = [message["seq"] for message in ack["snapshot"]]
        assert live == sorted(set(live))
        assert [*given, *(seq for seq in live if seq > ack["seq"])] == list(range(1, last["seq"] + 1))


async def test_what_was_missed_is_given_on_any_node(join: Join, publishers: list[Client]) -> None:
    first = await say(publishers[0], "stock_updates", "a")
    await say(publishers[1], "stock_updates", "b")
    await say(publishers[0], "stock_updates", "c")
    for _ in range(2):
        reader = await join("reader")
        ack = await subscribe(reader, "stock_updates", since={"epoch": first["epoch"], "seq": 1})
        assert (ack["recovered"], [each["data"] for each in ack["messages"]], ack["seq"]) == (True, ["b", "c"], 3)
        assert ack["messages"][0]["type"] == "message"
        ack = await subscribe(reader, "stock_updates", since={"epoch": first["epoch"], "seq": 3})
        assert (ack["recovered"], ack["messages"]) == (True, [])
        for stranger in ({"epoch": "another", "seq": 1}, {"epoch": first["epoch"], "seq": 4}):
            ack = await subscribe(reader, "stock_updates", since=stranger)
            assert (ack["recovered"], [each["data"] for each in ack["snapshot"]]) == (False, ["a", "b", "c"])


async def test_the_oldest_are_dropped(join: Join, publishers: list[Client]) -> None:
    first = await say(publishers[0], "alerts", 0)
    await asyncio.gather(*(say(publishers[number % 2], "alerts", number) for number in range(1, 60)))
    reader = await join("reader")
    ack = await subscribe(reader, "alerts", since={"epoch": first["epoch"], "seq": 1})
    assert (ack["recovered"], [each["seq"] for each in ack["snapshot"]]) == (False, list(range(11, 61)))
    ack = await subscribe(reader, "alerts", since={"epoch": first["epoch"], "seq": 10})
    assert (ack["recovered"], [each["seq"] for each in ack["messages"]]) == (True, list(range(11, 61)))


async def test_a_key_counts_once_wherever_it_is_used(join: Join, connect: Connect, nodes: list[Running]) -> None:
    reader = await join("reader")
    await subscribe(reader, "alerts")
    same = [await connect(node, "/trading", "feed", roles=("publisher",)) for node in nodes * 2]
    acks = await asyncio.gather(*(say(each, "alerts", "x", idempotency_key="k") for each in same for _ in range(3)))
    assert all(ack == acks[0] for ack in acks)
    assert (await say(same[-1], "alerts", "y", idempotency_key="k2"))["seq"] == 2
    assert [each["data"] for each in await heard(reader, 2)] == ["x", "y"]


async def test_chat_is_numbered_with_what_is_published(join: Join, publishers: list[Client]) -> None:
    alice, bob = await join("alice"), await join("bob")
    await subscribe(alice, "general")
    await subscribe(bob, "general")
    assert (await alice.call("chat_message", {"message": '안녕 "hi"'}))["seq"] == 1
    assert (await say(publishers[1], "general", {"a": None}))["seq"] == 2
    assert (await bob.call("chat_message", {"message": "yes"}))["seq"] == 3
    for each in (alice, bob):
        said = await heard(each, 2, "chat_message")
        assert [(payload["seq"], payload["message"]) for payload in said] == [(1, '안녕 "hi"'), (3, "yes")]


async def test_market_data_reaches_every_tenant_and_a_tenants_word_stays_there(join: Join) -> None:
    outer, inner = await join("feed", roles=("publisher",)), await join("boss", roles=("publisher",), tenant="acme")
    await say(outer, "stock_updates", 1)
    nobody = [await join("nina") for _ in range(2)]
    acme, rival = (
        [await join("alice", tenant="acme") for _ in range(2)],
        [await join("ron", tenant="rival") for _ in range(2)],
    )
    for each in (*nobody, *acme, *rival):
        ack = await subscribe(each, "stock_updates")
        assert (ack["seq"], [message["data"] for message in ack["snapshot"]]) == (1, [1])
    await say(outer, "stock_updates", 2)
    said = await say(inner, "stock_updates", "ours")
    assert (said["seq"], said["subscribers"]) == (3, 2)
    assert (await say(outer, "stock_updates", 3))["subscribers"] == 6
    for each, expected in (
        (nobody, [(2, 2), (3, 3)]),
        (acme, [(2, 2), (3, "ours"), (4, 3)]),
        (rival, [(2, 2), (3, 3)]),
    ):
        for one in each:
            assert [(payload["seq"], payload["data"]) for payload in await heard(one, len(expected))] == expected


async def test_a_users_message_reaches_all_of_their_connections(join: Join, publishers: list[Client]) -> None:
    own = [await join("alice") for _ in range(3)]
    other = await join("bob")
    assert (await say(publishers[0], "user:alice", 1))["subscribers"] == 3
    await subscribe(own[0], "user:alice")
    assert (await say(publishers[1], "user:alice", 2))["seq"] == 2
    for each in own:
        assert [payload["seq"] for payload in await heard(each, 2)] == [1, 2]
    assert await heard(other, 0) == []


async def test_ticks_have_one_numbering_too(join: Join, publishers: list[Client]) -> None:
    reader = await join("reader")
    await subscribe(reader, "ticks:A")
    for number in range(6):
        ack = await say(publishers[number % 2], "ticks:A", {"symbol": "A", "price": number})
        assert ack["seq"] == number + 1
    await reader.expect("message", lambda payload: payload["seq"] == 6)
    seqs = [payload["seq"] for payload in reader.payloads("message")]
    assert seqs == sorted(seqs)
    ack = await subscribe(await join("late"), "ticks:A")
    assert [message["data"]["price"] for message in ack["snapshot"]] == [5]


async def test_subscribers_are_those_of_all_nodes(join: Join, publishers: list[Client]) -> None:
    readers = [await join(f"reader-{number}") for number in range(4)]
    for number, reader in enumerate(readers):
        await subscribe(reader, "alerts")
        assert (await say(publishers[number % 2], "alerts"))["subscribers"] == number + 1
    await readers[0].call("unsubscribe", {"channel": "alerts"})
    assert (await say(publishers[1], "alerts"))["subscribers"] == 3


async def test_there_are_only_so_many_channels_and_those_in_use_stay(join: Join) -> None:
    readers = [await join("reader") for _ in range(2)]
    epoch = (await subscribe(readers[0], "chat:0"))["epoch"]
    await readers[1].call("chat_message", {"channel": "chat:0", "message": "hi"})
    for number in range(1, 100):
        await subscribe(readers[number % 2], f"chat:{number}")
    refused = await readers[0].call("subscribe", {"channel": "chat:100"})
    assert refused["error"]["code"] == "LIMIT_EXCEEDED"
    assert (await readers[0].call("presence", {"channel": "chat:100"}))["error"]["code"] == "FORBIDDEN"
    await readers[1].call("unsubscribe", {"channel": "chat:1"})
    tries = [await readers[0].call("subscribe", {"channel": "chat:100"}) for _ in range(100 // EVICTION_TRIES + 1)]
    assert tries[-1]["ok"], "each looks at some"
    ack = await subscribe(readers[1], "chat:0")
    assert (ack["seq"], ack["epoch"]) == (1, epoch)


async def test_presence_is_everybody_who_subscribed(join: Join) -> None:
    alice, bob, carol = await join("alice"), await join("bob"), await join("carol")
    for each in (alice, bob):
        await subscribe(each, "chat:1")
    for each in (alice, bob):
        ack = await each.call("presence", {"channel": "chat:1"})
        assert (ack["channel"], sorted(ack["users"]), ack["count"]) == ("chat:1", ["alice", "bob"], 2)
    assert (await carol.call("presence", {"channel": "chat:1"}))["error"]["code"] == "FORBIDDEN"
    await alice.call("unsubscribe", {"channel": "chat:1"})
    assert (await bob.call("presence", {"channel": "chat:1"}))["users"] == ["bob"]
    await subscribe(carol, "alerts")
    assert (await carol.call("presence", {"channel": "alerts"}))["error"]["code"] == "FORBIDDEN"


# -- a whole class --------------------------------------------------------------------------------------------------


async def tick(client: Client, symbol: str, price: int) -> Any:
    return await say(client, f"ticks:{symbol}", {"symbol": symbol, "price": price}, type="tick")


async def test_who_subscribes_to_a_class_hears_all_of_its_channels_each_message_once(
    join: Join, publishers: list[Client]
) -> None:
    await tick(publishers[0], "before", 1)
    readers = [await join(f"reader-{number}") for number in range(2)]
    for reader in readers:
        ack = await subscribe(reader, "ticks:*")
        assert ack["channels"]["ticks:before"]["seq"] == 1
        assert [each["data"]["price"] for each in ack["snapshot"]] == [1]
        await subscribe(reader, "ticks:before")
    for price, publisher in enumerate(publishers, start=2):
        assert (await tick(publisher, "before", price))["subscribers"] >= 2
        assert (await tick(publisher, "after", price))["subscribers"] == 2
    for reader in readers:
        told = await heard(reader, 4, "tick")
        assert sorted((each["channel"], each["seq"]) for each in told) == [
            ("ticks:after", 1),
            ("ticks:after", 2),
            ("ticks:before", 2),
            ("ticks:before", 3),
        ]
        assert (await reader.call("unsubscribe", {"channel": "ticks:*"}))["success"]
        assert (await reader.call("unsubscribe", {"channel": "ticks:before"}))["success"]
    await tick(publishers[0], "after", 9)
    for reader in readers:
        await heard(reader, 4, "tick")


async def test_a_tenants_subscriber_of_a_shared_class_hears_what_the_world_says_and_its_own(
    join: Join, publishers: list[Client]
) -> None:
    reader = await join("reader", tenant="t1")
    other = await join("other", tenant="t2")
    ours = await join("ours", tenant="t1", roles=("publisher",))
    for each in (reader, other):
        await subscribe(each, "ticks:*")
    await tick(publishers[0], "A", 1)
    await tick(ours, "A", 2)
    await tick(publishers[1], "A", 3)
    assert [(each["seq"], each["data"]["price"]) for each in await heard(reader, 3, "tick")] == [(1, 1), (2, 2), (3, 3)]
    assert [(each["seq"], each["data"]["price"]) for each in await heard(other, 2, "tick")] == [(1, 1), (2, 3)]


async def test_the_newest_of_each_channel_of_a_class(nodes: list[Running], publishers: list[Client]) -> None:
    for symbol in ("A", "B"):
        for price in (1, 2):
            await tick(publishers[0], symbol, price)
    await say(publishers[1], "stock_updates")
    for node in nodes:
        service = node.realtime._served["/trading"].service  # type: ignore[attr-defined]
        views = dict(await service.broker.newest(None, service._catalogue.find("ticks:A")))
        assert {channel: (view.seq, len(view.messages)) for channel, view in views.items()} == {
            "ticks:A": (2, 1),
            "ticks:B": (2, 1),
        }


async def test_the_states_of_channels_by_name(nodes: list[Running], join: Join, publishers: list[Client]) -> None:
    for name in ("chat:b", "chat:a", "general"):
        await say(publishers[0], name)
    await say(await join("theirs", tenant="t", roles=("publisher",)), "chat:c")
    for reader in ("one", "two"):
        await subscribe(await join(reader), "chat:a")
    for node in nodes:
        broker = node.realtime._served["/trading"].service.broker  # type: ignore[attr-defined]
        first, second = await broker.states(None, EVERYTHING, limit=2)
        assert (first.channel, first.seq, first.subscribers, first.held) == ("chat:a", 1, 2, 1)
        assert first.last_published is not None
        assert (second.channel, second.subscribers) == ("chat:b", 0)
        assert [each.channel for each in await broker.states(None, EVERYTHING, second.channel)] == ["general"]
        assert (await broker.state(None, "chat:a")).seq == first.seq
        assert await broker.state(None, "chat:c") is None
        assert (await broker.state("t", "chat:c")).seq == 1


@pytest.mark.parametrize("rate", [5.0])
async def test_with_a_rate_everybody_gets_the_newest_so_often_and_learns_what_was_skipped(
    join: Join, publishers: list[Client]
) -> None:
    readers = [await join(f"reader-{number}", tenant=tenant) for number, tenant in enumerate((None, None, "t", "t"))]
    for reader in readers:
        await subscribe(reader, "ticks:*" if reader is readers[0] else "ticks:A")
    for price in range(20):
        await tick(publishers[price % 2], "A", price)
    await tick(publishers[0], "B", 0)
    for reader in readers:
        told = await reader.expect("tick", lambda payload: payload["seq"] == 20)
        assert told["data"]["price"] == 19
        mine = [each for each in reader.payloads("tick") if each["channel"] == "ticks:A"]
        assert len(mine) < 20
        last = 0
        for each in mine:
            assert each["seq"] == last + 1 + each.get("conflated", 0)
            last = each["seq"]
    assert len([each for each in readers[0].payloads("tick") if each["channel"] == "ticks:B"]) == 1


async def test_many_values_in_one_channel_are_given_whole_and_never_as_a_part(
    join: Join, publishers: list[Client]
) -> None:
    async def publish(symbol: str, price: int) -> Any:
        return await say(publishers[price % 2], "ticks:all", {"symbol": symbol, "price": price}, type="tick")

    only = await publish("A", 1)
    reader = await join("reader", tenant="t")
    ack = await subscribe(reader, "ticks:all", since={"epoch": only["epoch"], "seq": 1})
    assert ack["recovered"] is False  # a tenant's copy has its own epoch
    await publish("B", 2)
    last = await publish("A", 3)
    for client, seen in ((reader, ack["epoch"]), (await join("other"), last["epoch"])):
        ack = await subscribe(client, "ticks:all", since={"epoch": seen, "seq": 3})
        assert ack["recovered"] is False
        held = {each["data"]["symbol"]: each["data"]["price"] for each in ack["snapshot"]}
        assert (held, ack["seq"]) == ({"A": 3, "B": 2}, 3)
    ack = await subscribe(await join("everything"), "ticks:*")
    assert sorted(each["data"]["price"] for each in ack["snapshot"]) == [2, 3]
