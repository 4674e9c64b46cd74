from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import date
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from server.errors import ClientTimeout, Conflict, LimitExceeded, NotFound, QueryCancelled
from server.namespaces.copilot import service as module
from server.namespaces.copilot.planner.embedded import MAX_CLARIFICATIONS, EmbeddedPlanner
from server.namespaces.copilot.service import MAX_RUNNING_PER_USER, VERB, CopilotService, Scope
from server.realtime.others import Body
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


class Room:
    """What a user's connections on all nodes are told."""

    def __init__(self) -> None:
        self.told: list[tuple[Scope, str, dict[str, Any]]] = []

    async def tell(self, scope: Scope, event: str, payload: Mapping[str, object]) -> None:
        self.told.append((scope, event, dict(payload)))


class Linked:
    """`others.Others` of nodes in one process; a `gate` holds back what this one hears of the others."""

    def __init__(self, cluster: list[Linked]) -> None:
        self._cluster = cluster
        self._answer: Callable[[Body], Awaitable[Body | None]] | None = None
        self.wills: dict[str, Body] = {}
        self.asking = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        cluster.append(self)

    def on(self, verb: str, answer: Callable[[Body], Awaitable[Body | None]]) -> None:
        assert verb == VERB
        self._answer = answer

    async def ask_all(self, verb: str, body: Body) -> list[Body]:
        answers = [await each.hear(body) for each in self._cluster if each is not self]
        self.asking.set()
        await self.gate.wait()
        return answers

    async def hear(self, body: Body) -> Body:
        assert self._answer is not None
        return await self._answer(json.loads(json.dumps(body))) or {}

    def will(self, key: str, verb: str, body: Body) -> None:
        self.wills[key] = body

    def withdraw(self, key: str) -> None:
        self.wills.pop(key, None)


@pytest.fixture
def room() -> Room:
    return Room()


Make = Callable[[], CopilotService]


@pytest_asyncio.fixture
async def make(room: Room) -> AsyncIterator[Make]:
    tasks = Tasks()
    times = iter(range(10_000))
    planner = EmbeddedPlanner(today=lambda: date(2025, 11, 5))
    yield lambda: CopilotService(tasks.start, planner, room.tell, clock=lambda: float(next(times)))
    await tasks.close()


@pytest.fixture
def service(make: Make) -> CopilotService:
    return make()


@pytest.fixture
def links() -> list[Linked]:
    return []


@pytest.fixture
def pair(make: Make, links: list[Linked]) -> tuple[CopilotService, CopilotService]:
    """On two nodes."""
    here, there = make(), make()
    for each in (here, there):
        each.join(Linked(links))
    return here, there


async def test_a_query_is_answered_from_the_clients_rows(service: CopilotService) -> None:
    client = Scripted()
    assert await service.start(ALICE, "지난달 서비스별 비용 상위 1개", "q1", client) == "q1"
    event, payload = await client.outcome()
    assert event == "response"
    assert payload["query_id"] == "q1"
    assert payload["data"]["figures"] == [{"label": "EC2", "value": 10}]
    assert payload["sources"] == [{"dataset": "aws_costs", "rows": 2}]
    assert payload["latency_ms"] == 1000
    assert client.stages == ["started", "requesting_data", "fetching", "answering"]
    assert [question for question, _ in client.asked] == ["available_data", "aws_costs"]
    assert len(service) == 0


async def test_a_query_without_an_id_is_given_one(service: CopilotService) -> None:
    client, other = Scripted(), Scripted()
    ids = {await service.start(ALICE, "cost", None, each) for each in (client, other)}
    assert len(ids) == 2
    assert {(await client.outcome())[1]["query_id"], (await other.outcome())[1]["query_id"]} == ids


async def test_a_tie_is_put_to_the_person_and_the_answer_picks(service: CopilotService) -> None:
    client = Scripted([COSTS, GCP], answers=["gcp_costs"])
    await service.start(ALICE, "cost by service", "q", client)
    event, payload = await client.outcome()
    assert (event, payload["sources"][0]["dataset"]) == ("response", "gcp_costs")
    assert client.asked[1] == (
        "More than one dataset fits the question. Which one do you mean?",
        ["aws_costs", "gcp_costs"],
    )
    assert client.stages == ["started", "requesting_data", "clarifying", "fetching", "answering"]


async def test_the_question_is_in_the_querys_language(service: CopilotService) -> None:
    client = Scripted([COSTS, GCP], answers=["2번"])
    await service.start(ALICE, "비용 알려줘", "q", client)
    _, payload = await client.outcome()
    assert client.asked[1][0] == "질문에 맞는 데이터가 둘 이상입니다. 어느 데이터를 볼까요?"
    assert payload["sources"][0]["dataset"] == "gcp_costs"


async def test_an_answer_that_picks_nothing_is_asked_again_but_not_for_ever(service: CopilotService) -> None:
    client = Scripted([COSTS, GCP], answers=["whatever"] * 9)
    await service.start(ALICE, "cost", "q", client)
    event, payload = await client.outcome()
    assert (event, payload["code"]) == ("error", "NO_DATA")
    assert len(client.answers) == 9 - MAX_CLARIFICATIONS


async def test_a_second_try_may_pick(service: CopilotService) -> None:
    client = Scripted([COSTS, GCP], answers=["whatever", "aws"])
    await service.start(ALICE, "cost", "q", client)
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
    await service.start(ALICE, "비용", "q", empty)
    event, payload = await empty.outcome()
    assert (event, payload["query_id"], payload["code"]) == ("error", "q", "NO_DATA")
    assert "없습니다" in payload["message"]
    assert len(empty.asked) == asked
    assert len(service) == 0


async def test_a_client_that_does_not_answer_ends_the_query(service: CopilotService) -> None:
    client = Scripted(rows=ClientTimeout())
    await service.start(ALICE, "cost", "q", client)
    event, payload = await client.outcome()
    assert (event, payload["query_id"], payload["code"]) == ("error", "q", "CLIENT_TIMEOUT")


async def test_a_fault_of_ours_is_logged_and_named_only_by_its_id(service: CopilotService) -> None:
    client = Scripted(rows=RuntimeError("secret"))
    with capture_logs() as logs:
        await service.start(ALICE, "cost", "q", client)
        event, payload = await client.outcome()
    assert (event, payload["code"]) == ("error", "INTERNAL")
    assert "secret" not in str(payload)
    assert payload["error_id"] == logs[0]["error_id"]
    assert len(service) == 0


async def test_an_id_that_runs_is_taken_for_its_user_only(service: CopilotService) -> None:
    await service.start(ALICE, "cost", "q", Scripted(datasets=None))
    with pytest.raises(Conflict):
        await service.start(ALICE, "cost", "q", Scripted())
    await service.start(BOB, "cost", "q", Scripted(datasets=None))
    await service.start(("acme", "alice"), "cost", "q", Scripted(datasets=None))
    assert len(service) == 3


async def test_an_id_is_free_once_its_query_is_answered(service: CopilotService) -> None:
    for _ in range(2):
        client = Scripted()
        await service.start(ALICE, "cost", "q", client)
        assert (await client.outcome())[0] == "response"


async def test_a_user_has_only_so_many_running(service: CopilotService) -> None:
    for _ in range(MAX_RUNNING_PER_USER):
        await service.start(ALICE, "cost", None, Scripted(datasets=None))
    with pytest.raises(LimitExceeded):
        await service.start(ALICE, "cost", None, Scripted())
    await service.start(BOB, "cost", None, Scripted(datasets=None))


async def test_cancel_stops_the_query_and_says_so(service: CopilotService) -> None:
    client = Scripted(datasets=None)
    await service.start(ALICE, "cost", "q", client)
    await asyncio.wait_for(client.waiting.wait(), 10)
    await service.cancel(ALICE, "q")
    assert client.told[-1][0] == "error"
    assert client.told[-1][1]["code"] == "CANCELLED"
    assert len(service) == 0
    with pytest.raises(NotFound):
        await service.cancel(ALICE, "q")


async def test_cancel_before_the_first_step_leaves_nothing_behind(service: CopilotService) -> None:
    client = Scripted()
    await service.start(ALICE, "cost", "q", client)
    await service.cancel(ALICE, "q")
    await service.start(ALICE, "cost", "q", again := Scripted())
    assert (await again.outcome())[0] == "response"
    assert [event for event, _ in client.told] == ["error"]
    assert len(service) == 0


async def test_a_query_cancelled_and_started_anew_under_its_id_can_be_cancelled_again(service: CopilotService) -> None:
    for _ in range(2):
        client = Scripted(datasets=None)
        await service.start(ALICE, "cost", "q", client)
        await asyncio.wait_for(client.waiting.wait(), 10)
        await service.cancel(ALICE, "q")
    assert len(service) == 0


@pytest.mark.parametrize("scope", [BOB, ("acme", "alice")])
async def test_another_users_query_cannot_be_cancelled(service: CopilotService, scope: tuple[str | None, str]) -> None:
    client = Scripted(datasets=None)
    await service.start(ALICE, "cost", "q", client)
    with pytest.raises(NotFound):
        await service.cancel(scope, "q")
    assert len(service) == 1


async def test_a_query_that_cannot_be_started_is_not_counted() -> None:
    tasks = Tasks()
    await tasks.close()
    service = CopilotService(tasks.start, EmbeddedPlanner(), Room().tell)
    with pytest.raises(RuntimeError):
        await service.start(ALICE, "cost", "q", Scripted())
    assert len(service) == 0


async def test_closing_the_tasks_ends_the_queries_without_a_word() -> None:
    tasks = Tasks()
    service = CopilotService(tasks.start, EmbeddedPlanner(), Room().tell)
    client = Scripted(datasets=None)
    await service.start(ALICE, "cost", "q", client)
    await asyncio.wait_for(client.waiting.wait(), 10)
    await tasks.close()
    assert [event for event, _ in client.told] == ["processing", "processing"]
    assert len(service) == 0


async def test_a_server_that_stops_tells_the_users_wherever_they_are(service: CopilotService, room: Room) -> None:
    client = Scripted(datasets=None)
    await service.start(ALICE, "cost", "q", client)
    await asyncio.wait_for(client.waiting.wait(), 10)
    await service.stop()
    [(scope, event, payload)] = room.told
    assert (scope, event, payload["query_id"], payload["code"]) == (ALICE, "error", "q", "GOING_AWAY")
    assert len(service) == 0


async def test_queries_are_counted_by_what_became_of_them(service: CopilotService) -> None:
    for client in (Scripted(), Scripted([]), Scripted(rows=ClientTimeout())):
        await service.start(ALICE, "cost", None, client)
        await client.outcome()
    await service.start(ALICE, "cost", "q", Scripted(datasets=None))
    await service.cancel(ALICE, "q")
    assert service.counts == {"started": 4, "answered": 1, "NO_DATA": 1, "CLIENT_TIMEOUT": 1, "CANCELLED": 1}


async def test_a_thousand_that_wait_stay_apart_and_leave_nothing(service: CopilotService) -> None:
    users = [(None, f"user-{number}") for number in range(200)]
    clients = {(user, at): Scripted(datasets=None) for user in users for at in range(5)}
    for (user, at), client in clients.items():
        await service.start(user, "cost", str(at), client)
    assert len(service) == 1000
    await asyncio.gather(*(client.waiting.wait() for client in clients.values()))
    for user, at in clients:
        await service.cancel(user, str(at))
    assert all(client.told[-1][1]["query_id"] == str(at) for (_, at), client in clients.items())
    assert (len(service), service._ids) == (0, {})


async def test_a_node_runs_only_so_many(service: CopilotService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RUNNING", 2)
    for user in (ALICE, BOB):
        await service.start(user, "cost", None, Scripted(datasets=None))
    with pytest.raises(LimitExceeded):
        await service.start(("acme", "carol"), "cost", None, Scripted())


# -- several nodes ----------------------------------------------------------------------------------------------


Pair = tuple[CopilotService, CopilotService]


async def test_a_users_queries_on_all_nodes_count_together(pair: Pair) -> None:
    for at in range(MAX_RUNNING_PER_USER):
        await pair[at % 2].start(ALICE, "cost", None, Scripted(datasets=None))
    for each in pair:
        with pytest.raises(LimitExceeded):
            await each.start(ALICE, "cost", None, Scripted())
        await each.start(BOB, "cost", None, Scripted(datasets=None))
        await each.start(("acme", "alice"), "cost", None, Scripted(datasets=None))
    assert sum(map(len, pair)) == MAX_RUNNING_PER_USER + 4


async def test_an_id_is_taken_on_all_nodes(pair: Pair) -> None:
    here, there = pair
    await here.start(ALICE, "cost", "q", Scripted(datasets=None))
    with pytest.raises(Conflict):
        await there.start(ALICE, "cost", "q", Scripted())
    await there.start(BOB, "cost", "q", Scripted(datasets=None))
    assert len(there) == 1


async def test_of_one_id_on_two_nodes_at_once_no_two_run(pair: Pair, links: list[Linked]) -> None:
    here, there = pair
    links[0].gate.clear()
    first = asyncio.create_task(here.start(ALICE, "cost", "q", Scripted(datasets=None)))
    await links[0].asking.wait()
    with pytest.raises(Conflict):
        await there.start(ALICE, "cost", "q", Scripted())
    links[0].gate.set()
    assert await first == "q"
    assert (len(here), len(there)) == (1, 0)


async def test_cancel_stops_a_query_on_another_node(pair: Pair) -> None:
    here, there = pair
    client = Scripted(datasets=None)
    await here.start(ALICE, "cost", "q", client)
    for stranger in (BOB, ("acme", "alice")):
        with pytest.raises(NotFound):
            await there.cancel(stranger, "q")
    await there.cancel(ALICE, "q")
    assert (client.told[-1][0], client.told[-1][1]["code"]) == ("error", "CANCELLED")
    with pytest.raises(NotFound):
        await there.cancel(ALICE, "q")
    assert sum(map(len, pair)) == 0


async def test_a_query_cancelled_while_other_nodes_are_asked_does_not_start(pair: Pair, links: list[Linked]) -> None:
    here, there = pair
    links[0].gate.clear()
    client = Scripted()
    starting = asyncio.create_task(here.start(ALICE, "cost", "q", client))
    await links[0].asking.wait()
    await there.cancel(ALICE, "q")
    links[0].gate.set()
    with pytest.raises(QueryCancelled):
        await starting
    assert (len(here), client.asked) == (0, [])


async def test_a_query_whose_node_dies_is_told_once_and_one_that_has_ended_is_not(
    pair: Pair, links: list[Linked], room: Room
) -> None:
    here, _ = pair
    done = Scripted()
    await here.start(ALICE, "cost", "done", done)
    await done.outcome()
    await here.start(ALICE, "cost", "lost", Scripted(datasets=None))
    [will] = links[0].wills.values()
    await links[1].hear(will)
    [(scope, event, payload)] = room.told
    assert (scope, event, payload["query_id"], payload["code"]) == (ALICE, "error", "lost", "GOING_AWAY")


async def test_the_will_of_a_later_query_under_the_same_id_stays(pair: Pair, links: list[Linked]) -> None:
    here, _ = pair
    for _ in range(2):
        await here.start(ALICE, "cost", "q", Scripted(datasets=None))
        await here.cancel(ALICE, "q")
    await here.start(ALICE, "cost", "q", Scripted(datasets=None))
    await asyncio.sleep(0)
    assert len(links[0].wills) == 1
