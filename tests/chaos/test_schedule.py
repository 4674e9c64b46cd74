from __future__ import annotations

from tests.chaos.schedule import KILL, LASTS, schedule


def test_the_same_seed_makes_the_same_faults() -> None:
    assert schedule(7, messages=5000, kills=5, nodes=3) == schedule(7, messages=5000, kills=5, nodes=3)
    assert schedule(7, messages=5000, kills=5, nodes=3) != schedule(8, messages=5000, kills=5, nodes=3)


def test_they_are_what_was_asked_for_and_spread_over_the_messages() -> None:
    faults = schedule(7, messages=100_000, kills=50, nodes=3)
    assert sum(fault.what == KILL for fault in faults) == 50
    assert {fault.what for fault in faults} == set(LASTS)
    assert {fault.node for fault in faults} == {0, 1, 2}
    afters = [fault.after for fault in faults]
    assert afters == sorted(afters)
    assert 5000 <= afters[0] <= 10_000
    assert 90_000 <= afters[-1] <= 95_000
    for fault in faults:
        least, most = LASTS[fault.what]
        assert least <= fault.seconds <= most


def test_without_kills_nothing_goes_wrong() -> None:
    assert schedule(7, messages=100, kills=0, nodes=3) == []
