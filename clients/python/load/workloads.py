"""What the clients of a load test do: each connects, and then says one thing whenever it is told to."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from clients.python.client import Client
from clients.python.connection import Connection
from clients.python.load.results import Results

CHANNEL = "chat:load"
ROWS = [{"service": "EC2", "cost": 30}, {"service": "S3", "cost": 10}, {"service": "RDS", "cost": 20}]
DATASET = {"name": "cloud_costs", "description": "Cloud cost by service", "columns": ["service", "cost"]}


class Workload(Protocol):
    """One client's part. `sends`: it is told to; else it only listens."""

    sends: bool

    async def prepare(self, client: Client, number: int) -> None:
        """Raises ClientError."""

    async def once(self, due: float) -> None:
        """`due`: when it should have been sent, by `time.perf_counter`; what waited for its turn counts as waiting."""


class Ping:
    sends = True

    def __init__(self, results: Results) -> None:
        self._results = results

    async def prepare(self, client: Client, number: int) -> None:
        self._connection = await client.connection("/trading")

    async def once(self, due: float) -> None:
        await self._connection.call("ping", {})
        self._results.acks.add(time.perf_counter() - due)


class Chat:
    """Each in a session of its own. Where the server has an agent for new sessions, it answers, and is load too."""

    sends = True

    def __init__(self, results: Results) -> None:
        self._results = results
        self._due: dict[str, float] = {}

    async def prepare(self, client: Client, number: int) -> None:
        self._connection = await client.connection("/chat")
        self._session = f"load-{uuid.uuid4().hex}"
        await self._connection.call("join", {"session_id": self._session})
        self._connection.on("message", self._hear)

    async def once(self, due: float) -> None:
        id = uuid.uuid4().hex
        self._due[id] = due
        payload = {"session_id": self._session, "content": f"load {id}", "client_message_id": id}
        try:
            await self._connection.call("message", payload)
            self._results.acks.add(time.perf_counter() - due)
        except BaseException:
            self._due.pop(id, None)
            raise

    def _hear(self, message: Any) -> None:
        due = self._due.pop(str(message.get("content", "")).removeprefix("load "), None)
        if due is not None:
            self._results.deliveries.add(time.perf_counter() - due)


class Trading:
    """All in one channel: each message is delivered to every client, so deliveries are `clients` times the rate."""

    sends = True

    def __init__(self, results: Results, run: str, due: dict[str, float]) -> None:
        """`due`: all clients' own, by their message."""
        self._results = results
        self._channel = f"{CHANNEL}-{run}"
        self._due = due

    async def prepare(self, client: Client, number: int) -> None:
        self._connection = await client.connection("/trading")
        self._connection.on("chat_message", self._hear)
        await self._connection.call("subscribe", {"channel": self._channel})

    async def once(self, due: float) -> None:
        id = uuid.uuid4().hex
        self._due[id] = due
        if len(self._due) > MOST_KNOWN:
            del self._due[next(iter(self._due))]
        await self._connection.call("chat_message", {"channel": self._channel, "message": id})
        self._results.acks.add(time.perf_counter() - due)

    def _hear(self, payload: Any) -> None:
        due = self._due.get(str(payload.get("message", "")))
        if due is not None:
            self._results.deliveries.add(time.perf_counter() - due)


MOST_KNOWN = 50_000  # messages of which it is known when they were sent


class Monitor:
    """They listen. A delivery's time is from the status's own to its arrival: by the clocks of two machines, if they
    are two."""

    sends = False

    def __init__(self, results: Results) -> None:
        self._results = results

    async def prepare(self, client: Client, number: int) -> None:
        connection: Connection = await client.connection("/monitor")
        connection.on("equipment_status", self._hear)

    async def once(self, due: float) -> None:
        raise NotImplementedError("a monitor only listens")

    def _hear(self, status: Mapping[str, Any]) -> None:
        self._results.deliveries.add(max(0.0, time.time() - datetime.fromisoformat(status["timestamp"]).timestamp()))


class Copilot:
    """A query is answered from a table that the client holds: its ack is the whole answer, two questions included."""

    sends = True

    def __init__(self, results: Results) -> None:
        self._results = results

    async def prepare(self, client: Client, number: int) -> None:
        self._client = client
        client.answers("request_available_data")(lambda _: [DATASET])
        client.answers("request_api")(lambda _: ROWS)
        await client.connection("/copilot")

    async def once(self, due: float) -> None:
        await self._client.ask("top 2 services by cost", timeout=30.0)
        self._results.acks.add(time.perf_counter() - due)


def make(what: str, results: Results) -> Callable[[], Workload]:
    """Makes one client's part after the other."""
    due: dict[str, float] = {}
    run = uuid.uuid4().hex[:12]
    kinds: Mapping[str, Callable[[], Workload]] = {
        "ping": lambda: Ping(results),
        "chat": lambda: Chat(results),
        "trading": lambda: Trading(results, run, due),
        "monitor": lambda: Monitor(results),
        "copilot": lambda: Copilot(results),
    }
    return kinds[what]


WHAT = ("ping", "chat", "trading", "monitor", "copilot")
