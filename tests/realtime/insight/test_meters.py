from __future__ import annotations

import pytest

from server.realtime.insight.meters import BUCKETS, DISCONNECTS, Histogram, Meter, Meters, disconnect_kind, percentile


def test_nothing_measured_has_no_percentile() -> None:
    assert percentile(Histogram().counts, 0.5) is None


def test_percentiles_lie_in_their_bucket() -> None:
    histogram = Histogram()
    for milliseconds in range(1, 101):
        histogram.observe(milliseconds / 1000)
    for share in (0.5, 0.99):
        found = percentile(histogram.counts, share)
        assert found == pytest.approx(share / 10, rel=0.42)  # a bucket is √2 wide
    assert histogram.total == pytest.approx(5.05)


def test_what_is_slower_than_all_buckets_is_as_slow_as_the_last() -> None:
    histogram = Histogram()
    histogram.observe(1e6)
    assert (percentile(histogram.counts, 0.5), sum(histogram.counts)) == (BUCKETS[-1], 1)


def test_the_more_there_is_the_fewer_are_measured() -> None:
    meter = Meter()
    assert (meter.stride, meter.emit_stride) == (1, 1)
    meter.events_in += 10_000
    meter.second_passed()
    assert (meter.stride, meter.emit_stride) == (200, 1)
    meter.second_passed()
    assert meter.stride == 1


def test_a_reply_is_passed_on_and_timed() -> None:
    meter, said = Meter(), list[object]()
    meter.timed(lambda *results: said.extend(results))("a", "b")
    assert (said, sum(meter.ack.counts)) == (["a", "b"], 1)


def test_reasons_are_of_a_closed_set() -> None:
    for reason in ("client disconnect", "ping timeout", "transport close", "transport error", "whatever"):
        assert disconnect_kind(reason) in DISCONNECTS
    assert disconnect_kind("transport error", "too_slow") == "too_slow"


def test_a_namespace_that_is_opened_twice_keeps_its_count() -> None:
    meters = Meters()
    meters.open("/x").events_in += 1
    assert meters.open("/x").events_in == 1
    assert meters.get("/made up by a client") is None
