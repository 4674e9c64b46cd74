from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from server.errors import ClientTimeout, Conflict, LimitExceeded, NotFound
from server.namespaces.copilot.service import MAX_CLARIFICATIONS, MAX_RUNNING_PER_USER, CopilotService
from server.realtime.tasks import Tasks

ALICE = (None, "alice")
BOB = (None, "bob")
COSTS = {"name": "aws_costs", "description": "AWS cost", "columns": ["date", "service", "cost"]}
GCP = {"name": "gcp_costs", "description": "GCP cost", "columns": ["date", "service", "cost"]}
ROWS: list[dict[str, object]] = [
    {"date": "2025-10-01", "service": "EC2", "cost": 10},
    {"date": "2025-10-01", "service": "S3", "cost": 5},
]


class Scripted:
    """A client that answers at once from its script, or never where the script holds None."""

    def __init__(
        self,
        datasets: Sequence[Mapping[str, object]] | None = (COSTS,),
        rows: Sequence[Mapping[str, object]] | Exception | None = ROWS,
        answers: Sequence[str] = (),
    ) -> None:
        self.datasets = datasets
        self.row_data = rows
        self.answers = list(answers)
        self.asked: list[tuple[str, Any]] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.waiting = asyncio.Event()
        self.done = asyncio.Event()

    async def available_data(self, query: str) -> Sequence[Mapping[str, object]]:
        self.asked.append(("available_data", query))
        if self.datasets is None:
            await self.never()
        return self.datasets or ()

    async def rows(self, dataset: str, params: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
        self.asked.append((dataset, dict(params)))
        if isinstance(self.row_data, Exception):
            raise self.row_data
        return self.row_data or ()

    async def clarify(self, question: str, options: Sequence[str]) -> str:
        self.asked.append((question, list(options)))
        if not self.answers:
            await self.never()
        return self.answers.pop(0)

    async def tell(self, event: str, payload: Mapping[str, object]) -> None:
        self.told.append((event, dict(payload)))
        if event != "processing":
            self.done.set()

    async def never(self) -> None:
        self.waiting.set()
        await asyncio.Event().wait()

    async def outcome(self) -> tuple[str, dict[str, Any]]:
        await asyncio.wait_for(self.done.wait(), 10)
        return self.told[-1]

    @property
    def stages(self) -> list[object]:
        return [payload["stage"] for event, payload in self.told if event == "processing"]


@pytest_asyncio.fixture
async def service() -> AsyncIterator[CopilotService]:
    tasks = Tasks()
    times = iter(range(1000))
    yield CopilotService(tasks.start, clock=lambda: float(next(times)), today=lambda: date(2025, 11, 5))
    await tasks.close()


async def test_a_query_is_answered_from_the_clients_rows(service: CopilotService) -> None:
    client = Scripted()
    assert service.start(ALICE, "지난달 서비스별 비용 상위 1개", "q1", client) == "q1"
    event, payload = await client.outcome()
    assert event == "response"
    assert payload["query_id"] == "q1"
    assert payload["data"]["figures"] == [{"label": "EC2", "value": 10}]
    assert payload["sources"] == [{"dataset": "aws_costs", "rows": 2}]
    assert payload["latency_ms"] == 1000
    assert client.stages == ["started", "requesting_data", "fetching", "answering"]
    assert client.asked == [
        ("available_data", "지난달 서비스별 비용 상위 1개"),
        ("aws_costs", {"from": "2025-10-01", "to": "2025-10-31"}),
    ]
    assert len(service) == 0


async def test_a_query_without_an_id_is_given_one(service: CopilotService) -> None:
    client, other = Scripted(), Scripted()
    ids = {service.start(ALICE, "cost", None, client), service.start(ALICE, "cost", None, other)}
    assert len(ids) == 2
    assert {(await client.outcome())[1]["query_id"], (await other.outcome())[1]["query_id"]} == ids


async def test_a_tie_is_put_to_the_person_and_the_answer_picks(service: CopilotService) -> None:
    client = Scripted([COSTS, GCP], answers=["gcp_costs"])
    service.start(ALICE, "cost by service", "q", client)
    event, payload = await client.outcome()
    assert (event, payload["sources"][0]["dataset"]) == ("response", "gcp_costs")
    assert client.asked[1] == (
        "More than one dataset fits the question. Which one do you mean?",
        ["aws_costs", "gcp_costs"],
    )
    assert client.stages == ["started", "requesting_data", "clarifying", "fetching", "answering"]


async def test_the_question_is_in_the_querys_language(service: CopilotService) -> None:
    client = Scripted([COSTS, GCP], answers=["2번"])
    service.start(ALICE, "비용 알려줘", "q", client)
    _, payload = await client.outcome()
    assert client.asked[1][0] == "질문에 맞는 데이터가 둘 이상입니다. 어느 데이터를 볼까요?"
    assert payload["sources"][0]["dataset"] == "gcp_costs"


async def test_an_answer_that_picks_nothing_is_asked_again_but_not_for_ever(service: CopilotService) -> None:
    client = Scripted([COSTS, GCP], answers=["whatever"] * 9)
    service.start(ALICE, "cost", "q", client)
    event, payload = await client.outcome()
    assert (event, payload["code"]) == ("error", "NO_DATA")
    assert len(client.answers) == 9 - MAX_CLARIFICATIONS


async def test_a_second_try_may_pick(service: CopilotService) -> None:
    client = Scripted([COSTS, GCP], answers=["whatever", "aws"])
    service.start(ALICE, "cost", "q", client)
    assert (await client.outcome())[0] == "response"


@pytest.mark.parametrize(
    ("client", "asked"),
    [
        pytest.param(lambda: Scripted([]), 1, id="no dataset"),
        pytest.param(lambda: Scripted(rows=[]), 2, id="no row"),
        pytest.param(lambda: Scripted(rows=[{}, {}]), 2, id="only empty rows"),
    ],
)
async def test_nothing_to_answer_from_is_said(
    service: CopilotService, client: Callable[[], Scripted], asked: int
) -> None:
    empty = client()
    service.start(ALICE, "비용", "q", empty)
    event, payload = await empty.outcome()
    assert (event, payload["query_id"], payload["code"]) == ("error", "q", "NO_DATA")
    assert "없습니다" in payload["message"]
    assert len(empty.asked) == asked
    assert len(service) == 0


async def test_a_client_that_does_not_answer_ends_the_query(service: CopilotService) -> None:
    client = Scripted(rows=ClientTimeout())
    service.start(ALICE, "cost", "q", client)
    event, payload = await client.outcome()
    assert (event, payload["query_id"], payload["code"]) == ("error", "q", "CLIENT_TIMEOUT")


async def test_a_fault_of_ours_is_logged_and_named_only_by_its_id(service: CopilotService) -> None:
    client = Scripted(rows=RuntimeError("secret"))
    with capture_logs() as logs:
        service.start(ALICE, "cost", "q", client)
        event, payload = await client.outcome()
    assert (event, payload["code"]) == ("error", "INTERNAL")
    assert "secret" not in str(payload)
    assert payload["error_id"] == logs[0]["error_id"]
    assert len(service) == 0


async def test_an_id_that_runs_is_taken_for_its_user_only(service: CopilotService) -> None:
    service.start(ALICE, "cost", "q", Scripted(datasets=None))
    with pytest.raises(Conflict):
        service.start(ALICE, "cost", "q", Scripted())
    service.start(BOB, "cost", "q", Scripted(datasets=None))
    service.start(("acme", "alice"), "cost", "q", Scripted(datasets=None))
    assert len(service) == 3


async def test_an_id_is_free_once_its_query_is_answered(service: CopilotService) -> None:
    for _ in range(2):
        client = Scripted()
        service.start(ALICE, "cost", "q", client)
        assert (await client.outcome())[0] == "response"


async def test_a_user_has_only_so_many_running(service: CopilotService) -> None:
    for _ in range(MAX_RUNNING_PER_USER):
        service.start(ALICE, "cost", None, Scripted(datasets=None))
    with pytest.raises(LimitExceeded):
        service.start(ALICE, "cost", None, Scripted())
    service.start(BOB, "cost", None, Scripted(datasets=None))


async def test_cancel_stops_the_query_and_says_so(service: CopilotService) -> None:
    client = Scripted(datasets=None)
    service.start(ALICE, "cost", "q", client)
    await asyncio.wait_for(client.waiting.wait(), 10)
    await service.cancel(ALICE, "q")
    assert client.told[-1][0] == "error"
    assert client.told[-1][1]["code"] == "CANCELLED"
    assert len(service) == 0
    with pytest.raises(NotFound):
        await service.cancel(ALICE, "q")


async def test_cancel_before_the_first_step_leaves_nothing_behind(service: CopilotService) -> None:
    client = Scripted()
    service.start(ALICE, "cost", "q", client)
    await service.cancel(ALICE, "q")
    service.start(ALICE, "cost", "q", again := Scripted())
    assert (await again.outcome())[0] == "response"
    assert [event for event, _ in client.told] == ["error"]
    assert len(service) == 0


async def test_a_query_cancelled_and_started_anew_under_its_id_can_be_cancelled_again(service: CopilotService) -> None:
    for _ in range(2):
        client = Scripted(datasets=None)
        service.start(ALICE, "cost", "q", client)
        await asyncio.wait_for(client.waiting.wait(), 10)
        await service.cancel(ALICE, "q")
    assert len(service) == 0


@pytest.mark.parametrize("scope", [BOB, ("acme", "alice")])
async def test_another_users_query_cannot_be_cancelled(service: CopilotService, scope: tuple[str | None, str]) -> None:
    client = Scripted(datasets=None)
    service.start(ALICE, "cost", "q", client)
    with pytest.raises(NotFound):
        await service.cancel(scope, "q")
    assert len(service) == 1


async def test_a_query_that_cannot_be_started_is_not_counted() -> None:
    tasks = Tasks()
    await tasks.close()
    service = CopilotService(tasks.start)
    with pytest.raises(RuntimeError):
        service.start(ALICE, "cost", "q", Scripted())
    assert len(service) == 0


async def test_closing_the_tasks_ends_the_queries_without_a_word() -> None:
    tasks = Tasks()
    service = CopilotService(tasks.start)
    client = Scripted(datasets=None)
    service.start(ALICE, "cost", "q", client)
    await asyncio.wait_for(client.waiting.wait(), 10)
    await tasks.close()
    assert [event for event, _ in client.told] == ["processing", "processing"]
    assert len(service) == 0
