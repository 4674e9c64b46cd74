"""Nodes of a cluster in this process, and whether they have found their Redis."""

from __future__ import annotations

import asyncio

from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.node import Node
from tests.support.process import PATIENCE
from tests.support.running import Running


def node_of(server: Running) -> Node:
    manager = server.realtime.manager
    assert isinstance(manager, ClusterFanout)
    return manager.node


async def until_up(*nodes: Node, up: bool = True) -> None:
    """Returns when Redis can be counted on on all of them; or on none."""
    async with asyncio.timeout(PATIENCE):
        while any(node.up is not up for node in nodes):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.02)
