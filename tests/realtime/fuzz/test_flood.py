"""A hundred thousand hostile frames: the server lives, grows not, logs no error, and bystanders hear everything."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import structlog

from server.realtime.connection import Connection
from server.realtime.engine.outbox import Outbox
from server.realtime.engine.session import Session
from server.realtime.fanout import Member
from server.realtime.insight.hooks import Insight
from server.realtime.packets import Packet
from tests.conftest import Connect
from tests.realtime.fuzz.garbage import Garbage
from tests.realtime.inherited.wire import alive, becomes, connect_packet, eventually, held, poller, wire
from tests.support.client import PATIENCE, Client
from tests.support.echo import EchoNamespace, serving
from tests.support.running import Running

KINDS = (Session, Connection, Outbox, Member, Packet)
CLIENTS = 8  # at once
MOST_KEPT = 64  # objects of the gone in schedules that are swept now and then
MOST_GROWTH_BYTES = 48 * 1024 * 1024


class Flood:
    """Clients that send garbage until so many frames are sent. `sent` by what they were."""

    def __init__(self, server: Running, frames: int, seed: int) -> None:
        self.server = server
        self.frames = frames
        self.garbage = Garbage(seed, connect_packet("mallory"))
        self.random = random.Random(seed)  # noqa: S311 - to be repeated
        self.sent: Counter[str] = Counter()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._post() if number == 0 else self._talk())

    async def _talk(self) -> None:
        while self.sent.total() < self.frames:
            async with wire(self.server.url) as one:
                if self.random.random() < 0.9:
                    await one.join("mallory")
                frames = [self.garbage.borne() for _ in range(self.random.randrange(60))]
                self.sent["borne"] += len(frames)
                if (end := self.random.random()) < 0.9:
                    fatal = [self.garbage.fatal() for _ in range(self.random.randrange(1, 4))]
                    self.sent["fatal"] += len(fatal)
                    frames += fatal
                one.writer.write(b"".join(frames))
                if end < 0.3:  # gone at once, or when it is all sent, or when it was answered
                    one.abort()
                    continue
                reading = asyncio.create_task(one.drop())
                if end < 0.5:
                    await one.writer.drain()
                    one.abort()
                else:
                    one.writer.write_eof()
                async with asyncio.timeout(PATIENCE):
                    await reading
            self.sent["connections"] += 1

    async def _post(self) -> None:
        while self.sent.total() < self.frames:
            async with poller(self.server.url) as one:
                if self.random.random() < 0.9:
                    await one.join("mallory")
                for _ in range(self.random.randrange(1, 6)):
                    polling = asyncio.create_task(one.get())
                    try:
                        async with one.http.post(one.url, data=self.garbage.body()) as response:
                            self.sent[f"posts {response.status}"] += 1
                    except aiohttp.ClientError:
                        self.sent["posts cut"] += 1
                    polling.cancel()
                    await asyncio.wait([polling])
                await one.post("1")  # who goes without a word is held for, until it misses its pings
            self.sent["sessions"] += 1


@asynccontextmanager
async def bystanders(server: Running, namespace: EchoNamespace, clients: list[Client]) -> AsyncIterator[None]:
    """At the end each has heard every number once and in order, and was answered every time."""
    room, count = "bystanders", 0
    for client in clients:
        greeting = await client.expect("connected")
        [connection] = [each for each in namespace.connections if each.id == greeting["connection_id"]]
        await namespace.enter(connection, room)

    over = asyncio.Event()

    async def speak() -> None:
        nonlocal count
        while not over.is_set():
            await namespace.emit("number", {"number": count}, room=room)
            count += 1
            await asyncio.sleep(0.002)

    async def ask(client: Client) -> None:
        while not over.is_set():
            assert (await client.call("echo", {"text": "x"}))["ok"]

    async with asyncio.TaskGroup() as group:
        for work in (speak(), *map(ask, clients)):
            group.create_task(work)
        yield
        over.set()
    for client in clients:
        await client.expect("number", lambda payload: payload["number"] == count - 1)
        assert [payload["number"] for payload in client.payloads("number")] == list(range(count))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def flood(connect: Connect, frames: int, seed: int) -> None:
    print(f"FUZZ_SEED={seed}")  # noqa: T201 - shown when it fails
    with structlog.testing.capture_logs() as logs:
        async with serving(insight=Insight(record_seconds=0)) as (server, namespace):  # remembers nobody who is gone
            clients = [await connect(server, "/echo", "bob", transports=[kind]) for kind in ("websocket", "polling")]

            def quiet() -> dict[str, int]:
                return {**held(server), "tasks": 0}  # of a client that polls there are now more, now fewer

            def grown() -> int:
                return sum((Counter(alive(*KINDS)) - objects).values())

            before, objects = quiet(), Counter(alive(*KINDS))
            await Flood(server, frames // 4, seed).run()  # caches fill, and the allocator takes what it will need
            await becomes(quiet, before)
            tasks, resident = len(asyncio.all_tasks()), resident_bytes()
            main = Flood(server, frames - frames // 4, seed + 1)
            async with bystanders(server, namespace, clients):
                await main.run()
            await becomes(quiet, before)
            await eventually(lambda: grown() < MOST_KEPT)
            await eventually(lambda: len(asyncio.all_tasks()) <= tasks + 2)
            growth = resident_bytes() - resident
            print(dict(main.sent), f"{growth >> 10} KiB, {grown()} objects more")  # noqa: T201
            assert growth < MOST_GROWTH_BYTES
            assert main.sent["fatal"] > frames // 40
            assert len(namespace.connections) == len(clients)
    assert [entry for entry in logs if entry["log_level"] in ("warning", "error", "critical")] == []


async def test_some_thousand(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    await flood(connect, 6000, seed=1)
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


@pytest.mark.e2e
async def test_a_hundred_thousand(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    seed = os.environ.get("FUZZ_SEED") or int.from_bytes(os.urandom(4), "big")
    await flood(connect, 100_000, seed=int(seed))
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
