from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.cluster import feed as module
from server.realtime.cluster.feed import Arrival, Feed, Position, position
from server.realtime.cluster.letters import Letter
from server.realtime.engine import frames
from server.realtime.link import Member
from tests.support.rooms import Session

A, B = "a" * 10, "b" * 10


def letter(origin: str, number: int, was: int = 0) -> Letter:
    return Letter(origin, number, "/x", ["r"], [], ("x",), was=was)


# -- positions ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**16 - 1), st.text("0123456789abcdef", min_size=10, max_size=10), st.integers(0, 10**16 - 1))
def test_what_is_given_out_is_understood(offset: int, node: str, number: int) -> None:
    seen = Position(offset, node, number)
    assert position(str(seen)) == seen


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "-", f"1-{A}", f"1-{A}-", f"-{A}-1", f"1-{A}-1\n", f" 1-{A}-1", f"1-{A.upper()}-1", f"1-{A}x-1"),
        *(f"１-{A}-1", f"{'9' * 17}-{A}-1", f"1-{A}-{'9' * 17}", "9" * 100_000),
        *(None, 1, True, [f"1-{A}-1"], {"offset": 1}),
    ],
)
def test_what_was_never_given_out_is_none(text: object) -> None:
    assert position(text) is None


def test_it_covers_what_was_heard_and_what_its_node_said() -> None:
    seen = Position(100, A, 5)
    assert [seen.covers(offset, letter(B, 1)) for offset in (99, 100, 101)] == [True, True, False]
    assert [seen.covers(200, letter(A, number)) for number in (4, 5, 6)] == [True, True, False]


# -- what is news ---------------------------------------------------------------------------------------------------


def test_each_event_is_news_once_for_each_node() -> None:
    feed = Feed("/x")
    assert [feed.is_news(A, number) for number in (1, 1, 2, 3, 2, 3, 4)] == [
        *(True, False, True, True, False, False, True)
    ]
    assert feed.is_news(B, 1)


@pytest.mark.parametrize(
    ("before", "was", "here"),
    [(0, 0, True), (9, 0, True), (0, 5, False), (9, 5, False), (9, 9, False), (9, 10, True)],
)
def test_what_is_said_again_is_for_those_who_were_there_and_missed_it(before: int, was: int, here: bool) -> None:
    assert Feed("/x", before=before).is_for_here(letter(A, 1, was)) is here


def test_nodes_that_were_heard_of_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ORIGINS", 3)
    feed = Feed("/x")
    for number in range(1, 50):
        feed.is_news(f"{number:010x}", 1)
        feed.is_news(A, number)
    assert len(feed._heard) == 3
    assert not feed.is_news(A, 49), "who speaks is not forgotten"


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(1, 20))))
def test_nothing_is_news_twice_nor_out_of_order(said: list[tuple[str, int]]) -> None:
    feed = Feed("/x")
    for node in (A, B):
        heard = [number for origin, number in said if feed.is_news(origin, number) and origin == node]
        assert heard == sorted(set(heard))
        feed = Feed("/x")


# -- who has what already -------------------------------------------------------------------------------------------


def member(sid: str) -> Member:
    return Member(sid, "/x", Session(sid).state)


def test_who_moved_here_has_what_its_node_had_said_to_it() -> None:
    feed, one, other = Feed("/x"), member("one"), member("other")
    feed.moved = {A: {one: 2, other: 4}}
    assert [sorted(feed.have(10 + number, letter(A, number))) for number in (1, 2, 3, 4, 5)] == [
        *(["one", "other"], ["one", "other"], ["other"], ["other"], [])
    ]
    assert feed.have(1, letter(B, 1)) == []
    assert not feed.moved.get(A), "nobody is kept for ever"


def test_who_is_gone_is_forgotten() -> None:
    feed, one, other = Feed("/x"), member("one"), member("other")
    feed.moved = {A: {one: 2, other: 4}}
    feed.arrivals = {one: Arrival(), other: Arrival()}
    feed.forget(one)
    assert feed.have(1, letter(A, 1)) == ["other"]
    assert list(feed.arrivals) == [other]


def test_it_never_goes_back() -> None:
    feed = Feed("/x")
    for offset in (5, 3, 7, 1):
        feed.advance(offset)
    assert feed.newest == 7


def test_what_was_read_and_came_live_too_is_there_once() -> None:
    packets = [frames.message(str(number)) for number in range(4)]
    arrival = Arrival(live=[(10, packets[0]), (None, packets[1]), (20, packets[2]), (30, packets[3])])
    arrival.has_all_up_to(20)
    assert [packet for _, packet in arrival.live] == [packets[1], packets[3]]
