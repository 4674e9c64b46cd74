"""Makes things go wrong, and right again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.chaos.schedule import Fault
from tests.support.cluster import Nodes
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer

SLOW_SECONDS = 0.2


class Faults:
    """Those of one node, link or Redis wait for each other. `counts` tells what did not come back as it should,
    `notes` what was done and when (Unix)."""

    def __init__(self, nodes: Nodes, redis: RedisServer, links: Sequence[Proxy], doors: Sequence[Proxy]) -> None:
        """`links` lead from the nodes to Redis, `doors` from the clients to the nodes."""
        self._nodes = nodes
        self._redis = redis
        self._links = links
        self._doors = doors
        self._alone: defaultdict[object, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.counts: Counter[str] = Counter()
        self.notes: list[tuple[float, str]] = []

    async def inject(self, fault: Fault) -> None:
        """Until it is over."""
        self.notes.append((time.time(), f"FAULT {fault}"))
        await self._inject(fault)
        self.notes.append((time.time(), f"OVER {fault}"))

    async def _inject(self, fault: Fault) -> None:
        match fault.what:
            case "kill a node":
                await self._kill(fault.node, fault.seconds)
            case "kill Redis" | "restart Redis empty":
                async with self._alone["redis"]:
                    await self._redis.kill()
                    await asyncio.sleep(fault.seconds)
                    await self._redis.start()
            case "drop a node's clients":
                await self._doors[fault.node].cut()
            case _:
                async with self._alone[self._links[fault.node]]:
                    await self._disturb(self._links[fault.node], fault)

    async def _kill(self, node: int, seconds: float) -> None:
        async with self._alone[node]:
            await self._nodes.kill(node)
            await asyncio.sleep(seconds)
            while not self._nodes.runs(node):
                try:
                    await self._nodes.start(node)
                except RuntimeError:  # a platform tries again
                    await self._nodes.kill(node)
                    self.counts["starts of a node that failed"] += 1

    async def _disturb(self, link: Proxy, fault: Fault) -> None:
        match fault.what:
            case "cut a link":
                await link.cut()
            case "refuse a link":
                link.refuse()
                await link.cut()
                await asyncio.sleep(fault.seconds)
                await link.accept()
            case "slow a link by 200 ms":
                link.delay(SLOW_SECONDS)
                await asyncio.sleep(fault.seconds)
                link.delay(0)
            case "swallow a link":
                link.black_hole(True)
                await asyncio.sleep(fault.seconds)
                link.black_hole(False)
            case other:
                raise ValueError(other)
