from __future__ import annotations

import pytest

from server.namespaces.chat.agents.backend import Turn
from server.namespaces.chat.agents.knowledge import Entry
from server.namespaces.chat.agents.lookup import MAX_FOUND, Lookup


def entry(title: str, text: str = "text") -> Entry:
    return Entry("doc.md", title, text, "", "INFO_REQ", "CONTINUE")


LIMITS = Lookup([entry("이체 한도는 얼마인가요?"), entry("대출 한도는 얼마인가요?"), entry("대출 금리는 얼마인가요?")])


def titles(lookup: Lookup, text: str, *before: str) -> list[str]:
    return [found.entry.title for found in lookup.find(text, [Turn("user", each) for each in before])]


def test_a_title_counts_more_than_a_text() -> None:
    lookup = Lookup([entry("cards", "a loan"), entry("loan", "a card")])
    assert titles(lookup, "loan") == ["loan", "cards"]


def test_no_more_than_a_few_are_found() -> None:
    found = Lookup([entry(f"loan {number}") for number in range(9)]).find("loan")
    assert len(found) == MAX_FOUND
    assert found[0].to_wire() == {"document": "doc.md", "title": "loan 0", "score": round(found[0].score, 3)}


@pytest.mark.parametrize(
    ("before", "first"),
    [("대출 금리가 얼마인가요?", "대출 한도는 얼마인가요?"), ("계좌 이체 어떻게 해요", "이체 한도는 얼마인가요?")],
)
def test_a_short_question_leans_on_the_one_before(before: str, first: str) -> None:
    assert titles(LIMITS, "그럼 한도는요?", before)[0] == first


def test_what_was_asked_before_finds_nothing_by_itself() -> None:
    assert len(titles(LIMITS, "한도는요?", "대출 금리가 얼마인가요?")) == 2
    assert titles(LIMITS, "날씨는요?", "대출 금리가 얼마인가요?") == []
    assert titles(LIMITS, "금리는요?", "이체 한도가 얼마인가요?") == ["대출 금리는 얼마인가요?"]


def test_only_the_customers_own_words_count() -> None:
    history = [Turn("user", "이체"), Turn("agent", "대출 대출 대출"), Turn("operator", "대출")]
    assert LIMITS.find("한도는?", history)[0].entry.title == "이체 한도는 얼마인가요?"


def test_nothing_is_found_in_nothing() -> None:
    assert Lookup([]).find("loan", [Turn("user", "loan")]) == []
