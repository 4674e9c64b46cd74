"""Machines that are not there: a seeded state machine each, so that a run is repeatable. It opens nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from server.namespaces.monitor.catalogue import Group, Kind, Machine
from server.namespaces.monitor.schemas import Reading
from server.realtime.schema import Count, Payload


@dataclass(frozen=True, slots=True)
class State:
    """How it reads, how many seconds it lasts, and what may follow how often."""

    reading: Reading
    least: float
    most: float
    next: Mapping[str, int]


STATES: Mapping[str, State] = {
    "running": State(Reading("running"), 20, 90, {"idle": 6, "stopped": 2, "error": 2}),
    "idle": State(Reading("idle"), 5, 20, {"running": 8, "stopped": 2}),
    "stopped": State(Reading("stopped"), 5, 30, {"running": 7, "idle": 3}),
    "error": State(Reading("error"), 4, 15, {"stopped": 6, "running": 4}),
}
AT_FIRST: Mapping[str, int] = {"running": 7, "idle": 2, "stopped": 1, "error": 1}


class SimulatedMachine:
    """What it is at any time after its start depends on its code and the seed alone, not on when it was asked."""

    def __init__(self, code: str, seed: int) -> None:
        self._random = Random(f"{seed}:{code}")  # noqa: S311 - a play, not a secret
        self._state = STATES[self._pick(AT_FIRST)]
        self._until = self._random.uniform(0, self._state.most)

    def at(self, seconds: float) -> Reading:
        """`seconds` after its start; they never go back."""
        while self._until <= seconds:
            self._state = STATES[self._pick(self._state.next)]
            self._until += self._random.uniform(self._state.least, self._state.most)
        return self._state.reading

    def _pick(self, weights: Mapping[str, int]) -> str:
        return self._random.choices(list(weights), list(weights.values()))[0]


class SimulatedSource:
    """Starts with its first read."""

    def __init__(
        self, name: str, machines: Sequence[Machine], *, seed: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._machines = {machine.code: SimulatedMachine(machine.code, seed) for machine in machines}
        self._clock = clock
        self._started: float | None = None

    @property
    def codes(self) -> Sequence[str]:
        return tuple(self._machines)

    async def read(self) -> Mapping[str, Reading]:
        now = self._clock()
        if self._started is None:
            self._started = now
        return {code: machine.at(now - self._started) for code, machine in self._machines.items()}

    async def close(self) -> None:
        """It goes on where it is: there is nothing to let go of."""


class _Options(Payload):
    seed = Count(load_default=0)


def _build(group: Group) -> SimulatedSource:
    return SimulatedSource(group.name, group.machines, seed=group.options["seed"])


KIND = Kind(_Options, Payload, None, _build)
