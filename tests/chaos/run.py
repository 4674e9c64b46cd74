"""One run: the cluster and its crowd are started, things go wrong, all heals, and the checker compares."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

from tests.chaos.checker import violations
from tests.chaos.crowd import SETTLE_SECONDS, Plan
from tests.chaos.faults import Faults
from tests.chaos.history import Recorded, Said, Stored
from tests.chaos.schedule import Fault, schedule
from tests.support.cluster import Nodes
from tests.support.process import ROOT, clean_environment
from tests.support.proxy import Proxy
from tests.support.redis import HOST, RedisServer

NODES = 3
STALL_SECONDS = 90  # without one acked message
MAX_VIOLATIONS = 200  # that are kept
MAX_LOG_CHARS = 500  # of a line

Say = Callable[[str], None]


class Stalled(Exception):
    """The crowd could not go on."""


@dataclass
class Outcome:
    """`seconds_away` is how long dropped clients were, their own delay of 0.5 to 1.5 s among it."""

    seed: int
    messages: int
    kills: int
    rate: float
    schedule: list[Fault]
    timeline: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0
    seconds_away: dict[str, float] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def keep(self, path: Path) -> None:
        path.write_text(json.dumps(vars(self), indent=2, ensure_ascii=False) + "\n")

    def __str__(self) -> str:
        away = ", ".join(f"{name} {seconds} s" for name, seconds in self.seconds_away.items())
        return "\n".join(
            [
                f"seed {self.seed}, {self.seconds} s; clients were away {away or 'never'}",
                *(f"{count:>8} {what}" for what, count in sorted(self.counts.items())),
                *self.violations,
            ]
        )


async def run(
    *, seed: int, messages: int, kills: int, rate: float, database_url: str, home: Path, say: Say = lambda line: None
) -> Outcome:
    """On a migrated, empty PostgreSQL; the nodes' logs go to `home`."""
    outcome = Outcome(seed, messages, kills, rate, schedule(seed, messages=messages, kills=kills, nodes=NODES))
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisServer())
        links = [await _proxy(stack, redis.port) for _ in range(NODES)]
        redis_urls = [redis.url_on(link.port) for link in links]
        nodes = await stack.enter_async_context(Nodes(home, database_url=database_url, redis_urls=redis_urls))
        doors = [await _proxy(stack, nodes.port(node)) for node in range(NODES)]
        faults = Faults(nodes, redis, links, doors)
        say(f"{NODES} nodes are ready after {time.monotonic() - began:.0f} s")
        began, started = time.monotonic(), time.time()
        recorded_at = home / "recorded.json"
        plan = Plan(seed, messages, rate, [f"http://{HOST}:{door.port}" for door in doors], str(recorded_at))
        try:
            async with _crowd(plan, home / "crowd.log") as crowd:
                await _talk(crowd, faults, outcome, say)
                await nodes.ready()
                say("all is healed, last words")
                await _last_words(crowd)
        except (Stalled, TimeoutError) as error:
            outcome.violations.append(str(error) or "the nodes were not ready again in time")
        else:
            recorded = Recorded.from_json(json.loads(await asyncio.to_thread(recorded_at.read_text)))
            outcome.counts += recorded.counts
            faults.notes += recorded.notes
            outcome.seconds_away = _spread(recorded.seconds_away)
            stored = await _stored(database_url)
            outcome.counts["stored"] = sum(map(len, stored.values()))
            outcome.violations += violations(recorded, stored)
            await asyncio.to_thread(recorded_at.unlink)
        for node in range(NODES):
            outcome.violations += await asyncio.to_thread(_errors, nodes.log(node))
        outcome.counts += faults.counts
        outcome.counts["violations"] = len(outcome.violations)
        del outcome.violations[MAX_VIOLATIONS:]
    outcome.timeline = [f"{at - started:7.2f} {what}" for at, what in sorted(faults.notes)]
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


async def _proxy(stack: AsyncExitStack, port: int) -> Proxy:
    proxy = await Proxy.start(HOST, port)
    stack.push_async_callback(proxy.close)
    return proxy


@asynccontextmanager
async def _crowd(plan: Plan, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.crowd",
            json.dumps(vars(plan)),
            cwd=ROOT,
            env=clean_environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _talk(crowd: asyncio.subprocess.Process, faults: Faults, outcome: Outcome, say: Say) -> None:
    """Injects what is due until all is said and no fault lasts. Raises Stalled."""
    assert crowd.stdout is not None
    due = list(outcome.schedule)
    began = time.monotonic()
    told = 0
    ended = ""
    async with asyncio.TaskGroup() as lasting:
        while True:
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    line = await crowd.stdout.readline()
            except TimeoutError:
                ended = f"no message was acked for {STALL_SECONDS} s"
                break
            if not line.strip().isdigit():
                ended = "" if line else "the crowd ended before it was done; crowd.log says why"
                break
            acked = int(line)
            while due and due[0].after <= acked:
                fault = due.pop(0)
                say(f"{time.monotonic() - began:6.1f} s, {acked} acked: {fault}")
                lasting.create_task(faults.inject(fault))
            if acked >= told + outcome.messages / 10:
                told = acked
                say(f"{time.monotonic() - began:6.1f} s, {acked} acked")
    if ended:
        raise Stalled(ended)


async def _last_words(crowd: asyncio.subprocess.Process) -> None:
    assert crowd.stdin is not None
    crowd.stdin.write(b"healed\n")
    try:
        async with asyncio.timeout(4 * SETTLE_SECONDS):
            ended = await crowd.wait()
    except TimeoutError:
        raise Stalled("the crowd did not end") from None
    if ended != 0:
        raise Stalled(f"the crowd ended with {ended}; crowd.log says why")


async def _stored(database_url: str) -> Stored:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT session_id, seq, message_id, sender_id, content FROM chat_messages ORDER BY session_id, seq"
        )
    finally:
        await connection.close()
    stored: dict[str, list[Said]] = {}
    for row in rows:
        stored.setdefault(row["session_id"], []).append(Said.from_wire(row))
    return stored


def _errors(log: Path) -> list[str]:
    """What a node logged that is its own fault: Redis being away is a warning."""
    with log.open() as lines:
        return [f"{log.name}: {line.strip()[:MAX_LOG_CHARS]}" for line in lines if not _is_warning(line)]


def _is_warning(line: str) -> bool:
    try:
        return bool(json.loads(line)["level"] == "warning")
    except (ValueError, KeyError):
        return False


def _spread(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    ranked = sorted(seconds)
    return {name: round(ranked[int(share * (len(ranked) - 1))], 2) for name, share in (("p50", 0.5), ("p99", 0.99))}
