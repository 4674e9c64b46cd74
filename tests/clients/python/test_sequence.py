from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clients.python.sequence import Sequence


def drain(sequence: Sequence[int]) -> list[int]:
    taken = []
    while (item := sequence.take()) is not None:
        taken.append(item)
    return taken


@given(st.lists(st.integers(1, 30)), st.integers(0, 30))
def test_each_once_in_order_whatever_comes(offered: list[int], cursor: int) -> None:
    sequence: Sequence[int] = Sequence(cursor)
    taken: list[int] = []
    for number in offered:
        sequence.offer(number, number)
        taken += drain(sequence)
    assert taken == list(range(cursor + 1, cursor + 1 + len(taken)))
    assert cursor + len(taken) + 1 not in offered
    assert sequence.gap == (any(number > cursor + len(taken) for number in offered))


@given(st.permutations(range(1, 40)), st.integers(1, 10))
def test_what_did_not_fit_is_known_to_be_missing(order: list[int], most: int) -> None:
    sequence: Sequence[int] = Sequence(0, most)
    taken: list[int] = []
    for number in order:
        sequence.offer(number, number)
        taken += drain(sequence)
        assert len(sequence) <= most
    while sequence.gap:
        for number in range(len(taken) + 1, min(len(taken) + 4, 40)):
            sequence.offer(number, number)
        taken += drain(sequence)
        if len(taken) == 39:
            sequence.caught_up()
    assert taken == list(range(1, 40))


def test_all_is_held_until_it_is_known_where_to_begin() -> None:
    sequence: Sequence[int] = Sequence()
    for number in (5, 7, 6):
        sequence.offer(number, number)
    assert (sequence.take(), sequence.gap) == (None, False)
    sequence.skip_to(5)
    assert drain(sequence) == [6, 7]
    sequence.pause()
    sequence.offer(1, 1)
    assert sequence.held() == [1]
    sequence.skip_to(0)
    assert drain(sequence) == [1]
