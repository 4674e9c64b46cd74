from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.copilot.planner import ranking
from server.namespaces.copilot.planner.ranking import Dataset

CLOUD = Dataset("cloud_costs", "Daily cloud cost", ("date", "service", "cost", "region"))
METRICS = Dataset("server_metrics", "CPU and memory of every server", ("timestamp", "cpu", "memory"))
GCP = Dataset("gcp_costs", "구글 비용", ("date", "cost"))
SALES = Dataset("월별_매출", "매장별 판매 금액")
ALL = (CLOUD, METRICS, GCP, SALES)


@pytest.mark.parametrize(
    ("query", "winner"),
    [
        ("지난달 서비스별 비용 상위 3개 알려줘", CLOUD),
        ("top 3 services by cost", CLOUD),
        ("메모리가 부족한 서버는?", METRICS),
        ("memory last week", METRICS),
        ("gcp 비용", GCP),
        ("매출 알려줘", SALES),
        ("sales by store", SALES),
    ],
)
def test_the_dataset_that_is_meant_wins(query: str, winner: Dataset) -> None:
    choice = ranking.choose(query, ALL)
    assert choice.winner == winner
    assert choice.matched


def test_two_that_fit_alike_are_candidates() -> None:
    choice = ranking.choose("비용 알려줘", ALL)
    assert choice.winner is None
    assert set(choice.candidates) == {CLOUD, GCP}
    assert choice.matched


def test_none_that_fits_makes_all_candidates() -> None:
    choice = ranking.choose("안녕하세요", ALL)
    assert choice.winner is None
    assert choice.candidates == ALL
    assert not choice.matched


def test_an_only_dataset_wins_whatever_is_asked() -> None:
    assert ranking.choose("hello", [CLOUD]).winner == CLOUD
    assert ranking.choose("hello", [CLOUD, CLOUD]).winner == CLOUD


def test_no_dataset_no_winner() -> None:
    assert ranking.choose("cost", []) == ranking.Choice(None, (), matched=False)


def test_its_whole_name_in_the_query_decides() -> None:
    longer = Dataset("gcp_costs_forecast", "gcp costs")
    assert ranking.choose("show gcp_costs_forecast", [GCP, longer]).winner == longer


def test_candidates_are_no_more_than_a_person_can_choose_from() -> None:
    many = [Dataset(f"data {number}") for number in range(50)]
    assert len(ranking.choose("hello", many).candidates) == ranking.MAX_CANDIDATES


@pytest.mark.parametrize(
    ("answer", "picked"),
    [
        *(("gcp_costs", GCP), ("GCP_COSTS ", GCP), ("gcp costs", GCP), ("2", GCP), ("2번", GCP), ("(1)", CLOUD)),
        *(
            ("구글", GCP),
            ("the cloud one", CLOUD),
            ("3", None),
            ("0", None),
            ("둘 다", None),
            ("cost", None),
            ("", None),
        ),
    ],
)
def test_a_persons_answer_picks(answer: str, picked: Dataset | None) -> None:
    assert ranking.pick(answer, (CLOUD, GCP)) == picked


@pytest.mark.parametrize(
    ("extra", "columns"),
    [
        ({"columns": ["date", "cost"]}, ("date", "cost")),
        ({"columns": [{"name": "cost", "type": "number"}, {"type": "text"}, 7]}, ("cost",)),
        ({"fields": {"cost": "number"}}, ("cost",)),
        ({"columns": "cost"}, ()),
        ({"columns": 5}, ()),
        ({}, ()),
    ],
)
def test_columns_are_read_from_what_a_client_may_send(extra: dict[str, object], columns: tuple[str, ...]) -> None:
    found = Dataset.from_wire({"name": "n", "description": None, **extra})
    assert (found.name, found.description, found.columns) == ("n", "", columns)


def test_types_and_values_are_kept_where_they_are_told() -> None:
    told = [
        {"name": "cost", "type": "number"},
        {"name": "service", "type": "string", "values": ["EC2", 7, None, "S3"]},
        {"name": "odd", "type": ["number"], "values": {"EC2": 1}},
    ]
    found = Dataset.from_wire({"name": "n", "columns": told})
    assert found.numbers == {"cost"}
    assert found.values == (("service", ("EC2", "S3")),)
    assert found.about == ["n", "", "cost", "service", "odd", "EC2", "S3"]


def test_a_value_that_only_one_dataset_has_decides() -> None:
    aws = Dataset("aws", "cost", ("cost",), values=(("service", ("EC2",)),))
    assert ranking.choose("EC2 cost", [Dataset("gcp", "cost", ("cost",)), aws]).winner == aws


@given(st.text(max_size=200), st.lists(st.tuples(st.text(min_size=1, max_size=30), st.text(max_size=50)), max_size=8))
def test_any_query_over_any_datasets_has_a_winner_or_candidates(query: str, named: list[tuple[str, str]]) -> None:
    datasets = [Dataset(name, description) for name, description in named]
    choice = ranking.choose(query, datasets)
    assert set(choice.candidates) <= set(datasets)
    assert bool(choice.candidates) == bool(datasets)
    assert choice.winner is None or choice.winner in datasets
    ranking.pick(query, choice.candidates)
