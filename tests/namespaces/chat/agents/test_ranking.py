from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.chat.agents.ranking import Ranking, is_korean, surfaces, terms, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("대출 금리가 얼마인가요?", [["대출"], ["금리"]]),
        ("What is the loan's interest RATES?", [["loan"], ["interest"], ["rate"]]),
        ("카드분실 1588-0000", [["카드", "드분", "분실"], ["1588"], ["0000"]]),
        ("강", [["강"]]),
        ("알려주세요", []),
        ("🙂 ?! --", []),
        ("", []),
        ("\u1103\u1162\u110e\u116e\u11af", [["대출"]]),  # as macOS writes 대출
    ],
)
def test_words(text: str, expected: list[list[str]]) -> None:
    assert words(text) == expected


def test_the_rarer_term_counts_more() -> None:
    ranking = Ranking([["card", "lost"], ["card", "new"], ["card", "limit"]])
    hits = ranking.search([["card"], ["limit"]])
    assert hits[0].index == 2
    assert hits[0].coverage == 1
    assert hits[1].coverage < 0.3


def test_a_shorter_document_wins_with_the_same_terms() -> None:
    ranking = Ranking([["loan", *["other"] * 50], ["loan", "rate"]])
    assert [hit.index for hit in ranking.search([["loan"]])] == [1, 0]


def test_nothing_in_common_is_no_hit() -> None:
    assert Ranking([["loan"]]).search([["weather"]]) == []
    assert Ranking([["loan"]]).search([]) == []
    assert Ranking([]).search([["loan"]]) == []


@pytest.mark.parametrize("word", ["interest", "intrest", "interrest", "intarest", "inetrest"])
def test_a_letter_may_be_wrong(word: str) -> None:
    assert [hit.coverage for hit in Ranking([["interest"], ["limit"]]).search([[word]])] == [1]


@pytest.mark.parametrize("word", ["intrzzst", "lamit", "rat", "12345", "x" * 60_000])
def test_but_not_two_nor_one_of_a_short_word_or_a_number(word: str) -> None:
    assert Ranking([["interest"], ["limited"], ["rate"], ["12346"]]).search([[word]]) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("대출 금리가 얼마인가요?", ["대출", "금리"]),
        ("카드를 분실했어요, 정지해 주세요", ["카드", "분실", "정지"]),
        ("The Loan's interest RATES?", ["Loan", "interest", "RATES"]),
        ("🙂 ?! 좀", []),
    ],
)
def test_surfaces(text: str, expected: list[str]) -> None:
    assert surfaces(text) == expected


def test_is_korean() -> None:
    assert is_korean("VIP 카드")
    assert not is_korean("a card 🙂")


@given(st.text(), st.lists(st.text()))
def test_any_text_can_be_asked_of_any(query: str, documents: list[str]) -> None:
    hits = Ranking([terms(document) for document in documents]).search(words(query))
    assert all(0 < hit.coverage <= 1.000001 and hit.score > 0 for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
