"""Runs a load test: connects the clients, tells them when to send, and stops in time, whatever the server does.

The load is open: it does not wait for answers before it sends more, and what is sent late counts from when it was due.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from clients.python.client import Client
from clients.python.errors import ClientError
from clients.python.load.results import Results
from clients.python.load.workloads import Workload, make
from clients.python.tokens import Token

MOST_CLIENTS, MOST_RATE, MOST_SECONDS = 2000, 20_000.0, 3600.0
MOST_UNDER_WAY = 10_000
CONNECTING_AT_ONCE = 20
FINISH_SECONDS = 15.0  # for the last answers

Credentials = Callable[[int], Token]


class LoadTest:
    def __init__(
        self, url: str, credentials: Credentials, results: Results, *, seconds: float, transports: tuple[str, ...]
    ) -> None:
        """`credentials` gives each client its own."""
        self.results = results
        self._url = url
        self._credentials = credentials
        self._seconds = seconds
        self._transports = transports
        self._make = make(results.what, results)
        self._under_way: set[asyncio.Task[None]] = set()
        self.phase = "connecting"

    async def run(self) -> None:
        """Raises ClientError when not one client could connect. Cancelled, it closes them."""
        async with AsyncExitStack() as clients:
            parts = await self._connect(clients)
            self.phase = "running"
            began = time.perf_counter()
            try:
                if parts[0].sends:
                    await self._send(parts, began)
                else:
                    await self._listen(began)
                self.phase = "finishing"
                if self._under_way:
                    await asyncio.wait(self._under_way, timeout=FINISH_SECONDS)
            finally:
                self.results.seconds = min(time.perf_counter() - began, self._seconds)
                self.results.errors["UNANSWERED"] += len(self._under_way)
                self.results.errors += type(self.results.errors)()  # without what is 0
                await self._abandon()
        self.phase = "done"

    async def _connect(self, clients: AsyncExitStack) -> list[Workload]:
        gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
        parts: list[Workload] = []
        failures: list[ClientError] = []

        async def connect(number: int) -> None:
            async with gate:
                part = self._make()
                try:
                    client = Client(
                        self._url,
                        self._credentials(number),
                        policy="none",
                        fallback=False,
                        recovery=False,
                        transports=self._transports,
                    )
                    await clients.enter_async_context(client)
                    await part.prepare(client, number)
                except ClientError as error:
                    self.results.errors[error.code] += 1
                    failures.append(error)
                else:
                    parts.append(part)
                    self.results.connected += 1

        async with asyncio.TaskGroup() as group:
            for number in range(self.results.clients):
                group.create_task(connect(number))
        if not parts:
            raise failures[0]
        return parts

    async def _send(self, parts: list[Workload], began: float) -> None:
        """Each in its turn, at the moment that the rate gives it."""
        number = 0
        while (at := number / self.results.rate) < self._seconds:
            ahead = began + at - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            elif number % 100 == 0:
                await asyncio.sleep(0)
            if time.perf_counter() - began >= self._seconds:
                break
            self.results.seconds = time.perf_counter() - began
            if len(self._under_way) >= MOST_UNDER_WAY:
                self.results.late += 1
            else:
                task = asyncio.create_task(self._once(parts[number % len(parts)], began + at))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            number += 1

    async def _listen(self, began: float) -> None:
        while (left := began + self._seconds - time.perf_counter()) > 0:
            await asyncio.sleep(min(left, 0.1))
            self.results.seconds = time.perf_counter() - began

    async def _once(self, part: Workload, due: float) -> None:
        self.results.sent += 1
        try:
            await part.once(due)
        except ClientError as error:
            self.results.errors[error.code] += 1

    async def _abandon(self) -> None:
        under_way = list(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
