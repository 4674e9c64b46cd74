"""PYTHON-SOCKETIO.md §4: pings go by the clock that does not jump, and who is given up is told so."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.realtime.inherited.wire import eventually, leaving_nothing, poller, wire
from tests.support.echo import serving


@pytest.mark.parametrize("jump", [-1e6, 1e6])
async def test_a_jump_of_the_wall_clock_ends_and_delays_nobody(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    wall = time.time
    async with serving(ping_interval=0.05, ping_timeout=10, now=wall) as (server, namespace):
        async with wire(server.url) as one:
            await one.join()
            for _ in range(3):
                monkeypatch.setattr(time, "time", lambda now=time.time: now() + jump)
                await one.expect("2")
                await one.send("3")
            await one.send('42/echo,1["echo",{"text":"still here"}]')
            await one.expect("43/echo,1")
        await namespace.gone_event.wait()


async def test_the_silent_are_given_up_also_when_the_wall_clock_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    async with (
        serving(ping_interval=0.02, ping_timeout=0.02, most_missed_pongs=2) as (server, namespace),
        wire(server.url) as one,
    ):
        await one.join()
        assert await one.ended() == 4003
        assert namespace.gone_reasons == ["ping timeout"]


async def test_a_poller_that_is_given_up_hears_it_in_its_last_poll() -> None:
    async with (
        serving(ping_interval=0.02, ping_timeout=0.05, most_missed_pongs=1) as (server, _),
        leaving_nothing(server),
        poller(server.url) as one,
    ):
        await one.join()
        packets = ["2"]
        while packets in (["2"], ["6"]):
            status, packets = await one.get()
        assert status == 200
        assert packets[0].startswith('42/echo,["disconnecting_reason",{"code":"HEARTBEAT_LOST"')
        assert packets[1:] == ["1"]


async def test_one_that_polls_no_more_is_given_up_and_leaves_nothing() -> None:
    async with serving(ping_interval=0.02, ping_timeout=0.02) as (server, namespace), leaving_nothing(server):
        async with poller(server.url) as one:
            await one.join()
        await namespace.gone_event.wait()
        assert namespace.gone_reasons == ["ping timeout"]


async def test_pongs_unasked_for_postpone_nothing() -> None:
    """Who floods with pongs, and answers no ping, is pinged and given up like any other."""
    now = 0.0
    async with (
        serving(clock=lambda: now, ping_interval=10, ping_timeout=5, most_missed_pongs=1) as (server, _),
        wire(server.url) as chatty,
    ):
        await chatty.join()
        for now in (3.0, 6.0, 9.0):  # noqa: B007 - the clock reads it
            await chatty.send(*["3"] * 100, '42/echo,1["echo",{"text":"x"}]')
            await chatty.expect("43/echo,1")
        now = 10.0
        server.realtime.eio.beat()
        await chatty.expect("2")
        now = 15.0
        server.realtime.eio.beat()
        assert await chatty.ended() == 4003


async def test_nothing_of_a_client_is_on_the_clock_once_it_is_gone() -> None:
    now = 0.0
    async with serving(clock=lambda: now, ping_interval=10, ping_timeout=5) as (server, namespace):
        async with wire(server.url) as one:
            await one.join()
        await namespace.gone_event.wait()
        await eventually(lambda: not server.realtime.eio.sessions)
        now = 1000.0
        server.realtime.eio.beat()
        await asyncio.sleep(0)
        assert not server.realtime.eio.sessions
