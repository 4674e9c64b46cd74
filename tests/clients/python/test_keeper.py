from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from clients.python import keeper as module
from clients.python.errors import ClientError, Lost, NotConnected, Refused
from clients.python.keeper import Keeper, woken

Outcome = ClientError | Exception | float | None


class Steps:
    """Each step does what is next in `outcomes`; the last one goes on."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.count = 0
        self.ends: list[ClientError | None] = []
        self.stepped = asyncio.Event()
        self.keeper = Keeper("session s", self._step, self._end)

    async def _step(self) -> float | None:
        outcome = self.outcomes[min(self.count, len(self.outcomes) - 1)]
        self.count += 1
        self.stepped.set()
        self.keeper.is_stale = False
        if isinstance(outcome, Exception):
            raise outcome
        self.keeper.opened()
        return outcome

    def _end(self, error: ClientError | None) -> None:
        self.ends.append(error)
        self.keeper.ended(error)


@pytest.fixture
async def steps(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Steps]]:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.001)
    made: list[Steps] = []

    def make(*outcomes: Outcome) -> Steps:
        made.append(Steps(*outcomes))
        return made[-1]

    yield make
    for each in made:
        await each.keeper.close()


async def test_again_when_it_is_woken_or_wants_to_be(steps: Callable[..., Steps]) -> None:
    kept = steps(0.001, None)
    await kept.keeper.open()
    assert kept.keeper.is_open
    while kept.count < 2:
        kept.stepped.clear()
        await kept.stepped.wait()
    kept.stepped.clear()
    kept.keeper.wake(stale=True)
    assert kept.keeper.is_stale
    await kept.stepped.wait()
    assert kept.count == 3


async def test_what_passes_is_tried_again(steps: Callable[..., Steps]) -> None:
    kept = steps(Refused({"code": "SERVER_FULL"}), NotConnected("UNREACHABLE", "nobody"), None)
    await kept.keeper.open()
    assert (kept.count, kept.ends) == (3, [])


async def test_what_does_not_ends_it(steps: Callable[..., Steps]) -> None:
    kept = steps(Refused({"code": "FORBIDDEN"}))
    with pytest.raises(Refused, match="FORBIDDEN"):
        await kept.keeper.open()
    kept.keeper.wake()
    assert (kept.count, len(kept.ends), kept.keeper.is_open) == (1, 1, False)


async def test_a_fault_ends_it(steps: Callable[..., Steps], caplog: pytest.LogCaptureFixture) -> None:
    kept = steps(RuntimeError("mine"))
    with pytest.raises(Lost, match="CLIENT_FAULT"):
        await kept.keeper.open()
    assert "session s ended by a fault" in caplog.text


async def test_ended_by_another_it_steps_no_more(steps: Callable[..., Steps]) -> None:
    kept = steps(None)
    await kept.keeper.open()
    kept.keeper.ended(None)
    assert kept.keeper._task is not None
    await asyncio.wait_for(kept.keeper._task, 10)
    assert (kept.count, kept.keeper.is_open) == (1, False)


async def test_until_an_event_or_a_time() -> None:
    event = asyncio.Event()
    await woken(event, 0.001)
    await woken(event, 0)
    event.set()
    await woken(event, None)
