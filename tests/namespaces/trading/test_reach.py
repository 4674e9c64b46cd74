"""What becomes of a node's count when it dies, or Redis does, is in `test_cluster.py`."""

from __future__ import annotations

from typing import Any

import pytest

from server.namespaces.trading import reach
from server.namespaces.trading.reach import Reach
from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.keys import Keys


class Node:
    id = "n1"
    keys = Keys("p")

    def __init__(self, *, up: bool = True, new: bool = False) -> None:
        self.up = up
        self.new = new
        self.stalls = False
        self.ran: list[list[Any]] = []
        self.commands = self
        self.recounts = 0

    async def recounted(self) -> None:
        self.recounts += 1

    async def run(self, _: Any, __: Any, arguments: list[Any]) -> bool:
        self.ran.append(arguments)
        if self.stalls:
            raise RedisAway("no answer in time")
        return self.new


class Rooms:
    def __init__(self, *rooms: str) -> None:
        self.connections = [type("Connection", (), {"rooms": {each}})() for each in rooms]

    def members(self, room: str) -> list[Any]:
        return [each for each in self.connections if room in each.rooms]


def reach_of(node: Node, *rooms: str) -> Reach:
    return Reach(Rooms(*rooms), node, "/trading", node.recounted)  # type: ignore[arg-type]


async def test_changes_are_told_at_once() -> None:
    node = Node()
    await reach_of(node).counted({"a": 2, "b": 0})
    assert node.ran == [["n1", reach.REACH_MS, 0, "a", 2, "b", 0]]


async def test_a_redis_that_knows_nothing_is_told_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "ROOMS_A_TURN", 1)
    node = Node(new=True)
    await reach_of(node, "a", "a", "b").pulse()
    assert node.ran[0] == ["n1", reach.REACH_MS, 0]
    # What was told of a room before goes in the same step as all of it comes.
    assert [each[2] for each in node.ran[1:]] == [1, 0]
    assert sorted(each[3:] for each in node.ran[1:]) == [["a", 2], ["b", 1]]
    assert node.recounts == 1


async def test_what_changed_while_redis_was_away_is_told_later() -> None:
    node = Node(up=False)
    counted = reach_of(node, "a")
    await counted.counted({"a": 1})
    assert node.ran == []
    node.up, node.new = True, True
    await counted.pulse()
    assert node.ran[-1][2:] == [1, "a", 1]
    node.new, node.ran = False, []
    await counted.pulse()
    assert node.ran == [["n1", reach.REACH_MS, 0]]


async def test_what_redis_did_not_answer_is_told_again() -> None:
    node = Node()
    node.stalls = True
    counted = reach_of(node, "a")
    await counted.counted({"a": 1})
    node.stalls = False
    await counted.pulse()
    assert node.ran[-1][2:] == [1, "a", 1]


async def test_a_recount_that_failed_is_done_again() -> None:
    node = Node(new=True)
    counted = reach_of(node, "a")

    async def stall() -> None:
        raise RedisAway("no answer in time")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counted, "_recounted", stall)
        with pytest.raises(RedisAway):
            await counted.pulse()
    node.new, node.ran = False, []
    await counted.pulse()
    assert (node.ran[-1][2:], node.recounts) == ([1, "a", 1], 1)
