"""How many clients are in which room on all nodes: each tells Redis of its own, and again when Redis forgot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from server.namespaces.trading.channel_scripts import REACH
from server.namespaces.trading.islands import Rooms
from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.node import Node
from server.realtime.cluster.wire import Arg

REACH_MS = 8000  # that a node's clients count after it fell silent
ROOMS_A_TURN = 1000


class Reach:
    def __init__(self, rooms: Rooms, node: Node, namespace: str, recounted: Callable[[], Awaitable[None]]) -> None:
        """`recounted` is called where Redis may have given up what it kept for clients here."""
        self._recounted = recounted
        self._rooms = rooms
        self._node = node
        self._keys = [node.keys.key(namespace, "reach"), node.keys.key(namespace, "reach", node.id)]
        self._recount = False

    async def counted(self, members: Mapping[str, int]) -> None:
        """How many connections are in rooms here: who is told that it entered counts from then on."""
        try:
            if self._node.up:
                await self._tell(members)
                return
        except RedisAway:
            pass
        self._recount = True

    async def pulse(self) -> None:
        """This node lives. Raises RedisAway."""
        if not await self._tell({}) and not self._recount:
            return
        self._recount = False
        try:
            await self._tell_all()
            await self._recounted()
        except BaseException:
            self._recount = True
            raise

    async def _tell_all(self) -> None:
        rooms = list({each for connection in self._rooms.connections for each in connection.rooms})
        for i in range(0, max(len(rooms), 1), ROOMS_A_TURN):
            members = {room: len(self._rooms.members(room)) for room in rooms[i : i + ROOMS_A_TURN]}
            await self._tell(members, anew=i == 0)

    async def _tell(self, members: Mapping[str, int], *, anew: bool = False) -> bool:
        """`anew`: nothing else is true, from the same moment on: who publishes meanwhile must not find nobody."""
        flat: list[Arg] = [part for pair in members.items() for part in pair]
        return bool(await self._node.run(REACH, self._keys, [self._node.id, REACH_MS, int(anew), *flat]))
