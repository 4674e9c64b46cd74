from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.chat.chunking import MAX_CLUSTER, Chunks, cut, is_joined

#: What is shown as one character each.
CLUSTERS = [
    "a",
    " ",
    "가",
    "é",
    "e\u0301",
    "ㅎ",
    "\u1112\u1161\u11ab",
    "하\u11ab",
    "🙂",
    "👍🏽",
    "👩\u200d🔬",
    "🇰🇷",
    "\r\n",
]


def chunks_of(pieces: list[str], size: int, limit: int = 10**6) -> list[str]:
    chunks = Chunks(limit)
    for piece in pieces:
        chunks.put(piece)
    chunks.end()
    taken = []
    while chunks:
        taken.append(chunks.take(size))
    return taken


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))), st.integers(1, 20))
def test_nothing_is_lost_and_no_chunk_is_empty_or_too_long(pieces: list[str], size: int) -> None:
    taken = chunks_of(pieces, size)
    assert "".join(taken) == "".join(pieces)
    assert all(0 < len(chunk) <= size + MAX_CLUSTER for chunk in taken)


@given(st.lists(st.sampled_from(CLUSTERS)), st.integers(1, 20))
def test_no_chunk_ends_within_a_character(clusters: list[str], size: int) -> None:
    ends = {0}
    for cluster in clusters:
        ends.add(max(ends) + len(cluster))
    taken, at = chunks_of(["".join(clusters)], size), 0
    for chunk in taken:
        at += len(chunk)
        assert at in ends
    shortest = max(size - max(map(len, CLUSTERS)) + 1, 1)
    assert all(len(chunk) >= shortest for chunk in taken[:-1])


@given(st.text(st.sampled_from("ab\ud83d\ude42\0")), st.data())
def test_surrogates_become_what_they_stand_for_however_they_come(text: str, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    whole = text.replace("\0", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert "".join(chunks_of(pieces, 3)) == whole


def test_the_first_half_of_a_pair_waits_for_the_second() -> None:
    chunks = Chunks(100)
    chunks.put("a\ud83d")
    assert (len(chunks), chunks.take(10), len(chunks)) == (1, "a", 0)
    chunks.put("\ude42b")
    assert chunks.take(10) == "🙂b"


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (["abc", "def", "ghi"], "abcde"),
        (["abcdefghi"], "abcde"),
        (["abcd\ud83d", "x"], "abcd\ufffd"),
        (["abcde\ud83d"], "abcde"),
    ],
)
def test_what_is_beyond_the_limit_is_not_taken(pieces: list[str], whole: str) -> None:
    chunks = Chunks(5)
    for piece in pieces:
        chunks.put(piece)
    chunks.end()
    assert chunks.full
    assert chunks.take(100) == whole


def test_text_that_comes_while_some_was_taken() -> None:
    chunks = Chunks(100)
    chunks.put("abcdef")
    assert chunks.take(4) == "abcd"
    chunks.put("ghi")
    assert [chunks.take(4), chunks.take(4), chunks.take(4)] == ["efgh", "i", ""]


def test_marks_without_end_are_cut_all_the_same() -> None:
    text = "e" + "\u0301" * 1000
    assert cut(text, 0, 10) == 10 + MAX_CLUSTER
    assert cut(text, 500, 100) == 600 + MAX_CLUSTER


def test_a_flag_is_counted_from_where_the_chunk_begins() -> None:
    assert [is_joined("🇰🇷🇯🇵", at) for at in (1, 2, 3)] == [True, False, True]
    assert is_joined("🇰🇷🇯🇵", 2, start=1)
