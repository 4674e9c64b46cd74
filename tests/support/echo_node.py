"""The server of `tests.support.echo` as one node among many, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from server.realtime.cluster.address import connector
from server.realtime.cluster.dispatch import Bounds, Dispatch
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.node import Node
from server.realtime.cluster.sessions import Sessions
from tests.support.client import PATIENCE
from tests.support.echo import EchoNamespace, serving
from tests.support.running import Running


@asynccontextmanager
async def serving_node(redis_url: str, **options: Any) -> AsyncIterator[tuple[Running, EchoNamespace]]:
    """`options` as `serving` takes them."""
    node = Node(connector(redis_url), "test")
    dispatch = Dispatch(node.id, node.keys, node.commands, Bounds())
    manager = ClusterFanout(node, dispatch, Sessions(node, seconds=60, unnoticed=60))
    async with serving(node=node, manager=manager, **options) as served:
        await until(node, up=True)
        yield served


async def until(node: Node, *, up: bool) -> None:
    """It can count on Redis, or knows that it cannot."""
    async with asyncio.timeout(PATIENCE):
        while node.up is not up:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
