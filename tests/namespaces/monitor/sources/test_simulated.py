from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.monitor.catalogue import Group, Machine
from server.namespaces.monitor.rules import Rules
from server.namespaces.monitor.sources.simulated import KIND, SimulatedMachine, SimulatedSource

HOUR = 3600


def shift(code: str, seed: int, step: float = 1) -> list[str]:
    machine = SimulatedMachine(code, seed)
    return [machine.at(second * step).status for second in range(int(HOUR / step))]


def test_a_run_is_repeatable() -> None:
    assert shift("KRCWO12ELOA101", 1) == shift("KRCWO12ELOA101", 1)


def test_a_run_is_the_one_it_always_was() -> None:
    """Also in another process, and after an upgrade: `hash()` of a text would not be."""
    assert [shift("KRCWO12ELOA101", 1)[second] for second in range(0, HOUR, 300)] == [
        "running",
        "running",
        "running",
        "stopped",
        "running",
        "running",
        "running",
        "running",
        "running",
        "running",
        "idle",
        "running",
    ]


def test_machines_and_seeds_differ() -> None:
    assert shift("KRCWO12ELOA101", 1) != shift("KRCWO12ELOA102", 1)
    assert shift("KRCWO12ELOA101", 1) != shift("KRCWO12ELOA101", 2)


def test_every_status_comes_up_in_an_hour_and_running_most() -> None:
    seen = [status for number in range(17) for status in shift(f"KRCWO12ELOA1{number:02}", 1)]
    assert set(seen) == {"running", "idle", "stopped", "error"}
    assert seen.count("running") > len(seen) / 2


@given(st.lists(st.floats(min_value=0, max_value=HOUR), min_size=1, max_size=50))
def test_when_it_was_asked_changes_nothing(moments: list[float]) -> None:
    asked_often = SimulatedMachine("KRCWO12ELOA101", 3)
    often = [asked_often.at(moment) for moment in sorted(moments)]
    assert often[-1] == SimulatedMachine("KRCWO12ELOA101", 3).at(max(moments))


async def test_a_source_starts_with_its_first_read() -> None:
    time = 1_000_000.0
    source = SimulatedSource("line", [Machine("KRCWO12ELOA101", "x")], seed=3, clock=lambda: time)
    same = SimulatedMachine("KRCWO12ELOA101", 3)
    for elapsed in (0, 100, 200):
        time = 1_000_000.0 + elapsed
        assert await source.read() == {"KRCWO12ELOA101": same.at(elapsed)}
        await source.close()
    assert list(source.codes) == ["KRCWO12ELOA101"]


async def test_a_group_has_its_seed() -> None:
    machines = tuple(Machine(f"KRCWO12ELOA10{number}", "x") for number in range(5))
    for options, seed in (({}, 0), ({"seed": 3}, 3)):
        source = KIND.build(Group("line", "simulated", KIND.options().load(options), Rules({}), machines))
        assert source.name == "line"
        assert await source.read() == {each.code: SimulatedMachine(each.code, seed).at(0) for each in machines}
