from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import GoingAway
from server.realtime.drain import MOST_SPREAD_SECONDS, SECONDS_A_CLIENT, Drain, plan
from server.realtime.recovery import Bounds
from tests.realtime.inherited.wire import eventually
from tests.support.echo import connect_packet, serving
from tests.support.raw import RawSocket, raw_socket
from tests.support.recovering import raw_connect
from tests.support.running import Running

RECOVERY = Bounds(seconds=120, retention=240, messages=1000, bytes=1_000_000, sessions=10)


@given(count=st.integers(0, 3000), seed=st.integers())
def test_every_client_has_a_turn_of_its_own(count: int, seed: int) -> None:
    delays = plan(count, random.Random(seed))  # noqa: S311
    assert len(delays) == count
    turn = min(SECONDS_A_CLIENT, MOST_SPREAD_SECONDS / max(count, 1))
    for number, delay in enumerate(sorted(delays)):
        assert number * turn <= delay <= (number + 1) * turn
    assert all(0 <= delay <= MOST_SPREAD_SECONDS for delay in delays)


def test_turns_follow_no_order() -> None:
    one, other = (plan(100, random.Random(seed)) for seed in (1, 2))  # noqa: S311
    assert one != sorted(one)
    assert one != other


def drain(server: Running, **options: object) -> Drain:
    realtime = server.realtime
    return Drain(realtime.eio, lambda session: realtime._tell_all(session, GoingAway()), **options)  # type: ignore[arg-type]


async def enter(raw: RawSocket) -> None:
    await raw.send(connect_packet())
    await raw.expect('42/echo,["connected"')


class Turns:
    """A sleep that ends when the test says so."""

    def __init__(self) -> None:
        self.waiting: dict[float, asyncio.Event] = {}

    async def sleep(self, seconds: float) -> None:
        await self.waiting.setdefault(seconds, asyncio.Event()).wait()

    def come(self, seconds: float) -> None:
        self.waiting[seconds].set()


async def test_each_client_goes_in_its_turn_and_hears_when_that_is() -> None:
    turns = Turns()
    async with serving() as (server, namespace), raw_socket(server.url) as one, raw_socket(server.url) as two:
        for raw in (one, two):
            await enter(raw)
        chance = random.Random(1)  # noqa: S311
        going = asyncio.create_task(drain(server, sleep=turns.sleep, chance=chance).run())
        told = {raw: await raw.expect('42/echo,["server_draining"') for raw in (one, two)}
        await eventually(lambda: len(turns.waiting) == 2)
        first, second = sorted(turns.waiting)
        sooner, later = sorted((one, two), key=lambda raw: int(told[raw].rpartition(":")[2].rstrip("}]")))
        assert told[sooner].endswith(f'{{"reconnect_after_ms":{round(first * 1000)}}}]')
        turns.come(first)
        assert await sooner.closed() == 1001
        await later.send('42/echo,1["echo",{"text":"still here"}]')
        await later.expect("43/echo,1")
        turns.come(second)
        assert '"code":"GOING_AWAY"' in await later.expect('42/echo,["disconnecting_reason"')
        assert await later.closed() == 1001
        await going
        assert namespace.gone_reasons == ["transport close"] * 2
        assert not server.realtime.eio.sessions


async def test_what_waits_is_answered_and_what_comes_later_is_not_begun() -> None:
    async with serving() as (server, namespace), raw_socket(server.url) as one:
        await enter(one)
        await one.send('42/echo,1["wait",{"number":1}]')
        await one.send('42/echo,2["wait",{"number":2}]')
        await namespace.entered.wait()
        session = next(iter(server.realtime.eio.sessions.values()))
        draining = drain(server)
        going = asyncio.create_task(draining.run())
        await eventually(lambda: session in draining._finishing)
        await one.send('42/echo,3["wait",{"number":3}]')
        asking = asyncio.create_task(server.realtime.eio.answers(session.id, 5))
        await one.expect("2")
        await one.send("3")  # behind which all was read
        assert await asking
        namespace.gate.set()
        await one.expect("43/echo,1")
        await one.expect("43/echo,2")
        assert await one.closed() == 1001
        await going
        assert namespace.order == [1, 2]


async def test_what_does_not_end_is_cut_off_and_can_be_resumed_all_the_same() -> None:
    async with serving(recovery=RECOVERY) as (server, namespace), raw_socket(server.url) as one:
        greeting = await raw_connect(one)
        await one.send('42/echo,1["wait",{"number":1}]')
        await namespace.entered.wait()
        await drain(server, most_seconds=0.05).run()
        assert await one.closed() == 1001
        recovery = server.realtime.manager._recoveries["/echo"]
        assert recovery._sessions[greeting["pid"]].expires_at is not None


async def test_who_was_drained_can_be_resumed() -> None:
    async with serving(recovery=RECOVERY) as (server, _), raw_socket(server.url) as one:
        greeting = await raw_connect(one)
        await server.realtime.drain()
        assert server.realtime.manager._recoveries["/echo"]._sessions[greeting["pid"]].expires_at is not None


async def test_a_connect_that_comes_too_late_is_not_refused_for_good() -> None:
    turns = Turns()
    async with serving() as (server, _), raw_socket(server.url) as one:
        await one.expect("0")
        going = asyncio.create_task(drain(server, sleep=turns.sleep).run())
        await eventually(lambda: turns.waiting)
        await one.send(connect_packet())
        turns.come(*turns.waiting)
        with pytest.raises(EOFError):
            await one.expect("4")
        assert await one.closed() == 1001
        await going


async def test_without_clients_it_is_done_at_once() -> None:
    def never(seconds: float) -> None:
        raise AssertionError(seconds)

    sleep: Callable[[float], object] = never
    async with serving() as (server, _):
        await drain(server, sleep=sleep).run()
