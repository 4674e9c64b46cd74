from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import LimitExceeded
from server.namespaces.trading import channels
from server.namespaces.trading.catalogue import Catalogue, ChannelClass, load
from server.namespaces.trading.channels import (
    EVICTION_TRIES,
    ChannelLog,
    ChannelLogs,
    audience,
    conflation,
    group_room,
    room,
    wildcard_room,
)
from server.namespaces.trading.schemas import Since
from server.realtime import rooms
from server.realtime.delivery import Conflation


def catalogue_of(text: str) -> Catalogue:
    with TemporaryDirectory() as folder:
        path = Path(folder, "channels.toml")
        path.write_text(text)
        return load(path)


def kind(text: str) -> ChannelClass:
    return catalogue_of(f'["c:*"]\nsubscribe = ["any"]\n{text}').find("c:x")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


THREE = kind("history = { count = 3, seconds = 10 }")
NONE = kind("")
SHARED = kind("history = { count = 3, seconds = 10 }\nshared = true")
MANY = kind("history = { count = 1000, seconds = 10 }")


def numbers(messages: list[channels.Message]) -> list[int]:
    return [message.seq for message in messages]


# -- one log ------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(
    st.lists(st.one_of(st.just("append"), st.floats(0.5, 12), st.just("note")), max_size=40),
)
def test_what_was_seen_and_what_follows_is_everything_and_never_a_part(steps: list[str | float]) -> None:
    """A client that notes `seq` at any moment, with the snapshot of that moment, can at any later one either be given
    all that it missed, or is told that it cannot."""
    log = ChannelLog(None, "c:x", THREE)
    now = 0.0
    said: list[tuple[int, float]] = []
    noted: list[tuple[Since, list[int]]] = [(Since(log.epoch, 0), [])]
    for step in steps:
        if step == "append":
            message = log.append("message", {"data": len(said)}, now)
            said.append((message.seq, now))
            assert message.payload["data"] == message.seq - 1
        elif step == "note":
            noted.append((Since(log.epoch, log.seq), numbers(log.held(now))))
        else:
            now += float(step)
        held = numbers(log.held(now))
        assert held == [seq for seq, at in said if seq > len(said) - 3 and at > now - 10]
        for since, snapshot in noted:
            missed = [seq for seq, _ in said if seq > since.seq]
            after = log.after(since, now)
            if set(missed) <= set(held):
                assert after is not None
                first = snapshot[0] if snapshot else since.seq + 1
                assert snapshot + numbers(after) == list(range(first, len(said) + 1))
            else:
                assert after is None


@pytest.mark.parametrize("seq", [2, 2**53 - 1])
def test_what_was_never_said_cannot_have_been_seen(seq: int) -> None:
    log = ChannelLog(None, "c:x", THREE)
    log.append("message", {}, 0)
    assert log.after(Since(log.epoch, seq), 0) is None


def test_another_epoch_says_nothing_about_this_one() -> None:
    log, before = ChannelLog(None, "c:x", THREE), ChannelLog(None, "c:x", THREE)
    assert log.epoch != before.epoch
    assert log.after(Since(before.epoch, 0), 0) is None
    assert log.after(Since(log.epoch, 0), 0) == []


def test_a_class_without_history_counts_and_keeps_nothing() -> None:
    log = ChannelLog(None, "c:x", NONE)
    assert log.append("message", {}, 0).seq == 1
    assert log.append("message", {}, 0).seq == 2
    assert (log.held(0), log.bytes) == ([], 0)
    assert log.after(Since(log.epoch, 2), 0) == []
    assert log.after(Since(log.epoch, 1), 0) is None


def test_a_log_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MAX_LOG_BYTES", 1000)
    log = ChannelLog(None, "c:x", MANY)
    for _ in range(100):
        log.append("message", {"data": "x" * 100}, 0)
        assert log.bytes <= 1000
        assert log.bytes == sum(message.size for message in log.held(0))
    assert 1 < len(log.held(0)) < 10
    log.append("message", {"data": "x" * 1000}, 0)
    assert (log.held(0), log.bytes) == ([], 0)


# -- all logs -----------------------------------------------------------------------------------------------------


class House:
    """Logs, with a clock and subscribers set by hand."""

    def __init__(self, *, most: int = 10_000, most_bytes: int = channels.MAX_TOTAL_BYTES) -> None:
        self.clock = Clock()
        self.used: set[tuple[str | None, str]] = set()
        self.asked = 0
        self.logs = ChannelLogs(self._count, most=most, most_bytes=most_bytes, clock=self.clock)

    def _count(self, of: str) -> int:
        self.asked += 1
        return sum(of == room(tenant, channel) for tenant, channel in self.used)


def test_tenants_have_their_own_counters_and_messages() -> None:
    logs = House().logs
    mine, theirs = logs.open("a", "c:x", THREE), logs.open("b", "c:x", THREE)
    logs.append(mine, "message", {})
    assert (mine.seq, theirs.seq) == (1, 0)
    assert logs.held(theirs) == []
    assert logs.open("a", "c:x", THREE) is mine


def test_the_least_recently_used_goes_first_and_returns_with_another_epoch() -> None:
    house = House(most=3)
    logs = house.logs
    first = logs.open(None, "c:1", THREE)
    logs.append(first, "message", {})
    for name in ("c:2", "c:3"):
        logs.open(None, name, THREE)
    assert logs.open(None, "c:1", THREE) is first
    second = logs.open(None, "c:4", THREE)  # c:2 goes
    assert first in logs
    assert second in logs
    logs.open(None, "c:5", THREE)
    logs.open(None, "c:6", THREE)
    assert first not in logs
    again = logs.open(None, "c:1", THREE)
    assert logs.after(again, Since(first.epoch, 0)) is None
    assert logs.after(again, Since(first.epoch, 1)) is None
    assert len(logs) == 3


def test_a_channel_with_subscribers_never_goes() -> None:
    house = House(most=3)
    kept = [house.logs.open(None, f"c:{number}", THREE) for number in range(2)]
    house.used = {(None, "c:0"), (None, "c:1")}
    for number in range(10, 20):
        house.logs.open(None, f"c:{number}", THREE)
    assert all(log in house.logs for log in kept)
    house.used.add((None, "c:19"))
    with pytest.raises(LimitExceeded):
        house.logs.open(None, "c:99", THREE)
    assert house.logs.open(None, "c:0", THREE) is kept[0]


def test_finding_one_to_drop_asks_about_a_few_and_goes_on_from_there() -> None:
    house = House(most=1000)
    for number in range(1000):
        house.logs.open(None, f"c:{number}", THREE)
    house.used = {(None, f"c:{number}") for number in range(900)}
    refused = 0
    for number in range(1000, 1050):
        while (None, f"c:{number}") not in house.logs._logs:
            asked = house.asked
            try:
                house.logs.open(None, f"c:{number}", THREE)
            except LimitExceeded:
                refused += 1
            assert house.asked - asked <= EVICTION_TRIES
    assert refused <= 900 // EVICTION_TRIES + 1


def test_all_logs_together_are_bounded_in_bytes() -> None:
    house = House(most_bytes=10_000)
    house.used = {(None, f"c:{number}") for number in range(50)}
    for number in range(50):
        log = house.logs.open(None, f"c:{number}", MANY)
        for _ in range(10):
            house.logs.append(log, "message", {"data": "x" * 100})
            assert house.logs.bytes <= 10_000
    held = [house.logs.open(None, f"c:{number}", MANY) for number in range(50)]
    assert sum(log.bytes for log in held) == house.logs.bytes
    assert house.logs.held(held[0]) == []
    assert len(house.logs.held(held[-1])) == 10
    # What lost its history says so, and counts on.
    assert house.logs.after(held[0], Since(held[0].epoch, 9)) is None
    assert held[0].seq == 10


def test_the_total_follows_what_age_and_eviction_take() -> None:
    house = House(most=1)
    log = house.logs.open(None, "c:x", THREE)
    house.logs.append(log, "message", {})
    assert house.logs.bytes > 0
    house.clock.now += 11
    assert house.logs.held(log) == []
    assert house.logs.bytes == 0
    house.logs.append(log, "message", {})
    house.logs.open(None, "c:y", THREE)
    assert house.logs.bytes == 0


def test_a_tenants_log_of_a_shared_channel_begins_as_a_copy() -> None:
    house = House()
    public = house.logs.open(None, "c:x", SHARED)
    for _ in range(4):
        house.logs.append(public, "message", {})
    copy = house.logs.open("a", "c:x", SHARED)
    assert (copy.seq, numbers(house.logs.held(copy))) == (4, [2, 3, 4])
    assert copy.epoch != public.epoch
    assert house.logs.copies(public) == [copy]
    assert house.logs.copies(copy) == []
    house.logs.append(copy, "message", {})
    assert (copy.seq, public.seq) == (5, 4)
    assert numbers(house.logs.held(public)) == [2, 3, 4]


def test_a_class_that_is_not_shared_has_no_copies() -> None:
    house = House()
    public = house.logs.open(None, "c:x", THREE)
    house.logs.append(public, "message", {})
    assert house.logs.open("a", "c:x", THREE).seq == 0
    assert house.logs.copies(public) == []


def test_a_copy_that_nobody_listens_to_is_not_followed_for_ever() -> None:
    house = House()
    public = house.logs.open(None, "c:x", SHARED)
    left, used = house.logs.open("a", "c:x", SHARED), house.logs.open("b", "c:x", SHARED)
    house.used = {("b", "c:x")}
    house.clock.now += channels.COPY_IDLE_SECONDS - 1
    assert house.logs.copies(public) == [left, used]
    house.clock.now += 1
    assert house.logs.copies(public) == [used]
    assert left not in house.logs
    assert house.logs.open("a", "c:x", SHARED).epoch != left.epoch


# -- whole classes --------------------------------------------------------------------------------------------------


def test_followers_of_a_shared_class_get_channels_that_come_later() -> None:
    house = House()
    logs = house.logs
    kind = replace(SHARED, wildcard=True)
    first = logs.open(None, "c:1", kind)
    logs.append(first, "message", {})
    assert [each.channel for each in logs.follow("t", kind)] == ["c:1"]
    second = logs.open(None, "c:2", kind)
    assert logs.copies(second) == []  # nobody is in the room
    logs.follow("t", kind)
    house.used.add(("t", "c:*"))
    third = logs.open(None, "c:3", kind)
    [copy] = logs.copies(third)
    assert (copy.tenant, copy.channel, copy.seq) == ("t", "c:3", 0)


def test_whom_a_message_reaches() -> None:
    owned = catalogue_of('["user:{id}"]\nsubscribe = ["owner"]\n["group:{name}"]\nsubscribe = ["members"]\n')
    assert audience("t", "user:bo:b", owned.find("user:bo:b")) == (rooms.user_room("t", "bo:b"), room("t", "user:bo:b"))
    assert audience("t", "group:x", owned.find("group:x")) == (group_room("t", "group:x"), room("t", "group:x"))
    whole = replace(THREE, wildcard=True)
    assert audience(None, "c:x", whole) == (room(None, "c:x"), wildcard_room(None, whole))
    assert audience(None, "c:x", THREE) == (room(None, "c:x"),)


def test_what_conflates_with_what() -> None:
    kind_ = replace(THREE, conflate_key="symbol", conflate_rate=4.0)
    assert conflation(kind_, "c:x", {"data": {"symbol": "A"}}) == Conflation(("c:x", "A"), 0.25)
    assert conflation(kind_, "c:x", {"data": 1}) == Conflation(("c:x", ""), 0.25)
    assert conflation(replace(kind_, conflate_rate=None), "c:x", {}) == Conflation(("c:x", ""))
    assert conflation(THREE, "c:x", {}) is None


def test_of_a_conflated_channel_the_newest_of_each_value_is_kept() -> None:
    log = ChannelLog(None, "c:x", replace(THREE, conflate_key="symbol", history_count=1))
    log.append("tick", {"data": {"symbol": "A", "n": 1}}, 0)
    assert [each.seq for each in log.after(Since(log.epoch, 0), 0) or []] == [1]
    log.append("tick", {"data": {"symbol": "A", "n": 2}}, 0)
    assert log.after(Since(log.epoch, 0), 0) is None
    assert log.after(Since(log.epoch, 2), 0) == []
    log.append("tick", {"data": {"symbol": "B", "n": 1}}, 1)
    assert numbers(log.held(1)) == [2, 3]
    assert log.bytes == sum(message.size for message in log.held(1))
    assert log.after(Since(log.epoch, 3), 1) is None  # a slow reader may have seen 3 and not 2
    copy = log.copy("t")
    copy.append("tick", {"data": {"symbol": "A", "n": 3}}, 1)
    assert (numbers(copy.held(1)), numbers(log.held(1))) == ([3, 4], [2, 3])
    assert copy.after(Since(copy.epoch, 4), 1) is None
    assert numbers(log.held(10)) == [3]


def test_a_conflated_channel_has_only_so_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MAX_VALUES", 3)
    log = ChannelLog(None, "c:x", replace(THREE, conflate_key="symbol", history_count=1))
    for number in range(10):
        log.append("tick", {"data": {"symbol": str(number)}}, 0)
    assert numbers(log.held(0)) == [8, 9, 10]
    assert len(log._seqs) == 3
