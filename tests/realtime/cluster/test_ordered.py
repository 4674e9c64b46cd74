from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from server.realtime.cluster.address import connector
from server.realtime.cluster.dispatch import Bounds, Dispatch
from server.realtime.cluster.feed import Feed
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.node import Node
from server.realtime.cluster.ordered import LETTERS, Ordered


@pytest_asyncio.fixture
async def manager() -> AsyncIterator[ClusterFanout]:
    node = Node(connector("redis://127.0.0.1:1"), "t")
    bounds = Bounds(log=7, retention=3)
    yield ClusterFanout(node, Dispatch(node.id, node.keys, node.commands, bounds), None)


def letter(ordered: Ordered, number: int, index: int = 0) -> tuple[str, int]:
    """Its origin and number."""
    return ordered.origin, number * LETTERS + index


def feed(manager: ClusterFanout) -> Feed:
    return manager._feeds.open("/x")


async def test_what_is_taken_is_no_news_any_more(manager: ClusterFanout) -> None:
    ordered, heard = Ordered(manager, "/x"), feed(manager)
    assert ordered.take(1)
    assert not heard.is_news(*letter(ordered, 1))
    assert not heard.is_news(*letter(ordered, 1, LETTERS - 1))
    assert heard.is_news(*letter(ordered, 2))


async def test_what_was_heard_cannot_be_taken(manager: ClusterFanout) -> None:
    ordered, heard = Ordered(manager, "/x"), feed(manager)
    assert heard.is_news(*letter(ordered, 5, 3))  # of a tenant's copy; the others are in rooms that nobody is in here
    assert not ordered.take(5)
    assert not ordered.take(4)
    assert heard.is_news(*letter(ordered, 5, 4))
    assert ordered.take(6)


async def test_nobody_is_here_to_hear_it(manager: ClusterFanout) -> None:
    assert not Ordered(manager, "/x").take(1)


async def test_they_are_logged_as_long_as_others(manager: ClusterFanout) -> None:
    wire = manager.wire("/x")
    assert (wire["retention"], wire["cap"], wire["namespace"]) == (3000, 7, '"/x"')


async def test_they_are_not_among_those_that_the_node_delivered_at_once(manager: ClusterFanout) -> None:
    assert Ordered(manager, "/x").origin != manager.node.id
