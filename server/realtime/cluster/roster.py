"""The connections of all nodes: each is asked for its own, so nothing is kept that could be out of date."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.keys import NODES
from server.realtime.cluster.node import Node, NodeGone
from server.realtime.connection import Connection
from server.realtime.roster import Listed, Roster

log = structlog.get_logger(__name__)

VERB = "connections"


class ClusterRoster(Roster):
    """Without Redis, or an answer, a node's connections are not listed."""

    def __init__(self, node: Node, here: Callable[[], Iterable[Connection]]) -> None:
        super().__init__(here)
        self.node = node.id
        self._node = node
        node.on(VERB, self._answer)

    async def connections(self) -> list[Listed]:
        others: list[str] = []
        if self._node.up:
            try:
                alive = await self._node.call("ZRANGE", self._node.keys.key(NODES, "alive"), 0, -1)
                others = [each.decode() for each in alive if each.decode() != self.node]
            except RedisAway as away:
                log.info("other nodes' connections are not listed", reason=str(away))
        found = await asyncio.gather(*map(self._of, others))
        return sorted([*self._listed(), *(one for some in found for one in some)], key=lambda each: each.connected_at)

    async def _of(self, node: str) -> list[Listed]:
        try:
            answer = await self._node.ask(node, VERB, {})
        except (NodeGone, RedisAway):
            log.info("a node does not say who is connected to it", node=node)
            return []
        return [Listed(*each) for each in answer["connections"]]

    async def _answer(self, body: Any) -> dict[str, object]:
        return {"connections": [dataclasses.astuple(each) for each in self._listed()]}
