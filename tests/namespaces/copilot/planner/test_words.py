from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.copilot.planner import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cloud_costs", ["cloud", "cost"]),
        ("cloudCosts", ["cloud", "cost"]),
        ("Top 3 services, by COST!", ["top", "3", "service", "by", "cost"]),
        ("상위 3개", ["상위", "3", "개"]),
        ("서비스별 비용을", ["서비스", "비용"]),
        ("EC2비용", ["ec", "2", "비용"]),
        ("ＡＢＣ", ["abc"]),
        ("  --- ", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words.words(text) == expected


def test_decomposed_hangul_is_the_same_text() -> None:
    decomposed = unicodedata.normalize("NFD", "비용")
    assert decomposed != "비용"
    assert words.words(decomposed) == ["비용"]
    assert words.is_korean(decomposed)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *(("queries", "query"), ("boxes", "box"), ("status", "status"), ("class", "class"), ("analysis", "analysis")),
        *(("비용은", "비용"), ("팀은", "팀"), ("서울에서", "서울"), ("이", "이"), ("월별", "월별")),
    ],
)
def test_stems(word: str, expected: str) -> None:
    assert words.stem(word) == expected


def test_telling_words_are_what_a_query_is_about() -> None:
    assert words.telling("지난달 서비스별 비용 상위 3개 알려줘") == ["서비스", "비용"]
    assert words.telling("Show me the top 3 services by cost, cost!") == ["service", "cost"]


@pytest.mark.parametrize(
    ("word", "text", "expected"),
    [
        ("cost", "cloud_costs", 1.0),
        ("비용", "cloud_costs", 1.0),
        ("cost", "월별 비용", 1.0),
        ("클라우드비용", "cost", 1.0),
        ("사용자", "usage", 0.0),
        ("months", "weather", 0.0),
        ("memory", "cpu", 0.0),
        ("용", "비용", 0.0),
    ],
)
def test_likeness(word: str, text: str, expected: float) -> None:
    assert words.likeness(words.stem(word), words.traits([text])) == expected


def test_related_words_are_less_alike_than_equal_ones() -> None:
    assert 0 < words.likeness("구독료", words.traits(["구독"])) < 1
    assert 0 < words.likeness("subscription", words.traits(["subscribers"])) < 1


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Show the Oracle cost", ["Oracle"]),
        ("show the oracle cost", []),
        ("oracle 비용", ["oracle"]),
        ("Oracle and Oracle", ["Oracle"]),
        ("Cost", []),
    ],
)
def test_names_are_told_from_words(text: str, names: list[str]) -> None:
    assert words.proper(text, ["oracle"]) == names


def test_a_phrase_is_contained_only_side_by_side() -> None:
    assert words.contains(["us", "east", "1", "cost"], ["us", "east", "1"])
    assert not words.contains(["us", "cost", "east"], ["us", "east"])
    assert not words.contains(["us"], [])


@given(st.text())
def test_any_text_has_words(text: str) -> None:
    found = words.words(text)
    assert len(found) <= words.MAX_WORDS
    assert all(0 <= words.likeness(word, words.traits([text])) <= 1 for word in found)
