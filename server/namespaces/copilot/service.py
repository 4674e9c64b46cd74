"""One query from question to answer, and which of them run; how a client is reached is `Client`'s, not known here."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import structlog

from server.errors import AtriumError, Conflict, InternalError, LimitExceeded, NoData, NotFound, QueryCancelled
from server.namespaces.copilot.planner import periods, phrases, ranking, words
from server.namespaces.copilot.planner.answers import Answer, answer
from server.namespaces.copilot.planner.ranking import Dataset
from server.timestamps import utc_now

log = structlog.get_logger(__name__)

#: Above the default rate of 10 a minute, so that it is felt only where that was raised.
MAX_RUNNING_PER_USER = 20
MAX_CLARIFICATIONS = 2

Scope = tuple[str | None, str]
Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


class Client(Protocol):
    """Whoever asked the query. The first three raise AskFailed when no usable answer comes in time."""

    async def available_data(self, query: str) -> Sequence[Mapping[str, object]]: ...

    async def rows(self, dataset: str, params: Mapping[str, object]) -> Sequence[Mapping[str, object]]: ...

    async def clarify(self, question: str, options: Sequence[str]) -> str: ...

    async def tell(self, event: str, payload: Mapping[str, object]) -> None: ...


@dataclass(slots=True, eq=False)
class _Query:
    id: str
    scope: Scope
    text: str
    client: Client
    task: asyncio.Task[None] | None = None


def _today() -> date:
    return utc_now().date()


class CopilotService:
    def __init__(
        self,
        spawn: Spawn,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], date] = _today,
    ) -> None:
        """`spawn` runs a query as a task of its own; `clock` is in seconds."""
        self._spawn = spawn
        self._clock = clock
        self._today = today
        self._running: dict[Scope, dict[str, _Query]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._running.values()))

    def start(self, scope: Scope, text: str, query_id: str | None, client: Client) -> str:
        """The id of the query, which runs beside. Raises Conflict for an id that is running, LimitExceeded."""
        query = _Query(query_id or secrets.token_hex(8), scope, text, client)
        of_user = self._running.get(scope, {})
        if query.id in of_user:
            raise Conflict(f"The query {query.id!r} is still running")
        if len(of_user) >= MAX_RUNNING_PER_USER:
            raise LimitExceeded(f"You have {len(of_user)} queries running")
        query.task = self._spawn(self._run(query), "query")
        self._running.setdefault(scope, {})[query.id] = query
        # Not in `_run`: a task that is cancelled before its first step runs no code at all.
        query.task.add_done_callback(lambda _: self._forget(query))
        return query.id

    async def cancel(self, scope: Scope, query_id: str) -> None:
        """Raises NotFound for what does not run: also for a query that is just being answered."""
        query = self._running.get(scope, {}).get(query_id)
        if query is None or query.task is None:
            raise NotFound(f"No query {query_id!r} of yours is running")
        self._forget(query)
        query.task.cancel()
        await self._fail(query, QueryCancelled())

    async def _run(self, query: _Query) -> None:
        started = self._clock()
        try:
            found = await self._answer(query)
        except AtriumError as error:
            self._forget(query)
            await self._fail(query, error)
        except Exception as error:
            internal = InternalError(secrets.token_hex(8))
            log.exception("query failed", query_id=query.id, error_id=internal.error_id, exc_info=error)
            self._forget(query)
            await self._fail(query, internal)
        else:
            self._forget(query)
            outcome = {"query_id": query.id, "text": found.text, "data": found.data, "sources": found.sources}
            latency = round((self._clock() - started) * 1000)
            await query.client.tell("response", {**outcome, "latency_ms": latency})

    async def _answer(self, query: _Query) -> Answer:
        korean = words.is_korean(query.text)
        await self._progress(query, "started")
        await self._progress(query, "requesting_data")
        datasets = [Dataset.from_wire(each) for each in await query.client.available_data(query.text)]
        if not datasets:
            raise NoData(phrases.no_datasets(korean=korean))
        dataset = await self._choose(query, datasets, korean=korean)
        await self._progress(query, "fetching")
        today = self._today()
        period = periods.named(query.text, today)
        rows = await query.client.rows(dataset.name, period.to_wire() if period else {})
        if not any(rows):
            raise NoData(phrases.no_rows(dataset.name, korean=korean))
        await self._progress(query, "answering")
        # Thousands of rows take longer than the event loop has.
        return await asyncio.to_thread(answer, query.text, dataset.name, rows, today)

    async def _choose(self, query: _Query, datasets: Sequence[Dataset], *, korean: bool) -> Dataset:
        """The dataset that is meant; the person is asked where the query does not tell."""
        choice = ranking.choose(query.text, datasets)
        for _ in range(MAX_CLARIFICATIONS):
            if choice.winner is not None:
                break
            await self._progress(query, "clarifying")
            question = phrases.which_dataset(choice, korean=korean)
            said = await query.client.clarify(question, [dataset.name for dataset in choice.candidates])
            picked = ranking.pick(said, choice.candidates) or ranking.pick(said, datasets)
            if picked is not None:
                return picked
        if choice.winner is None:
            raise NoData(phrases.no_choice(korean=korean))
        return choice.winner

    async def _progress(self, query: _Query, stage: str) -> None:
        await query.client.tell("processing", {"query_id": query.id, "stage": stage})

    async def _fail(self, query: _Query, error: AtriumError) -> None:
        await query.client.tell("error", {"query_id": query.id, **error.to_wire()})

    def _forget(self, query: _Query) -> None:
        """From here on the id is free; a later query may already have it."""
        of_user = self._running.get(query.scope, {})
        if of_user.get(query.id) is query:
            del of_user[query.id]
        if not of_user:
            self._running.pop(query.scope, None)
