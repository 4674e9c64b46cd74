from __future__ import annotations

import pytest

from server.realtime.insight import alerts
from server.realtime.insight.alerts import AlertRules, Alerts


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def states(of: Alerts) -> list[tuple[str, bool, int]]:
    return [(each.id, each.until is None, each.count) for each in of.shown()]


def test_it_fires_until_it_is_resolved_and_counts_how_often(clock: Clock) -> None:
    found = Alerts(now=clock)
    for _ in range(3):
        found.fire("redis_lost", "away")
        clock.now += 1
    assert states(found) == [("redis_lost", True, 1)]
    found.resolve("redis_lost")
    found.resolve("redis_lost")
    found.fire("redis_lost", "away")
    [alert] = found.shown()
    assert (alert.count, alert.since, alert.severity) == (2, 1003.0, "critical")


def test_what_is_so_now_comes_first_and_the_newest_first(clock: Clock) -> None:
    found = Alerts(now=clock)
    for of in "abc":
        clock.now += 1
        found.fire("source_lost", "gone", of=of)
    found.resolve("source_lost", of="c")
    found.happened("slow_reader", "slow", of="x")
    assert [each.id for each in found.shown()] == ["source_lost:b", "source_lost:a", "source_lost:c", "slow_reader:x"]


def test_what_is_over_is_forgotten_after_an_hour_and_what_is_so_is_not(clock: Clock) -> None:
    found = Alerts(now=clock)
    found.happened("slow_reader", "slow")
    found.fire("redis_lost", "away")
    clock.now += alerts.KEPT_SECONDS + 1
    assert states(found) == [("redis_lost", True, 1)]


def test_they_are_bounded(clock: Clock) -> None:
    found = Alerts(now=clock)
    found.fire("redis_lost", "away")
    for number in range(10 * alerts.MAX_ALERTS):
        found.happened("slow_reader", "slow", of=str(number))
    assert len(found.shown()) == alerts.MAX_ALERTS
    assert found.shown()[0].kind == "redis_lost"


def test_all_of_a_kind_that_there_are(clock: Clock) -> None:
    found = Alerts(now=clock)
    found.settle("source_lost", {"A": ("gone", {}), "B": ("gone", {})})
    found.settle("source_lost", {"B": ("gone", {})})
    assert {each.id: each.until is None for each in found.shown()} == {"source_lost:A": False, "source_lost:B": True}


def test_an_error_rate_fires_and_ends(clock: Clock) -> None:
    found = AlertRules(Alerts(now=clock))
    for _ in range(60):
        found.second({"/chat": (1, 0, 0), "/trading": (100, 5, 0)}, 0.0)
    assert states(found.alerts) == []
    for _ in range(20):
        found.second({"/chat": (1, 1, 0), "/trading": (100, 5, 0)}, 0.0)
    [alert] = found.alerts.shown()
    assert (alert.kind, alert.until, alert.details["namespace"], alert.details["errors"]) == (
        "error_rate",
        None,
        "/chat",
        20,
    )
    for _ in range(60):
        found.second({"/chat": (1, 0, 0)}, 0.0)
    assert found.alerts.shown()[0].until is not None


def test_a_surge_is_one_of_what_is_usual(clock: Clock) -> None:
    found = AlertRules(Alerts(now=clock))
    for _ in range(60):  # all clients at the start
        found.second({"/chat": (0, 0, 50)}, 0.0)
    assert states(found.alerts) == []
    for _ in range(15 * 60):
        found.second({"/chat": (0, 0, 1)}, 0.0)
    assert states(found.alerts) == []
    for _ in range(10):
        found.second({"/chat": (0, 0, 100)}, 0.0)
    assert states(found.alerts) == [("connection_surge", True, 1)]
    for _ in range(70):
        found.second({"/chat": (0, 0, 0)}, 0.0)
    assert states(found.alerts) == [("connection_surge", False, 1)]


def test_a_loop_that_was_held_up(clock: Clock) -> None:
    found = AlertRules(Alerts(now=clock))
    found.second({}, 0.1)
    assert states(found.alerts) == []
    found.second({}, 0.4)
    found.second({}, 0.5)
    assert states(found.alerts) == [("loop_lag", False, 2)]
