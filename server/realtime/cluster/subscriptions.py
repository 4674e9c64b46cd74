"""Which rooms' channels a node listens to for its members, and what each member waits for until it is settled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from typing import Any

from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.node import Node
from server.realtime.link import Member


class Subscriptions:
    """One for each room with members here, whoever they are: who comes first asks for it, the others rely on that."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._unsettled: dict[Member, set[asyncio.Future[Any]]] = {}

    def enter(self, member: Member, room: str, *, is_first: bool) -> None:
        channel, listener = self._node.keys.channel(member.namespace, room), self._node.listener
        pending = listener.subscribe(channel) if is_first else listener.pending(channel)
        if pending is not None:
            self.settles_with(member, pending)

    def end(self, namespace: str, room: str) -> None:
        """Nobody here is in it any more."""
        self._node.listener.unsubscribe(self._node.keys.channel(namespace, room))

    def settles_with(self, member: Member, answer: asyncio.Future[Any]) -> None:
        """It is not settled before there is this answer."""
        if not answer.done():
            pending = self._unsettled.setdefault(member, set())
            pending.add(answer)
            answer.add_done_callback(pending.discard)

    def forget(self, member: Member) -> Collection[asyncio.Future[Any]]:
        """What it waited for."""
        return self._unsettled.pop(member, ())

    async def settled(self, member: Member) -> None:
        """It waits for nothing any more; or not while Redis is away."""
        unsettled = self.forget(member)
        if unsettled and (self._node.up or self._node.listener.lively):
            with contextlib.suppress(RedisAway):
                await self._node.patient(asyncio.wait(unsettled))
