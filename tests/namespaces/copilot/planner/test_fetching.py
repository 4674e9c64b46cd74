from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.copilot.planner import fetching
from server.namespaces.copilot.planner.fetching import FIRST_LIMIT, PAGE_BYTES, Budget, Fetched
from server.namespaces.copilot.planner.periods import Period
from server.namespaces.copilot.planner.ranking import Dataset
from tests.support.cloud_costs import DATASETS, DemoClient, Page, Rows, paged

SMALL = Budget(rows=10_000)


def everything(rows: Sequence[dict[str, Any]], params: Mapping[str, Any]) -> Rows:
    """A client that ignores all params."""
    return list(rows)


def only_limited(rows: Sequence[dict[str, Any]], params: Mapping[str, Any]) -> Rows:
    return list(rows[: params["limit"]])


def only_offset(rows: Sequence[dict[str, Any]], params: Mapping[str, Any]) -> Rows:
    return list(rows[params["offset"] :])


def endless(rows: Sequence[dict[str, Any]], params: Mapping[str, Any]) -> Rows:
    return [{"n": params["offset"] + number} for number in range(params["limit"])]


def numbered(count: int) -> Rows:
    return [{"n": number} for number in range(count)]


async def fetch(rows: Rows, page: Page, budget: Budget = SMALL) -> tuple[Fetched, DemoClient]:
    client = DemoClient({"t": rows}, page=page)
    return await fetching.fetch(client, "t", {}, budget=budget), client


@pytest.mark.parametrize("count", [0, 1, FIRST_LIMIT - 1, FIRST_LIMIT, FIRST_LIMIT + 1, 2 * FIRST_LIMIT, 5000])
@pytest.mark.parametrize("page", [paged, everything, only_offset])
async def test_every_row_comes_once_whatever_the_client_makes_of_pages(count: int, page: Page) -> None:
    found, client = await fetch(numbered(count), page)
    assert found == Fetched(numbered(count), complete=True)
    assert len(client.asked) <= 2 + count // FIRST_LIMIT


@pytest.mark.parametrize("page", [paged, everything, only_offset])
@pytest.mark.parametrize("count", [FIRST_LIMIT, 1000])
async def test_rows_that_are_all_alike_are_all_counted(count: int, page: Page) -> None:
    found, _ = await fetch([{"cost": 1}] * count, page)
    assert (len(found.rows), found.complete) == (count, True)


async def test_a_client_that_ignores_offsets_is_believed_as_far_as_it_goes() -> None:
    found, client = await fetch(numbered(300), only_limited)
    assert found == Fetched(numbered(300), complete=True)
    found, client = await fetch(numbered(50_000), only_limited)
    assert not found.complete
    assert found.rows == numbered(len(found.rows))
    assert len(client.asked) == 3


async def test_a_client_without_end_ends_with_the_budget() -> None:
    found, client = await fetch([], endless)
    assert (found.rows, found.complete) == (numbered(SMALL.rows), False)
    assert len(client.asked) < 20
    found, client = await fetch([], endless, Budget(pages=3))
    assert (len(client.asked), found.complete) == (3, False)


async def test_bytes_are_bounded() -> None:
    rows = [{"n": number, "note": "x" * 1000} for number in range(2000)]
    found, client = await fetch(rows, paged, Budget(size=600_000))
    assert not found.complete
    assert 600_000 <= len(str(found.rows)) < 600_000 + 2 * PAGE_BYTES
    assert all(asked["limit"] <= PAGE_BYTES // 1000 for _, asked in client.asked[1:])


async def test_time_is_bounded() -> None:
    times = iter([0.0, 1.0, 2.0, 3.0])
    client = DemoClient({"t": []}, page=endless)
    budget = Budget(seconds=3)
    found = await fetching.fetch(client, "t", {}, budget=budget, clock=lambda: next(times))
    assert (len(client.asked), found.complete) == (3, False)


async def test_more_rows_than_the_budget_are_cut() -> None:
    found, _ = await fetch(numbered(200), everything, Budget(rows=100))
    assert found == Fetched(numbered(100), complete=False)
    found, _ = await fetch(numbered(100), paged, Budget(rows=100))
    assert len(found.rows) == 100


async def test_an_error_of_the_client_is_passed_on() -> None:
    def breaks(rows: Sequence[dict[str, Any]], params: Mapping[str, Any]) -> Rows:
        if params["offset"]:
            raise TimeoutError
        return list(rows[: params["limit"]])

    with pytest.raises(TimeoutError):
        await fetch(numbered(1000), breaks)


@given(st.integers(0, 1500), st.integers(1, 3), st.sampled_from([paged, everything, only_offset]))
async def test_totals_are_of_all_rows(count: int, distinct: int, page: Page) -> None:
    rows = [{"n": number % distinct} for number in range(count)]
    found, _ = await fetch(rows, page)
    assert found == Fetched(rows, complete=True)


COSTS = Dataset.from_wire(DATASETS[0])


def test_params_say_what_is_needed_where_the_dataset_tells_of_itself() -> None:
    kept = fetching.filters("EC2 cost of AWS", COSTS)
    assert kept == {"provider": ["AWS"], "service": ["EC2"]}
    span = Period(date(2025, 10, 1), date(2025, 10, 2))
    assert fetching.params("EC2 cost of AWS", COSTS, span, kept) == {
        "from": "2025-10-01",
        "to": "2025-10-02",
        "filters": {"provider": ["AWS"], "service": ["EC2"]},
        "columns": ["date", "provider", "service", "region", "team", "cost"],
    }


def test_params_leave_out_nothing_where_nothing_is_known() -> None:
    assert fetching.params("EC2 cost", Dataset("t", "", ("cost", "service")), None, {}) == {}
    assert fetching.params("everything", COSTS, None, {}) == {}
    assert fetching.filters("everything", COSTS) == {}
