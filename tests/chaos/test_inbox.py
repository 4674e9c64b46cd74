from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.history import Said
from tests.chaos.inbox import Inbox


def said(seq: int, message_id: str = "") -> Said:
    return Said(seq, message_id or f"m{seq}", "ann", seq)


def test_what_comes_early_waits_for_what_is_before_it() -> None:
    inbox = Inbox()
    inbox.take([said(1), said(3)])
    assert (inbox.given, inbox.newest, inbox.has_gap) == ([said(1)], 1, True)
    assert inbox.take([said(1), said(2), said(3)]) == 1
    assert (inbox.given, inbox.newest, inbox.has_gap) == ([said(1), said(2), said(3)], 3, False)


def test_a_seq_used_twice_is_not_hidden() -> None:
    inbox = Inbox()
    inbox.take([said(1), said(2), said(1, "another"), said(3)])
    assert [each.message_id for each in inbox.given] == ["m1", "m2", "another", "m3"]


@given(st.lists(st.integers(1, 30)))
def test_in_whatever_order_they_come_they_are_given_in_theirs_and_once(seqs: list[int]) -> None:
    inbox = Inbox()
    new = sum(inbox.take([said(seq)]) for seq in seqs)
    assert new == len(set(seqs))
    assert [each.seq for each in inbox.given] == list(range(1, inbox.newest + 1))
    assert inbox.has_gap == (set(seqs) != set(range(1, inbox.newest + 1)))
