from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.chat.agents.ranking import Ranking, terms, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("대출 금리가 얼마인가요?", [["대출"], ["금리", "리가"]]),
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


@given(st.text(), st.lists(st.text()))
def test_any_text_can_be_asked_of_any(query: str, documents: list[str]) -> None:
    hits = Ranking([terms(document) for document in documents]).search(words(query))
    assert all(0 < hit.coverage <= 1.000001 and hit.score > 0 for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
