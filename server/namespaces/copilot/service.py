"""The queries that run, each user's few at a time over all nodes, and what becomes of them. How one is answered is a
`Planner`'s; how a client is reached is `Caller`'s."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from server.errors import AtriumError, Conflict, GoingAway, InternalError, LimitExceeded, NotFound, QueryCancelled
from server.namespaces.copilot.planner.planning import Client, Planner
from server.realtime.others import Body, NoOthers, Others

log = structlog.get_logger(__name__)

#: As many as the default rate lets start in a minute: a client of the seed that fires twelve at once hears of the rate,
#: from the eleventh on, and of nothing else.
MAX_RUNNING_PER_USER = 10
MAX_RUNNING = 10_000  # on this node
VERB = "copilot"

Scope = tuple[str | None, str]
Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]
TellUser = Callable[[Scope, str, Mapping[str, object]], Awaitable[None]]


class Caller(Client, Protocol):
    """Whoever asked the query, and hears of it."""

    async def tell(self, event: str, payload: Mapping[str, object]) -> None: ...


@dataclass(slots=True, eq=False)
class _Query:
    id: str
    scope: Scope
    caller: Caller
    task: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        """Of its will."""
        return f"{VERB} {self.scope} {self.id}"


class CopilotService:
    """`counts` are of all queries since the start: the `started`, the `answered`, and the others by their error's
    code."""

    def __init__(
        self,
        spawn: Spawn,
        planner: Planner,
        tell_user: TellUser,
        *,
        most: int = MAX_RUNNING_PER_USER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`spawn` runs a query as a task of its own; `tell_user` reaches a user's connections on all nodes; `most`
        queries of a user run at once; `clock` is in seconds."""
        self.counts: Counter[str] = Counter()
        self._spawn = spawn
        self._planner = planner
        self._tell_user = tell_user
        self._most = most
        self._clock = clock
        self._others: Others = NoOthers()
        self._running: dict[tuple[Scope, str], _Query] = {}
        self._ids: dict[Scope, set[str]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def join(self, others: Others) -> None:
        """From here on the other nodes' queries count too."""
        self._others = others
        others.on(VERB, self._here)

    async def start(self, scope: Scope, text: str, query_id: str | None, caller: Caller) -> str:
        """The id of the query, which runs beside. Raises Conflict for an id that is running, LimitExceeded."""
        query = _Query(query_id or secrets.token_hex(8), scope, caller)
        self._check(query, self._ids.get(scope, ()))
        if len(self) >= MAX_RUNNING:
            raise LimitExceeded("Too many queries are running")
        # It counts while the others are asked: of two that start at once on two nodes at least one sees the other.
        self._running[scope, query.id] = query
        self._ids.setdefault(scope, set()).add(query.id)
        try:
            elsewhere = await self._ids_elsewhere(scope)
            self._check_is_running(query)
            self._check(query, [*(self._ids[scope] - {query.id}), *elsewhere])
            query.task = self._spawn(self._run(query, text), "query")
        except BaseException:
            self._forget(query)
            raise
        self.counts["started"] += 1
        self._others.will(query.key, VERB, {"do": "lost", "user": scope, "query_id": query.id})
        # Not in `_run`: a task that is cancelled before its first step runs no code at all.
        query.task.add_done_callback(lambda _: self._forget(query))
        return query.id

    async def cancel(self, scope: Scope, query_id: str) -> None:
        """On whichever node it runs. Raises NotFound for what does not: also for one that is just being answered."""
        if await self._cancel(scope, query_id):
            return
        answers = await self._others.ask_all(VERB, {"do": "cancel", "user": scope, "query_id": query_id})
        if not any(answer.get("cancelled") for answer in answers):
            raise NotFound(f"No query {query_id!r} of yours is running")

    async def stop(self) -> None:
        """Who has gone to another node hears there that their queries ended with this one."""
        for query in list(self._running.values()):
            self._end(query)
            self.counts[GoingAway.code] += 1
            await self._tell_user(query.scope, "error", _failure(query.id, GoingAway()))

    # -- all nodes ----------------------------------------------------------------------------------------------

    async def _here(self, body: Body) -> Body | None:
        """What another node wants; or one that is dead wanted."""
        tenant, user_id = body["user"]
        scope = (tenant, user_id)
        match body["do"]:
            case "list":
                return {"queries": list(self._ids.get(scope, ()))}
            case "cancel":
                return {"cancelled": await self._cancel(scope, body["query_id"])}
            case "lost":
                await self._tell_user(scope, "error", _failure(body["query_id"], GoingAway()))
        return None

    async def _ids_elsewhere(self, scope: Scope) -> list[str]:
        answers = await self._others.ask_all(VERB, {"do": "list", "user": scope})
        return [query_id for answer in answers for query_id in answer.get("queries", ())]

    def _check(self, query: _Query, others: Collection[str]) -> None:
        if query.id in others:
            raise Conflict(f"The query {query.id!r} is still running")
        if len(others) >= self._most:
            raise LimitExceeded(f"You have {len(others)} queries running")

    def _check_is_running(self, query: _Query) -> None:
        if self._running.get((query.scope, query.id)) is not query:
            raise QueryCancelled

    # -- this node ----------------------------------------------------------------------------------------------

    async def _cancel(self, scope: Scope, query_id: str) -> bool:
        """Whether it ran here."""
        query = self._running.get((scope, query_id))
        if query is None:
            return False
        self._end(query)
        await self._fail(query, QueryCancelled())
        return True

    async def _run(self, query: _Query, text: str) -> None:
        started = self._clock()

        async def progress(stage: str) -> None:
            await query.caller.tell("processing", {"query_id": query.id, "stage": stage})

        try:
            await progress("started")
            found = await self._planner.answer(text, query.caller, progress)
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
            self.counts["answered"] += 1
            outcome = {"query_id": query.id, "text": found.text, "data": found.data, "sources": found.sources}
            latency = round((self._clock() - started) * 1000)
            await query.caller.tell("response", {**outcome, "latency_ms": latency})

    async def _fail(self, query: _Query, error: AtriumError) -> None:
        self.counts[error.code] += 1
        await query.caller.tell("error", _failure(query.id, error))

    def _end(self, query: _Query) -> None:
        self._forget(query)
        if query.task is not None:
            query.task.cancel()

    def _forget(self, query: _Query) -> None:
        """From here on the id is free; a later query may already have it."""
        if self._running.get((query.scope, query.id)) is not query:
            return
        del self._running[query.scope, query.id]
        of_user = self._ids[query.scope]
        of_user.remove(query.id)
        if not of_user:
            del self._ids[query.scope]
        self._others.withdraw(query.key)


def _failure(query_id: str, error: AtriumError) -> dict[str, object]:
    return {"query_id": query_id, **error.to_wire()}
