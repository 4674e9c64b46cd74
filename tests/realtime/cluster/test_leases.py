from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from server.realtime.cluster.address import connector
from server.realtime.cluster.leases import CLAIM, LEASE_SECONDS, ClusterLease
from server.realtime.cluster.node import Node
from server.realtime.cluster.scripts import Script
from tests.support.proxy import Proxy
from tests.support.redis import HOST, RedisServer

PATIENCE = 20
NAME = "work"
SECOND = 1_000_000  # of Redis's clock


class Clock:
    def __init__(self) -> None:
        self.skipped = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.skipped


class Contender:
    """A node that wants the lease, and what it does with it, written into a `diary` that all of them share."""

    def __init__(self, name: str, redis: RedisServer, proxy: Proxy, prefix: str, seconds: float) -> None:
        self.name = name
        self.proxy = proxy
        self.clock = Clock()
        self.node = Node(connector(redis.url_on(proxy.port)), prefix)
        self.lease = ClusterLease(self.node, NAME, seconds=seconds, clock=self.clock)
        self.fences: list[int] = []
        self.holding: asyncio.Task[None] | None = None

    def contend(self, diary: Diary) -> None:
        async def work() -> None:
            assert self.lease.held
            self.fences.append(self.lease.fence)
            diary.write(f"{self.name} begins")
            try:
                await asyncio.Event().wait()
            finally:
                diary.write(f"{self.name} ends")

        self.holding = asyncio.create_task(self.lease.hold(work))

    async def withdraw(self) -> None:
        if self.holding is not None:
            self.holding.cancel()
            await asyncio.gather(self.holding, return_exceptions=True)

    async def cut(self) -> None:
        self.proxy.refuse()
        await self.proxy.cut()


class Diary:
    def __init__(self) -> None:
        self.entries: list[str] = []
        self._written = asyncio.Event()

    def write(self, entry: str) -> None:
        self.entries.append(entry)
        self._written.set()

    async def says(self, *entries: str) -> None:
        """Waits for these, which must be all there are."""
        async with asyncio.timeout(PATIENCE):
            while len(self.entries) < len(entries):
                self._written.clear()
                await self._written.wait()
        assert self.entries == [*entries]


class Rig:
    def __init__(self, redis: RedisServer, client: Redis, stack: AsyncExitStack) -> None:
        self.redis = redis
        self.client = client
        self.prefix = secrets.token_hex(4)
        self.diary = Diary()
        self.key = f"{self.prefix}:{{nodes}}:lease:{NAME}"
        self._stack = stack

    async def node(self, name: str, *, seconds: float = LEASE_SECONDS, start: bool = True) -> Contender:
        proxy = await Proxy.start(HOST, self.redis.port)
        self._stack.push_async_callback(proxy.close)
        contender = Contender(name, self.redis, proxy, self.prefix, seconds)
        if start:
            await contender.node.start()
        self._stack.push_async_callback(contender.node.stop)
        self._stack.push_async_callback(contender.withdraw)
        return contender

    async def long_since_up(self) -> None:
        """So that the lease is free, and known to be."""
        run = (await self.client.info("server"))["run_id"]
        await self.write(run=run, free=0)

    async def write(self, **fields: str | int) -> None:
        await self.client.hset(self.key, mapping=fields)  # type: ignore[misc]

    async def read(self, field: str) -> bytes | None:
        value: bytes | None = await self.client.hget(self.key, field)  # type: ignore[misc]
        return value

    async def restart(self) -> None:
        await self.redis.kill()
        await self.redis.start()
        await self.client.connection_pool.disconnect()

    async def until(self, true: Callable[[], bool | Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                found = true()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(0.01)  # Redis does not say when it changes

    async def claim(self, node: str, *, held: int = 0, seen: int = 0, seconds: float = 4) -> tuple[int, int, float]:
        """As a node asks: the fence granted, the lease's, and seconds until it may be free."""
        keys_and_args: list[Any] = [self.key, node, held, seen, round(seconds * SECOND)]
        granted, fence, rest = await self.client.eval(CLAIM.text, 1, *keys_and_args)  # type: ignore[misc]
        return granted, fence, rest / SECOND


@asynccontextmanager
async def rigged() -> AsyncIterator[Rig]:
    async with RedisServer() as redis, redis.client() as client, AsyncExitStack() as stack:
        yield Rig(redis, client, stack)


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with rigged() as rig:
        yield rig


# -- what Redis grants -------------------------------------------------------------------------------------------


async def test_a_redis_that_knows_nothing_gives_it_to_nobody_until_earlier_leases_must_have_run_out(rig: Rig) -> None:
    granted, _, rest = await rig.claim("b")
    assert granted == 0
    assert 3.9 < rest <= 4
    granted, fence, _ = await rig.claim("a", held=7)
    assert (granted, fence) == (7, 7)  # who holds it still does
    assert (await rig.claim("b"))[0] == 0
    await rig.client.flushall()
    await rig.claim("b", seconds=0.05)
    await asyncio.sleep(0.05)
    assert (await rig.claim("b"))[0] > 0


async def test_a_redis_that_went_back_to_an_older_state_gives_it_to_nobody_either(rig: Rig) -> None:
    """As after a restart from a snapshot, or on a replica that lagged behind."""
    await rig.write(run="another", holder="a", fence=7, ends=1, free=0)
    assert (await rig.claim("b"))[0] == 0
    assert (await rig.claim("a", held=7))[0] == 7
    await rig.write(run="another", holder="c", fence=5, ends=1, free=0)
    assert (await rig.claim("b"))[0] == 0
    assert (await rig.claim("c", held=5))[0] == 5
    assert (await rig.claim("a", held=7))[0] == 7  # the later holder, whoever came first
    assert (await rig.claim("c", held=5))[0] == 0


async def test_a_lease_from_the_future_is_of_a_clock_that_went_back(rig: Rig) -> None:
    await rig.long_since_up()
    far = round(time.time() + 3600) * SECOND
    await rig.write(holder="a", fence=far, ends=far)
    granted, fence, rest = await rig.claim("b")
    assert (granted, fence) == (0, far)
    assert rest <= 4
    await rig.write(free=0)
    assert (await rig.claim("b"))[0] == far + 1


async def test_fences_rise_with_each_holder_whatever_redis_forgot(rig: Rig) -> None:
    await rig.long_since_up()
    first, _, _ = await rig.claim("a")
    assert (await rig.claim("b"))[:2] == (0, first)
    assert (await rig.claim("a", held=first))[:2] == (first, first)
    await rig.write(ends=0)
    second, _, _ = await rig.claim("b")
    assert second > first
    assert (await rig.claim("a", held=first))[:2] == (0, second)
    await rig.client.flushall()
    await rig.long_since_up()
    assert (await rig.claim("c", seen=second + SECOND * 3600))[0] == second + SECOND * 3600 + 1


async def test_one_who_does_not_know_that_it_holds_it_waits_like_the_others(rig: Rig) -> None:
    await rig.long_since_up()
    assert (await rig.claim("a"))[0] > 0
    assert (await rig.claim("a"))[0] == 0


# -- who works ----------------------------------------------------------------------------------------------------


async def test_one_works_and_when_it_stops_another_need_not_wait(rig: Rig) -> None:
    await rig.long_since_up()
    a = await rig.node("a")
    a.contend(rig.diary)
    await rig.diary.says("a begins")
    others = [await rig.node(name) for name in "bc"]
    for each in others:
        each.contend(rig.diary)
    await a.withdraw()
    assert not a.lease.held
    await rig.until(lambda: any(each.fences for each in others))
    (winner,) = (each for each in others if each.fences)
    await rig.diary.says("a begins", "a ends", f"{winner.name} begins")
    assert winner.fences[0] > a.fences[0]
    await winner.withdraw()
    await winner.node.stop()
    assert await rig.read("ends") == b"0" or await rig.read("holder") != winner.node.id.encode()


async def test_one_that_is_cut_off_has_stopped_before_another_begins(rig: Rig) -> None:
    await rig.long_since_up()
    a, b = await rig.node("a", seconds=1.5), await rig.node("b", seconds=1.5)
    a.contend(rig.diary)
    await rig.diary.says("a begins")
    b.contend(rig.diary)
    await a.cut()
    await rig.diary.says("a begins", "a ends", "b begins")
    assert b.fences[0] > a.fences[0]
    await a.proxy.accept()
    await rig.until(lambda: a.node.up)
    await b.withdraw()
    await rig.diary.says("a begins", "a ends", "b begins", "b ends", "a begins")


async def test_a_black_hole_is_as_good_as_a_cut(rig: Rig) -> None:
    await rig.long_since_up()
    a, b = await rig.node("a", seconds=1.5), await rig.node("b", seconds=1.5)
    a.contend(rig.diary)
    await rig.diary.says("a begins")
    b.contend(rig.diary)
    a.proxy.black_hole(True)
    await rig.diary.says("a begins", "a ends", "b begins")
    a.proxy.black_hole(False)  # what it said meanwhile arrives
    await rig.until(lambda: a.node.up)
    assert b.lease.held
    assert rig.diary.entries == ["a begins", "a ends", "b begins"]


async def test_one_that_was_suspended_does_not_hold_it_when_it_goes_on(rig: Rig) -> None:
    await rig.long_since_up()
    a = await rig.node("a")
    a.contend(rig.diary)
    await rig.diary.says("a begins")
    a.clock.skipped += LEASE_SECONDS * 0.99
    assert not a.lease.held
    await rig.diary.says("a begins", "a ends", "a begins")
    assert a.fences[1] > a.fences[0]


async def test_an_answer_that_comes_too_late_is_worth_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.long_since_up()
    a = await rig.node("a")
    a.contend(rig.diary)
    await rig.diary.says("a begins")
    run, answered = a.node.run, asyncio.Event()

    async def slow(script: Script, *arguments: Any) -> Any:
        answer = await run(script, *arguments)
        if script is not CLAIM:
            return answer
        a.clock.skipped += LEASE_SECONDS * 0.8  # its first grant has run out then, the one that was asked for has not
        monkeypatch.undo()
        answered.set()
        return answer

    monkeypatch.setattr(a.node, "run", slow)
    await answered.wait()
    await asyncio.sleep(0)
    assert not a.lease.held
    await rig.diary.says("a begins", "a ends", "a begins")
    assert a.fences[1] > a.fences[0]


async def test_it_is_kept_for_longer_than_a_grant_lasts(rig: Rig) -> None:
    await rig.long_since_up()
    a, b = await rig.node("a", seconds=1), await rig.node("b", seconds=1)
    a.contend(rig.diary)
    await rig.diary.says("a begins")
    b.contend(rig.diary)
    first = await _ends(rig)
    await rig.until(lambda: _later(rig, first + 2 * SECOND))
    assert a.lease.held
    assert rig.diary.entries == ["a begins"]


async def test_redis_starts_again_empty_and_the_holder_goes_on(rig: Rig) -> None:
    await rig.long_since_up()
    a, b = await rig.node("a"), await rig.node("b")
    a.contend(rig.diary)
    await rig.diary.says("a begins")
    b.contend(rig.diary)
    await rig.restart()
    await rig.until(lambda: _is(rig, "fence", a.fences[0]))
    assert await rig.read("holder") == a.node.id.encode()
    assert a.lease.held
    assert rig.diary.entries == ["a begins"]


async def test_redis_starts_again_empty_without_the_holder_and_another_waits_for_its_end(rig: Rig) -> None:
    await rig.long_since_up()
    a, b = await rig.node("a", seconds=2), await rig.node("b", seconds=2)
    a.contend(rig.diary)
    await rig.diary.says("a begins")
    b.contend(rig.diary)
    await a.cut()
    await rig.restart()
    await rig.diary.says("a begins", "a ends", "b begins")
    assert b.fences[0] > a.fences[0]


async def test_redis_goes_away_and_nobody_works_until_it_is_back(rig: Rig) -> None:
    await rig.long_since_up()
    a = await rig.node("a", seconds=1)
    a.contend(rig.diary)
    await rig.diary.says("a begins")
    await rig.redis.kill()
    await rig.diary.says("a begins", "a ends")
    await rig.redis.start()
    await rig.diary.says("a begins", "a ends", "a begins")
    assert a.fences[1] > a.fences[0]


async def test_work_that_fails_frees_it_and_work_that_is_done_does_not(rig: Rig) -> None:
    await rig.long_since_up()
    a, b = await rig.node("a"), await rig.node("b")
    did: list[str] = []

    async def fail() -> None:
        did.append("a")
        raise ZeroDivisionError

    async def finish() -> None:
        did.append("b")

    with pytest.raises(ZeroDivisionError):
        await a.lease.hold(fail)
    b.holding = asyncio.create_task(b.lease.hold(finish))
    await rig.until(lambda: did == ["a", "b"])
    ends = await _ends(rig)
    await rig.until(lambda: _later(rig, ends))
    assert b.lease.held
    assert did == ["a", "b"]


# -- what a holder tells ------------------------------------------------------------------------------------------


async def test_the_others_hear_what_the_holder_tells(rig: Rig) -> None:
    await rig.long_since_up()
    a, b = await rig.node("a"), await rig.node("b")
    heard: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
    a.lease.follow(lambda fence, news: heard.put_nowait((-1, "itself")))
    b.lease.follow(lambda fence, news: heard.put_nowait((fence, news)))
    a.contend(rig.diary)
    await rig.diary.says("a begins")
    await rig.until(lambda: _alive(rig, 2))
    b.lease.tell({"said": "by one that does not hold it"})
    a.lease.tell({"number": 1})
    a.lease.tell({"number": 2})
    async with asyncio.timeout(PATIENCE):
        assert [await heard.get() for _ in range(2)] == [(a.fences[0], {"number": 1}), (a.fences[0], {"number": 2})]


@pytest.mark.parametrize("field", ["holder", "fence", "ends"])
async def test_nobody_hears_what_is_told_too_late(rig: Rig, field: str) -> None:
    """It was on its way while the lease ended."""
    await rig.long_since_up()
    a, b = await rig.node("a", seconds=600), await rig.node("b")
    heard: asyncio.Queue[Any] = asyncio.Queue()
    b.lease.follow(lambda fence, news: heard.put_nowait(news))
    a.contend(rig.diary)
    await rig.diary.says("a begins")
    await rig.until(lambda: _alive(rig, 2))
    was = await rig.read(field)
    assert was is not None
    await rig.write(**{field: 1})
    a.lease.tell({"too": "late"})
    await a.node.call("PING")
    await rig.write(**{field: was.decode()})
    a.lease.tell({"in": "time"})
    async with asyncio.timeout(PATIENCE):
        assert await heard.get() == {"in": "time"}


async def test_nobody_listens_to_a_former_holder(rig: Rig) -> None:
    a, b = await rig.node("a"), await rig.node("b")
    heard: list[tuple[int, Any]] = []
    b.lease.follow(lambda fence, news: heard.append((fence, news)))
    for fence in (7, 8, 7, 8):
        await a.node.tell(b.node.id, f"lease {NAME}", {"fence": fence, "news": {}})
    await rig.until(lambda: len(heard) == 3)
    assert [fence for fence, _ in heard] == [7, 8, 8]


async def _is(rig: Rig, field: str, value: int) -> bool:
    return await rig.read(field) == str(value).encode()


async def _ends(rig: Rig) -> float:
    return float(await rig.read("ends") or math.inf)


async def _later(rig: Rig, than: float) -> bool:
    return await _ends(rig) > than


async def _alive(rig: Rig, nodes: int) -> bool:
    found: int = await rig.client.zcard(f"{rig.prefix}:{{nodes}}:alive")
    return found == nodes
