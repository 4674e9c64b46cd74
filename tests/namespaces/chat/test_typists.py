from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from server.identity import Identity
from server.namespaces.chat.typists import SILENCE_SECONDS, Typists, on_loop
from server.realtime.connection import Connection

ALICE = Connection("c1", "/chat", Identity("alice"), "")
BOB = Connection("c2", "/chat", Identity("bob"), "")


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self.now + seconds, callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer in self.timers if timer.due <= self.now and not timer.cancelled]:
            self.timers.remove(timer)
            timer.callback()


class Timer:
    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ended() -> list[tuple[str, Connection]]:
    return []


@pytest.fixture
def typists(clock: Clock, ended: list[tuple[str, Connection]]) -> Typists:
    return Typists(lambda session_id, connection: ended.append((session_id, connection)), clock.later)


def test_five_seconds_of_silence_end_it(typists: Typists, clock: Clock, ended: list[object]) -> None:
    assert SILENCE_SECONDS == 5
    typists.start("s1", ALICE)
    clock.advance(4.9)
    assert not ended
    clock.advance(0.1)
    assert ended == [("s1", ALICE)]
    clock.advance(60)
    assert len(ended) == 1
    assert len(typists) == 0


def test_typing_on_puts_it_off(typists: Typists, clock: Clock, ended: list[object]) -> None:
    for _ in range(5):
        typists.start("s1", ALICE)
        clock.advance(4)
    assert not ended
    clock.advance(1)
    assert ended == [("s1", ALICE)]


def test_stopping_ends_only_that(typists: Typists, clock: Clock, ended: list[object]) -> None:
    typists.start("s1", ALICE)
    typists.start("s2", ALICE)
    typists.start("s1", BOB)
    assert typists.stop("s1", ALICE)
    assert not typists.stop("s1", ALICE)
    clock.advance(5)
    assert ended == [("s2", ALICE), ("s1", BOB)]
    assert not typists.stop("s1", BOB)


def test_after_closing_nothing_happens(typists: Typists, clock: Clock, ended: list[object]) -> None:
    typists.start("s1", ALICE)
    typists.close()
    typists.start("s1", BOB)
    clock.advance(5)
    assert not ended
    assert len(typists) == 0


async def test_the_loop_is_the_clock_unless_told_otherwise() -> None:
    rang = asyncio.Event()
    on_loop(0, rang.set)
    await rang.wait()
