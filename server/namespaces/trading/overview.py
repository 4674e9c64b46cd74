"""The channels that Redis knows of a tenant, as they are at the moment. Who may see which is said by who asks."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from server.namespaces.trading.catalogue import Visible
from server.namespaces.trading.channel_scripts import STATES
from server.namespaces.trading.channels import ChannelState, room
from server.realtime.cluster.node import Node


class Overview:
    """Raises RedisAway."""

    def __init__(self, node: Node, base: str) -> None:
        """`base`: what the keys of channels begin with."""
        self._node = node
        self._base = base

    async def states(self, tenant: str | None, visible: Visible, after: str, limit: int) -> list[ChannelState]:
        classes = [(each.head, each.open_ended, seen) for each, seen in visible.classes]
        own = dict.fromkeys(visible.own, True)
        return await self._read(tenant, {"after": after, "limit": limit, "classes": classes, "own": own})

    async def state(self, tenant: str | None, channel: str) -> ChannelState | None:
        found = await self._read(tenant, {"name": channel, "limit": 1})
        return found[0] if found else None

    async def _read(self, tenant: str | None, wanted: Mapping[str, object]) -> list[ChannelState]:
        ask = orjson.dumps({"prefix": room(tenant, ""), **wanted})
        return [
            ChannelState(
                name.decode(),
                int(seq),
                epoch.decode(),
                subscribers,
                held,
                int(newest.partition(b" ")[0]) / 1000 if newest else None,
            )
            for name, seq, epoch, subscribers, held, newest in await self._node.run(STATES, [self._base], [ask])
        ]
