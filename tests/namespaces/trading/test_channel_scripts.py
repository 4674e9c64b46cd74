"""What the scripts keep in Redis is bounded, as it is in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.namespaces.trading import channels
from server.namespaces.trading.broker import Publication
from server.namespaces.trading.catalogue import Catalogue, load
from server.namespaces.trading.cluster import ClusterBroker
from server.namespaces.trading.schemas import Since
from server.realtime.cluster.address import connector
from server.realtime.cluster.dispatch import Bounds, Dispatch
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.node import Node
from server.realtime.connection import Connection
from tests.support.managers import until_up
from tests.support.redis import RedisServer

CATALOGUE = load(Path("config/channels.toml"))


class Nobody:
    connections: Sequence[Connection] = ()

    def members(self, room: str) -> list[Connection]:
        return []

    async def emit(self, *_: object, **__: object) -> None:
        raise AssertionError("it is Redis that tells")


class House:
    def __init__(self, node: Node, catalogue: Catalogue, most: int = 100) -> None:
        manager = ClusterFanout(node, Dispatch(node.id, node.keys, node.commands, Bounds()), None)
        self.node = node
        self.catalogue = catalogue
        self.broker = ClusterBroker(Nobody(), manager, "/trading", most=most)

    async def publish(self, channel: str, data: object = None, tenant: str | None = None, key: Any = None) -> Any:
        kind = self.catalogue.find(channel)
        return await self.broker.publish(Publication(tenant, channel, kind, "message", {"data": data}, key))

    async def view(self, channel: str, tenant: str | None = None, since: Since | None = None) -> Any:
        return await self.broker.view(tenant, channel, self.catalogue.find(channel), since)

    async def keys(self, pattern: str) -> list[str]:
        return sorted(key.decode() for key in await self.node.call("KEYS", f"t:{{/trading}}:{pattern}"))

    async def sizes(self) -> tuple[int, int]:
        """As counted, and as they are."""
        counted = int(await self.node.call("HGET", "t:{/trading}:sizes", "") or 0)
        entries = [
            entry for key in await self.keys("history:*") for entry in await self.node.call("LRANGE", key, 0, -1)
        ]
        return counted, sum(map(len, entries))


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    async with RedisServer() as redis:
        node = Node(connector(redis.url), "t")
        await node.start()
        await until_up(node)
        yield House(node, CATALOGUE)
        await node.stop()


async def test_history_ages(house: House, tmp_path: Path) -> None:
    path = tmp_path / "channels.toml"
    path.write_text('["general"]\nsubscribe = ["any"]\nhistory = { count = 9, seconds = 1 }')
    house.catalogue = await asyncio.to_thread(load, path)
    first = await house.publish("general", "old")
    key = "t:{/trading}:history:channel:0::general"
    [entry] = await house.node.call("LRANGE", key, 0, -1)
    at, _, text = entry.partition(b" ")
    await house.node.call("LSET", key, 0, b"%d %s" % (int(at) - 1001, text))  # as if it were so old
    await house.publish("general", "new")
    found = await house.view("general", since=Since(first["epoch"], 0))
    assert (found.recovered, [each["data"] for each in found.messages]) == (False, ["new"])
    counted, real = await house.sizes()
    assert counted == real


async def test_a_class_without_history_keeps_nothing(house: House, tmp_path: Path) -> None:
    path = tmp_path / "channels.toml"
    path.write_text('["general"]\nsubscribe = ["any"]')
    house.catalogue = await asyncio.to_thread(load, path)
    first = await house.publish("general")
    assert (await house.publish("general"))["seq"] == 2
    assert await house.keys("history:*") == []
    assert (await house.view("general", since=Since(first["epoch"], 2))).recovered
    assert not (await house.view("general", since=Since(first["epoch"], 1))).recovered


async def test_a_history_is_bounded_in_bytes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MAX_LOG_BYTES", 1000)
    for _ in range(30):
        await house.publish("alerts", "x" * 100)
        counted, real = await house.sizes()
        assert counted == real <= 1000
    assert 1 < len((await house.view("alerts")).messages) < 10
    await house.publish("alerts", "x" * 1000)
    assert (await house.view("alerts")).messages == []


async def test_all_histories_together_are_bounded_in_bytes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MAX_TOTAL_BYTES", 10_000)
    for number in range(30):
        for _ in range(6):
            await house.publish(f"chat:{number}", "x" * 100)
        counted, real = await house.sizes()
        assert counted == real <= 10_000
    assert (await house.view("chat:0")).messages == []
    assert (await house.view("chat:0")).seq == 6
    assert len((await house.view("chat:29")).messages) == 6


async def test_the_least_recently_used_goes_first_and_returns_with_another_epoch(house: House) -> None:
    first = await house.publish("chat:0")
    for number in range(1, 100):
        await house.publish(f"chat:{number}")
    await house.publish("chat:1")
    await house.publish("chat:100")
    assert len(await house.keys("channel:*")) == len(await house.keys("history:*")) == 100
    again = await house.view("chat:0", since=Since(first["epoch"], 0))
    assert (again.recovered, again.seq) == (False, 0)
    assert again.epoch != first["epoch"]
    assert (await house.view("chat:1")).seq == 2
    counted, real = await house.sizes()
    assert counted == real


async def test_a_tenants_copy_that_nobody_uses_is_not_followed_for_ever(house: House) -> None:
    await house.publish("stock_updates", 1)
    epoch = (await house.view("stock_updates", "acme")).epoch
    assert (await house.publish("stock_updates", 2, "acme"))["seq"] == 2
    await house.publish("stock_updates", 3)
    assert [each["data"] for each in (await house.view("stock_updates", "acme")).messages] == [1, 2, 3]
    copies = "t:{/trading}:copies:channel:0::stock_updates"
    await house.node.call("ZINCRBY", copies, -channels.COPY_IDLE_SECONDS * 1000, "channel:4:acme:stock_updates")
    await house.publish("stock_updates", 4)
    assert await house.keys("channel:*") == ["t:{/trading}:channel:channel:0::stock_updates"]
    again = await house.view("stock_updates", "acme")
    assert again.epoch != epoch
    assert [each["data"] for each in again.messages] == [1, 3, 4]


async def test_all_that_is_kept_expires(house: House) -> None:
    await house.publish("alerts", key=(None, "feed", "alerts", "k"))
    await house.publish("stock_updates", 1)
    await house.view("stock_updates", "acme")
    await house.broker.counted({"room": 1})
    await house.node.call("PING")
    lasting = {f"t:{{/trading}}:{name}" for name in ("offset", "reach")}
    for key in await house.keys("*"):
        assert key in lasting or await house.node.call("PTTL", key) > 0, key


async def test_redis_that_forgot_begins_another_epoch(house: House) -> None:
    first = await house.publish("alerts", 1)
    await house.node.call("FLUSHALL")
    again = await house.view("alerts", since=Since(first["epoch"], 1))
    assert (again.recovered, again.seq, again.messages) == (False, 0, [])
    assert (await house.publish("alerts", 2))["seq"] == 1


async def test_the_newest_of_a_class_is_bounded_in_redis(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for symbol in "ABC":
        await house.publish(f"ticks:{symbol}", {"symbol": symbol, "text": "x" * 1000})
    monkeypatch.setattr(channels, "MAX_LOG_BYTES", 2500)
    found = await house.broker.newest(None, house.catalogue.find("ticks:A"))
    assert [len(view.messages) for _, view in found] == [1, 1, 0]
    assert [view.seq for _, view in found] == [1, 1, 1]
