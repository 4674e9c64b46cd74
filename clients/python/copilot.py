"""The copilot: a question to the server, and the server's own questions to this client on the way to the answer."""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clients.python.connection import Connection
from clients.python.errors import ClientError, Lost, NotConnected, Refused, TimedOut

log = logging.getLogger(__name__)

ASK_SECONDS = 300.0  # a person may take two minutes for each of two questions
MOST_ANSWERS = 100  # of the newest questions, for one that is put again after a drop
#: What the server asks for, and under which name its answer goes.
QUESTIONS: Mapping[str, str] = {
    "request_available_data": "datasets",
    "request_api": "data",
    "clarification_request": "answer",
}

Answering = Callable[[Mapping[str, Any]], Any | Awaitable[Any]]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answer:
    query_id: str
    text: str
    data: Any
    sources: tuple[Mapping[str, Any], ...]
    latency_ms: int


@dataclass(eq=False, slots=True)
class _Query:
    text: str
    answered: asyncio.Future[Answer]
    progress: Progress | None
    asked: bool = False


class Copilot:
    """A query goes on over a drop: the server's open questions are put again, with the same `requestId`, and answered
    once. Where the server does not know the query any more it is asked anew."""

    def __init__(self, connection: Connection, answering: Mapping[str, Answering]) -> None:
        """`answering` is looked at whenever a question comes."""
        self._connection = connection
        self._answering = answering
        self._queries: dict[str, _Query] = {}
        self._answers: OrderedDict[str, asyncio.Task[Any]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        for question in QUESTIONS:
            connection.answer(question, self._answerer(question))
        self._stops = [
            connection.on("processing", self._processing),
            connection.on("response", self._response),
            connection.on("error", self._error),
            connection.on("request_expired", self._expired),
            connection.on_state(self._state_changed),
        ]

    async def ask(
        self,
        text: str,
        *,
        on_progress: Progress | None = None,
        timeout: float = ASK_SECONDS,
    ) -> Answer:
        """Raises Refused with the code that the query ended with, NotConnected, Lost, TimedOut. Cancelled, or out of
        time, it is cancelled at the server too. `on_progress` hears the stages."""
        query_id = uuid.uuid4().hex
        query = self._queries[query_id] = _Query(text, asyncio.get_running_loop().create_future(), on_progress)
        try:
            async with asyncio.timeout(timeout):
                await self._put(query_id, query)
                return await query.answered
        except TimeoutError:
            await self._connection.emit("cancel", {"query_id": query_id})
            raise TimedOut(f"no answer within {timeout:g} s") from None
        except asyncio.CancelledError:
            await self._connection.emit("cancel", {"query_id": query_id})
            raise
        finally:
            del self._queries[query_id]

    async def close(self) -> None:
        for stop in self._stops:
            stop()
        tasks = [*self._tasks, *self._answers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail_all(NotConnected("CLOSED", "the client was closed"))

    async def _put(self, query_id: str, query: _Query) -> None:
        """Where the ack is lost with the connection it is put again: the server knows it by its id."""
        while True:
            try:
                await self._connection.call("query", {"text": query.text, "query_id": query_id})
            except Lost:
                continue
            except Refused as error:
                if error.code != "CONFLICT":  # else it is running
                    raise
            query.asked = True
            return

    # -- the server's questions ------------------------------------------------------------------------------------

    def _answerer(self, question: str) -> Callable[[Any], Awaitable[Any]]:
        async def answer(request: Any) -> Any:
            if not isinstance(request, Mapping) or question not in self._answering:
                return None
            request_id = str(request.get("requestId", ""))
            task = self._answers.get(request_id)
            if task is None:
                task = self._answers[request_id] = asyncio.create_task(self._work_out(question, request))
                if len(self._answers) > MOST_ANSWERS:
                    self._answers.popitem(last=False)[1].cancel()
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                return None

        return answer

    async def _work_out(self, question: str, request: Mapping[str, Any]) -> Any:
        """None where the handler fails: the query then ends as one whose client did not answer."""
        try:
            given = self._answering[question](request)
            answer = await given if inspect.isawaitable(given) else given
        except Exception:
            log.exception("the answer to %s failed", question)
            return None
        name = QUESTIONS[question]
        if isinstance(answer, Mapping) and name in answer:
            return answer
        return None if answer is None else {name: answer}

    def _expired(self, payload: Any) -> None:
        task = self._answers.pop(str(payload.get("requestId", "")), None)
        if task is not None:
            task.cancel()

    # -- what becomes of a query -----------------------------------------------------------------------------------

    def _of(self, payload: Any) -> _Query | None:
        return self._queries.get(str(payload.get("query_id", ""))) if isinstance(payload, Mapping) else None

    def _processing(self, payload: Any) -> None:
        query = self._of(payload)
        if query is not None and query.progress is not None:
            query.progress(str(payload.get("stage", "")))

    def _response(self, payload: Any) -> None:
        query = self._of(payload)
        if query is not None and not query.answered.done():
            query.answered.set_result(
                Answer(
                    query_id=str(payload["query_id"]),
                    text=str(payload["text"]),
                    data=payload.get("data"),
                    sources=tuple(payload.get("sources") or ()),
                    latency_ms=int(payload.get("latency_ms") or 0),
                )
            )

    def _error(self, payload: Any) -> None:
        query = self._of(payload)
        if query is not None:
            _fail(query, Refused(payload))

    def _state_changed(self) -> None:
        connection = self._connection
        if connection.state == "connected" and not connection.recovered:
            for query_id, query in self._queries.items():
                if query.asked:
                    task = asyncio.create_task(self._again(query_id, query), name="copilot")
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        elif connection.state in ("failed", "closed"):
            self._fail_all(connection.why or NotConnected("CLOSED", "the connection was closed"))

    async def _again(self, query_id: str, query: _Query) -> None:
        try:
            await self._put(query_id, query)
        except ClientError as error:
            _fail(query, error)

    def _fail_all(self, error: ClientError) -> None:
        for query in self._queries.values():
            _fail(query, error)


def _fail(query: _Query, error: ClientError) -> None:
    if not query.answered.done():
        query.answered.set_exception(error)
        query.answered.exception()  # retrieved, where the caller waits for something else
