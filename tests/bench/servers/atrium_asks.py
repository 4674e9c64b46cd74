"""As `atrium`, and it asks its users: `python -m ... PORT SECRET [REDIS_URL]`."""

from __future__ import annotations

import asyncio
import sys
import time

from server.realtime.asks import User
from server.realtime.connection import Connection
from server.realtime.namespace import event
from server.realtime.schema import Count, Payload, Text
from tests.bench.servers.atrium import Bench, run, serve

SECONDS = 60.0  # never waited out


class AskUsers(Payload):
    first = Count(required=True)
    users = Count(required=True)


class Said(Payload):
    text = Text(most=100, required=True)


class AskingBench(Bench):
    @event("ask_users", AskUsers)
    async def ask_users(self, connection: Connection, first: int, users: int) -> None:
        """All at once. `asked` tells how long each took, from the call to its answer: percentiles, in ms."""
        self.spawn(self._ask_users(connection, first, users), "ask users")

    async def _ask_users(self, connection: Connection, first: int, users: int) -> None:
        took = sorted(await asyncio.gather(*[self._ask(f"user-{first + number}") for number in range(users)]))
        p50, p99 = (1000 * took[len(took) * part // 100] for part in (50, 99))
        await self.send(connection, "asked", {"p50": p50, "p99": p99})

    async def _ask(self, user_id: str) -> float:
        began = time.perf_counter()
        await self.ask(User(None, user_id), "question", {"question": "How do you do?"}, Said, timeout=SECONDS)
        return time.perf_counter() - began


if __name__ == "__main__":
    run(serve(int(sys.argv[1]), sys.argv[2], *sys.argv[3:], namespace=AskingBench()))
