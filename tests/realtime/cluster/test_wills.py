"""What is left to be done by whoever finds a node dead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from server.realtime.cluster import node as module
from server.realtime.cluster import wire
from server.realtime.cluster.address import connector
from server.realtime.cluster.node import Node
from tests.support.managers import until
from tests.support.redis import RedisServer


class Heir:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.done: list[str] = []
        node.on("end", self.end)
        node.on("fail", self.fail)

    async def end(self, body: Mapping[str, Any]) -> None:
        self.done.append(body["what"])

    async def fail(self, body: Mapping[str, Any]) -> None:
        raise ZeroDivisionError


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PULSE_SECONDS", 0.05)
    monkeypatch.setattr(module, "DEAD_SECONDS", 1)
    monkeypatch.setattr(wire, "LAST_BACKOFF", 0.1)


async def test_the_will_of_a_dead_node_is_done_once_and_what_it_withdrew_is_not() -> None:
    async with RedisServer() as redis:
        nodes = [Node(connector(redis.url), "test") for _ in range(3)]
        for node in nodes:
            await node.start()
        dead, *living = nodes
        heirs = [Heir(node) for node in living]
        dead.will("a", "fail", {})
        dead.will("b", "nobody answers this", {})
        for what in ("one", "two", "three"):
            dead.will(what, "end", {"what": what})
        dead.withdraw("two")
        await dead.call("PING")  # all of it is with Redis
        await dead._tasks.close()  # as `kill -9` does
        await until(lambda: len(heirs[0].done + heirs[1].done) == 2)
        for node in living:  # each finds it dead
            await node._wills.execute(dead.id, node._answers)
        assert sorted(heirs[0].done + heirs[1].done) == ["one", "three"]
        for node in nodes:
            await node.stop()


async def test_without_redis_there_are_none() -> None:
    async with RedisServer() as redis:
        url = redis.url
    node = Node(connector(url), "test")
    node.will("a", "end", {})
    node.withdraw("a")
