from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.chat.agents.backend import Turn
from server.namespaces.chat.agents.context import TURN_TOKENS, tokens, within

#: As o200k and cl100k count them.
COUNTED = [
    ("What is the interest rate of a loan?", 9, 9),
    ("대출 금리가 얼마인가요?", 8, 14),
    ("상담원 연결해 주세요. 카드 분실했어요 ㅠㅠ", 15, 26),
    ("今日はいい天気ですね。ローンの金利はいくらですか", 15, 23),
    ("Кредит процентная ставка какая?", 7, 13),
]


@pytest.mark.parametrize(("text", "newer", "older"), COUNTED)
def test_the_estimate_is_near_what_models_count(text: str, newer: int, older: int) -> None:
    assert 0.7 * older <= tokens(text) <= max(1.7 * newer, 1.4 * older)


def test_nothing_costs_nothing() -> None:
    assert tokens("") == 0
    assert tokens("a") == 1
    assert tokens("\ud800") == 1  # half an emoji is not an error here


def turns(*texts: str) -> list[Turn]:
    return [Turn("user" if number % 2 == 0 else "agent", text) for number, text in enumerate(texts)]


def test_the_newest_are_kept_in_their_order() -> None:
    history = turns("one", "two", "three")
    assert within(history, 1_000, len) == history
    assert within(history, 2 * TURN_TOKENS + len("twothree"), len) == history[1:]
    assert within(history, 0, len) == []
    assert within(history, -5, len) == []
    assert within([], 100, len) == []


def test_the_oldest_kept_loses_its_beginning_at_a_word() -> None:
    history = turns("dropped", "the quick brown fox", "jumps")
    kept = within(history, 2 * TURN_TOKENS + len("jumps") + 12, len)
    assert kept == [Turn("agent", "brown fox"), Turn("user", "jumps")]


def test_no_turn_is_left_out_between_two_that_are_kept() -> None:
    assert within(turns("a", "b" * 50, "c"), 30, len) == [Turn("agent", "b" * 21), Turn("user", "c")]


@pytest.mark.parametrize(
    ("text", "budget", "end"),
    [
        ("👩‍👩‍👧‍👦x", 3, "x"),  # not a family's last member
        ("🇰🇷x", 2, "x"),  # not half a flag
        ("👍🏽x", 2, "x"),  # not a colour
        ("e\u0301x", 2, "x"),  # not an accent
        ("\u1103\u1162\u110e\u116e\u11afx", 4, "\u110e\u116e\u11afx"),  # not a vowel
        ("가나다라", 2, "다라"),
        ("❤️❤️", 1, ""),
        ("0 \u0300x", 3, "x"),  # not an accent behind a space either
    ],
)
def test_what_a_reader_sees_as_one_character_is_not_torn(text: str, budget: int, end: str) -> None:
    kept = within([Turn("user", text)], budget + TURN_TOKENS, len)
    assert [turn.text for turn in kept] == ([end] if end else [])


@given(st.lists(st.text(min_size=1)), st.integers(-10, 300))
def test_whatever_is_said_fits(texts: list[str], budget: int) -> None:
    history = turns(*texts)
    kept = within(history, budget)
    assert sum(tokens(turn.text) + TURN_TOKENS for turn in kept) <= max(0, budget)
    assert all(turn.text for turn in kept)
    if kept:
        assert list(kept[1:]) == history[len(history) - len(kept) + 1 :]
        oldest = history[len(history) - len(kept)]
        assert oldest.text.endswith(kept[0].text)
        assert kept[0].role == oldest.role
        assert kept[0] == oldest or not unicodedata.category(kept[0].text[0]).startswith("M")
