from __future__ import annotations

import pytest

from clients.python.load.results import Results


def test_lines_and_json_say_the_same() -> None:
    results = Results("chat", 5, 10.0, connected=4, seconds=2.0, sent=20)
    for milliseconds in range(1, 21):
        results.acks.add(milliseconds / 1000)
    results.errors["RATE_LIMITED"] += 3
    told = results.to_json()
    acks = told["acks"]
    assert isinstance(acks, dict)
    assert (acks["count"], acks["per_second"], acks["max_ms"]) == (20, 10.0, 20.0)
    assert acks["p50_ms"] == pytest.approx(10, rel=0.011)
    assert told["deliveries"] == {
        "count": 0,
        "per_second": 0.0,
        "p50_ms": None,
        "p90_ms": None,
        "p99_ms": None,
        "max_ms": None,
    }
    lines = dict(line.split(maxsplit=1) for line in results.lines())
    assert (lines["connected"], lines["error"]) == ("4", "RATE_LIMITED 3")
    assert lines["acks"].startswith("count 20  per_second 10.0  p50_ms ")
    assert "deliveries" not in lines
