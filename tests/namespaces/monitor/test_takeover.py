"""Many nodes: one reads, all show the same, whoever reads next."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest

from server.namespaces.monitor.schemas import Reading
from tests.namespaces.monitor.plant import IDLE, Cluster, Outbox, Scripted, Time, machine, refuse, running

WELDER, PRESS, ROBOT = (machine(number) for number in (1, 2, 3))


@pytest.fixture
def time() -> Time:
    return Time()


@asynccontextmanager
async def two_nodes(time: Time, first: Scripted, second: Scripted) -> AsyncIterator[tuple[Cluster, Outbox, Outbox]]:
    cluster = Cluster()
    one, other = cluster.candidates
    async with (
        running(time, [WELDER], [first], lease=one) as (_, here),
        running(time, [WELDER], [second], lease=other) as (_, there),
    ):
        yield cluster, here, there


async def test_one_node_reads_and_all_show_it_at_the_same_moments(time: Time) -> None:
    first, second = Scripted(time.clock, [WELDER]), Scripted(time.clock, [WELDER])
    async with two_nodes(time, first, second) as (cluster, here, there):
        cluster.give(0)
        await time.until(2.9)
        first.answer = lambda: {WELDER.code: IDLE}
        await time.until(3.5)
    assert second.reads == []
    assert here.sent == there.sent
    assert here.moments == [0.05, 1.05, 2.05, 3.05]
    assert there.statuses() == [("running",)] * 3 + [("idle",)]


async def test_a_fault_shows_on_all_nodes(time: Time) -> None:
    first = Scripted(time.clock, [WELDER])
    async with two_nodes(time, first, Scripted(time.clock, [WELDER])) as (cluster, here, there):
        cluster.give(0)
        await time.until(1.2)
        first.answer = refuse
        await time.until(9.2)  # it is read again every few seconds
    assert here.sent == there.sent
    assert there.statuses() == [("running",)] * 2 + [("disconnected",)] * 8
    assert there.sent[-1][1]["equipment"][0]["tags"] == {"status_tag": 1, "error_tag": 0, "connection": False}


@pytest.mark.parametrize("last", [4.0, 4.3, 4.5, 4.99])
async def test_nobody_reads_and_all_say_so_within_two_periods(time: Time, last: float) -> None:
    async with two_nodes(time, Scripted(time.clock, [WELDER]), Scripted(time.clock, [WELDER])) as (
        cluster,
        here,
        there,
    ):
        cluster.give(0)
        await time.until(last)
        cluster.give(None)
        await time.until(last + 2)
        assert here.statuses()[-1] == there.statuses()[-1] == ("disconnected",)
        assert here.statuses()[:5] == there.statuses()[:5] == [("running",)] * 5
        cluster.give(1)
        await time.until(math.ceil(time.now) + 0.1)
    assert here.sent == there.sent
    assert here.statuses()[-1] == ("running",)
    assert all(round(after - before, 6) == 1 for before, after in pairwise(here.moments))


async def test_a_new_reader_does_not_vouch_for_what_another_one_read(time: Time) -> None:
    first, second = Scripted(time.clock, [WELDER]), Scripted(time.clock, [WELDER])
    async with two_nodes(time, first, second) as (cluster, _, there):
        cluster.give(0)
        await time.until(1.2)
        second.hang = asyncio.Event()
        cluster.give(1)
        await time.until(3.2)
    assert there.statuses() == [("running",)] * 2 + [("disconnected",)] * 2


async def test_one_that_was_suspended_neither_reads_nor_reports_when_it_goes_on(time: Time) -> None:
    first, second = Scripted(time.clock, [WELDER]), Scripted(time.clock, [WELDER], lambda: {WELDER.code: IDLE})
    async with two_nodes(time, first, second) as (cluster, here, there):
        cluster.give(0)
        await time.until(1.2)
        first.hang = asyncio.Event()
        await time.until(1.6)
        cluster.give(1, suspended=True)
        await time.until(3.02)
        first.hang.set()
        await time.until(4.2)
    assert first.reads == [0.0, 0.5, 1.0, 1.5]
    assert here.sent == there.sent
    assert here.statuses() == [("running",)] * 2 + [("idle",)] * 3


async def test_nodes_with_other_machines_tell_each_other_of_those_that_both_have(time: Time) -> None:
    """As while a new configuration is rolled out."""
    cluster = Cluster()
    one, other = cluster.candidates
    async with (
        running(time, [WELDER, PRESS], [Scripted(time.clock, [WELDER, PRESS])], lease=one),
        running(time, [WELDER, ROBOT], [Scripted(time.clock, [WELDER, ROBOT])], lease=other) as (_, there),
    ):
        cluster.give(0)
        await time.until(1.2)
    assert there.statuses()[-1] == ("running", "disconnected")


async def test_nodes_that_start_at_other_times_send_at_the_same(time: Time) -> None:
    cluster = Cluster()
    one, other = cluster.candidates
    await time.until(0.7)
    async with running(time, [WELDER], [Scripted(time.clock, [WELDER])], lease=one) as (_, here):
        cluster.give(0)
        await time.until(2.3)
        async with running(time, [WELDER], [Scripted(time.clock, [WELDER])], lease=other) as (service, there):
            await time.until(2.5)
            newest = service.newest()
            await time.until(4.3)
    assert here.moments == [0.75, 2.05, 3.05, 4.05]
    assert there.moments == [2.35, 3.05, 4.05]
    assert [status for _, status in here.sent[-2:]] == [status for _, status in there.sent[-2:]]
    assert newest is not None


async def test_other_nodes_are_told_of_what_was_read_and_only_of_that(time: Time) -> None:
    cluster = Cluster()
    odd = Reading("error", "stale", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=9))), runs=True)
    sources = [Scripted(time.clock, [WELDER]), Scripted(time.clock, [PRESS], refuse)]
    async with (
        running(time, [WELDER, PRESS], sources, lease=cluster.candidates[0]) as (_, here),
        running(time, [WELDER, PRESS], [], lease=cluster.candidates[1]) as (_, there),
    ):
        cluster.give(0)
        await time.until(0.6)
        assert [[*news] for news in cluster.told] == [[WELDER.code], [PRESS.code]] * 2
        await time.until(1.02)
        assert [[*news] for news in cluster.told[4:]] == [[WELDER.code]]  # the other pauses
        sources[0].answer = lambda: {WELDER.code: odd}
        await time.until(2.2)
    assert here.sent == there.sent
    assert there.newest("quality") == ["stale", "bad"]
    assert there.newest("source_time") == [None, None]
    assert [tags["status_tag"] for tags in there.newest("tags")] == [1, 0]
