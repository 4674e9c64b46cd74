"""How many clients are in which room on all nodes: each tells Redis of its own, and again when Redis forgot."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping

from server.namespaces.trading.channel_scripts import REACH
from server.namespaces.trading.islands import Rooms
from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.node import Node
from server.realtime.cluster.wire import Arg

REACH_MS = 8000  # that a node's clients count after it fell silent
ROOMS_A_TURN = 1000


class Reach:
    def __init__(self, rooms: Rooms, node: Node, namespace: str) -> None:
        self._rooms = rooms
        self._node = node
        self._keys = [node.keys.key(namespace, "reach"), node.keys.key(namespace, "reach", node.id)]
        self._recount = False

    async def counted(self, members: Mapping[str, int]) -> None:
        """How many connections are in rooms here: who is told that it entered counts from then on."""
        if self._node.up:
            flat: list[Arg] = [part for pair in members.items() for part in pair]
            with contextlib.suppress(RedisAway):
                await self._node.run(REACH, self._keys, [self._node.id, REACH_MS, *flat])
        else:
            self._recount = True

    async def pulse(self) -> None:
        """This node lives. Raises RedisAway."""
        known: list[Arg] = [self._node.id, REACH_MS]
        if not await self._node.run(REACH, self._keys, known) and not self._recount:
            return
        self._recount = False
        await self._node.call("DEL", self._keys[1])
        counts = Counter(each for connection in self._rooms.connections for each in connection.rooms)
        pairs = list(counts.items())
        for i in range(0, len(pairs), ROOMS_A_TURN):
            flat: list[Arg] = [part for pair in pairs[i : i + ROOMS_A_TURN] for part in pair]
            await self._node.run(REACH, self._keys, [*known, *flat])
