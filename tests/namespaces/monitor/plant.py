"""A plant for tests: machines, sources that do as they are told, nodes that share a lease, and time that they tell."""

from __future__ import annotations

import asyncio
import heapq
import random
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.filters import Snapshot
from server.namespaces.monitor.polling import Clock
from server.namespaces.monitor.schemas import STATUSES, Quality, Reading, Status
from server.namespaces.monitor.service import Journal, MonitorService
from server.namespaces.monitor.sources import SourceError
from server.realtime.leases import Hear, Lease, News

EPOCH = datetime(2025, 11, 3, 10, 30, tzinfo=UTC)
RUNNING, IDLE = Reading("running"), Reading("idle")

Answer = Callable[[], Mapping[str, Reading | SourceError]]


def machine(number: int, line: str = "body") -> Machine:
    return Machine(f"KRCWO12ELO{number:04}", f"machine {number}", line)


class Time:
    """Nothing passes but by `until`; then every sleeper wakes in its turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._slept = 0

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep, lambda: EPOCH + timedelta(seconds=self.now))

    async def sleep(self, seconds: float) -> None:
        self._slept += 1
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, self._slept, woken))
        await woken

    async def until(self, moment: float) -> None:
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= moment + 1e-9:
            due, _, woken = heapq.heappop(self._sleepers)
            self.now = max(self.now, due)
            if not woken.done():
                woken.set_result(None)
            await self._settle()
        self.now = moment

    async def _settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


def refuse() -> Mapping[str, Reading]:
    raise SourceError("cannot connect")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Where nobody has anything to do, time goes on to the next timer at once: real sockets, an hour in seconds. Timers
    are as late as `lateness` says."""

    def __init__(self, lateness: Callable[[], float] = lambda: 0.0) -> None:
        self.now = 1000.0
        super().__init__(_Selector(self, lateness))

    def time(self) -> float:
        return self.now

    @property
    def clock(self) -> Clock:
        return Clock(self.time, asyncio.sleep, lambda: EPOCH + timedelta(seconds=self.now - 1000))


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop, lateness: Callable[[], float]) -> None:
        super().__init__()
        self._loop, self._lateness = loop, lateness

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout:
            self._loop.now += timeout + self._lateness()
        return ready


class Scripted:
    """A source that reads what `answer` gives, or fails as it raises; it keeps when it was read."""

    def __init__(self, clock: Clock, machines: Sequence[Machine], answer: Answer | None = None) -> None:
        self.name = "scripted"
        self.codes = [machine.code for machine in machines]
        self.answer = answer or (lambda: dict.fromkeys(self.codes, RUNNING))
        self.reads: list[float] = []
        self.closed = 0
        self.hang: asyncio.Event | None = None
        self._clock = clock

    async def read(self) -> Mapping[str, Reading | SourceError]:
        self.reads.append(self._clock.monotonic())
        if self.hang is not None:
            await self.hang.wait()
        return self.answer()

    async def close(self) -> None:
        self.closed += 1


class Moody(Scripted):
    """Well, failing, flapping, slow, too slow, frozen, stale or unsure of some machines: for some seconds each."""

    MOODS = ("well", "well", "fails", "flaps", "slow", "too slow", "frozen", "stale", "partly")

    def __init__(self, clock: Clock, machines: Sequence[Machine], seed: int) -> None:
        super().__init__(clock, machines)
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._mood, self._until = "well", 0.0
        self._status: Status = "running"

    async def read(self) -> Mapping[str, Reading | SourceError]:
        now, chance = self._clock.monotonic(), self._random
        self.reads.append(now)
        if now >= self._until:
            self._mood, self._until = chance.choice(self.MOODS), now + chance.uniform(0.3, 20)
        pause = {"slow": chance.uniform(0.01, 0.35), "too slow": chance.uniform(0.3, 1), "frozen": 3600.0}
        if seconds := pause.get(self._mood):
            await asyncio.sleep(seconds)
        if self._mood == "fails" or (self._mood == "flaps" and chance.random() < 0.5):
            raise SourceError("fails")
        return {code: self._one() for code in self.codes if self._mood != "partly" or chance.random() < 0.7}

    def _one(self) -> Reading | SourceError:
        if self._random.random() < 0.1:
            self._status = self._random.choice(STATUSES)
        quality: Quality = "stale" if self._mood == "stale" else "good"
        return Reading(self._status, quality, EPOCH) if self._random.random() < 0.98 else SourceError("exception 2")


class Candidacy(Lease):
    """Of one node, for the lease that a `Cluster` gives away."""

    def __init__(self, cluster: Cluster) -> None:
        self.hear: Hear | None = None
        self._cluster = cluster
        self._fence = 0
        self.granted, self.lost = asyncio.Event(), asyncio.Event()

    @property
    def held(self) -> bool:
        return self._cluster.holder is self

    @property
    def fence(self) -> int:
        return self._fence

    async def hold(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self.granted.wait()
            self.granted.clear()
            self.lost.clear()
            self._cluster.fence += 1
            self._fence = self._cluster.fence
            doing = asyncio.create_task(_done(work))
            try:
                await self.lost.wait()
            finally:
                doing.cancel()
                await asyncio.gather(doing, return_exceptions=True)

    def tell(self, news: News) -> None:
        self._cluster.told.append(news)
        for each in self._cluster.candidates:
            if each is not self and each.hear is not None:
                each.hear(self._fence, news)

    def follow(self, hear: Hear) -> None:
        self.hear = hear


async def _done(work: Callable[[], Awaitable[Any]]) -> None:
    await work()


class Cluster:
    def __init__(self) -> None:
        self.holder: Candidacy | None = None
        self.fence = 0
        self.candidates = [Candidacy(self), Candidacy(self)]
        self.told: list[News] = []

    def give(self, to: int | None, *, suspended: bool = False) -> None:
        """`suspended`: the former holder does not learn of it."""
        if self.holder is not None and not suspended:
            self.holder.lost.set()
        self.holder = None if to is None else self.candidates[to]
        if self.holder is not None:
            self.holder.granted.set()


class Outbox:
    """Keeps what was shown, and when."""

    def __init__(self, time: Time) -> None:
        self.sent: list[tuple[float, dict[str, Any]]] = []
        self.broken = False
        self._time = time

    def show(self, snapshot: Snapshot) -> None:
        self.sent.append((self._time.now, snapshot.status()))
        if self.broken:
            raise ConnectionError("nobody to show it to")

    @property
    def moments(self) -> list[float]:
        return [round(moment, 6) for moment, _ in self.sent]

    def statuses(self) -> list[tuple[str, ...]]:
        return [tuple(machine["status"] for machine in payload["equipment"]) for _, payload in self.sent]

    def newest(self, field: str) -> list[Any]:
        return [machine[field] for machine in self.sent[-1][1]["equipment"]]


@asynccontextmanager
async def running(
    time: Time,
    machines: Sequence[Machine],
    sources: Sequence[Scripted],
    period: float = 1.0,
    lease: Lease | None = None,
    journal: Journal | None = None,
) -> AsyncIterator[tuple[MonitorService, Outbox]]:
    outbox = Outbox(time)
    service = MonitorService(
        outbox.show, machines, sources, period=period, lease=lease, journal=journal, clock=time.clock
    )
    tasks = [asyncio.create_task(work, name=name) for name, work in service.work()]
    yield service, outbox
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
