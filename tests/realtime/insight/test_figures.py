from __future__ import annotations

from typing import Any

import orjson

from server.realtime.asks import Counts
from server.realtime.insight.figures import Figures, columns
from server.realtime.insight.meters import Meters


def figures(seconds: int = 900) -> tuple[Figures, Meters, Counts]:
    meters, asks = Meters(), Counts()
    found = Figures(meters, seconds=seconds)
    found.add("/chat", asks, lambda: 3)
    return found, meters, asks


def shown(*of: Figures, after: int, newest: int) -> Any:
    """As nodes tell each other."""
    rows = [orjson.loads(orjson.dumps(list(row))) for each in of for row in each.since(after)]
    return columns(rows, after, newest)


def test_a_second_shows_what_came_in_it() -> None:
    found, meters, asks = figures()
    meter = meters["/chat"]
    meter.events_in, asks.sent, meter.disconnects["too_slow"] = 5, 2, 1
    meter.ack.observe(0.01)
    found.second(100, {"loop_lag_ms": 2.5, "behind": 1})
    meter.events_in = 7
    found.second(101, {})
    body = shown(found, after=99, newest=101)
    chat = body["namespaces"]["/chat"]
    assert (body["t"], chat["events_in"], chat["asks"]["sent"]) == ([100, 101], [5, 2], [2, 0])
    assert (chat["disconnects"]["too_slow"], chat["connections"]) == ([1, 0], [3, 3])
    assert chat["ack_p99_ms"][1] is None
    assert 7 < chat["ack_p50_ms"][0] < 15
    assert (body["all"]["loop_lag_ms"], body["all"]["behind"]) == ([2.5, 0], [1, 0])
    assert found.totals["/chat"]["events_in"] == 7


def test_what_was_counted_before_is_not_of_the_first_second() -> None:
    meters = Meters()
    meters.open("/chat").events_in = 1000
    found = Figures(meters)
    found.add("/chat", Counts(), lambda: 0)
    found.second(100, {})
    assert shown(found, after=0, newest=100)["namespaces"]["/chat"]["events_in"] == [0]


def test_nodes_are_added_and_a_second_that_nobody_counted_is_empty() -> None:
    one, of_one, _ = figures()
    other, of_other, _ = figures()
    of_one["/chat"].events_in, of_other["/chat"].events_in = 1, 10
    of_one["/chat"].write.observe(0.001)
    for _ in range(3):
        of_other["/chat"].write.observe(1.0)
    one.second(100, {"loop_lag_ms": 3, "rss_bytes": 100})
    one.second(103, {})
    other.second(100, {"loop_lag_ms": 5, "rss_bytes": 100})
    body = shown(one, other, after=90, newest=103)
    chat = body["namespaces"]["/chat"]
    assert (body["t"], chat["events_in"], chat["connections"]) == (
        [100, 101, 102, 103],
        [11, None, None, 0],
        [6, None, None, 3],
    )
    assert chat["write_p50_ms"][0] > 500
    assert (body["all"]["loop_lag_ms"][0], body["all"]["rss_bytes"][0]) == (5, 200)


def test_only_what_is_newer_is_told() -> None:
    found, _, _ = figures()
    for t in range(100, 110):
        found.second(t, {})
    assert shown(found, after=107, newest=108)["t"] == [108]
    assert shown(found, after=109, newest=109)["t"] == []


def test_they_are_bounded() -> None:
    found, _, _ = figures(seconds=10)
    for t in range(1000):
        found.second(t, {})
    assert [row.t for row in found.since(0)] == list(range(990, 1000))
