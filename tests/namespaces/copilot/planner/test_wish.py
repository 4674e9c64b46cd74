from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.copilot.planner import wish
from server.namespaces.copilot.planner.wish import Bucket, Operation


@pytest.mark.parametrize(
    ("query", "top", "ascending"),
    [
        ("지난달 서비스별 비용 상위 3개 알려줘", 3, False),
        ("top 3 services by cost", 3, False),
        ("top three services", 3, False),
        ("Top services", wish.DEFAULT_TOP, False),
        ("하위 2개", 2, True),
        ("bottom 4 regions", 4, True),
        ("비용이 가장 높은 서비스 5개", 5, False),
        ("가장 비싼 서비스", 1, False),
        ("the 5 most expensive services", 5, False),
        ("cheapest region", 1, True),
        ("비용이 가장 적은 지역", 1, True),
        ("top 0 services", wish.DEFAULT_TOP, False),
        ("top 999 services", wish.MAX_TOP, False),
        ("서비스별 비용", None, False),
        ("cost in the last 30 days", None, False),
    ],
)
def test_ranks(query: str, top: int | None, ascending: bool) -> None:
    wanted = wish.read(query)
    assert (wanted.top, wanted.ascending) == (top, ascending)


@pytest.mark.parametrize(
    ("query", "operation"),
    [
        ("비용 합계", Operation.SUM),
        ("cost", Operation.SUM),
        ("평균 비용", Operation.AVERAGE),
        ("average cost of the top 3", Operation.AVERAGE),
        ("몇 건이야?", Operation.COUNT),
        ("how many orders", Operation.COUNT),
        ("highest cost", Operation.HIGHEST),
        ("최저 비용", Operation.LOWEST),
        ("top cost", Operation.SUM),
    ],
)
def test_operations(query: str, operation: Operation) -> None:
    assert wish.read(query).operation is operation


@pytest.mark.parametrize(
    ("query", "bucket"),
    [
        *(("월별 비용", Bucket.MONTH), ("monthly cost", Bucket.MONTH), ("cost by month", Bucket.MONTH)),
        *(("일별", Bucket.DAY), ("per day", Bucket.DAY), ("연도별", Bucket.YEAR), ("yearly", Bucket.YEAR)),
        *(("비용이 제일 높은 날", Bucket.DAY), ("which day", Bucket.DAY), ("when was the highest cost", Bucket.DAY)),
        *(("어느 달이 비쌌어", Bucket.MONTH), ("which month", Bucket.MONTH), ("지난달은", None), ("오늘은", None)),
        *(("10월 비용", None), ("last month", None), ("서비스별", None)),
    ],
)
def test_stretches_of_time(query: str, bucket: Bucket | None) -> None:
    assert wish.read(query).bucket is bucket


@pytest.mark.parametrize(
    ("query", "per"),
    [
        *(("하루 평균 비용", Bucket.DAY), ("10월 일평균 비용", Bucket.DAY), ("월 평균 비용", Bucket.MONTH)),
        *(("average daily cost", Bucket.DAY), ("average cost in October per day", Bucket.DAY)),
        *(("monthly average", Bucket.MONTH), ("연평균", Bucket.YEAR)),
        *(
            ("10월 평균 비용", None),
            ("작년 평균 비용", None),
            ("최근 7일 평균", None),
            ("average cost this month", None),
        ),
        *(("average cost by day", None), ("일별 평균", None)),
    ],
)
def test_averages_of_sums(query: str, per: Bucket | None) -> None:
    wanted = wish.read(query)
    assert wanted.per is per
    assert per is None or wanted.bucket is None


@pytest.mark.parametrize(
    ("query", "by"),
    [
        ("cost by service and region", ("service", "region")),
        ("지역별 비용", ("지역",)),
        ("cost per regions", ("region",)),
        ("특별한 비용", ("특",)),  # names no column, so it groups by nothing
        ("cost", ()),
    ],
)
def test_what_to_group_by(query: str, by: tuple[str, ...]) -> None:
    assert wish.read(query).by == by


@given(st.text())
def test_any_text_is_a_wish(query: str) -> None:
    wanted = wish.read(query)
    assert wanted.top is None or 1 <= wanted.top <= wish.MAX_TOP
