"""The planner with a language model: it plans requests and words the answer; what it may request is `llm_requests`'.

Rows are shown to it only when it has done planning and nothing that it says starts a request any more.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial

from server.errors import AgentUnavailable, HandlerTimeout, LimitExceeded, NoData
from server.llm.endpoint import Endpoint
from server.namespaces.copilot.planner import llm_replies, llm_requests, llm_tools, phrases, words
from server.namespaces.copilot.planner.answers import Answer
from server.namespaces.copilot.planner.llm_prompt import Prompt
from server.namespaces.copilot.planner.llm_replies import Call, Message, Reply
from server.namespaces.copilot.planner.llm_requests import Limits, Requests, Result
from server.namespaces.copilot.planner.llm_tools import TOOLS, Refused
from server.namespaces.copilot.planner.planning import Client, Progress
from server.timestamps import utc_now

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _today() -> date:
    return utc_now().date()


class LanguageModelPlanner:
    """`planning.Planner`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        limits: Limits | None = None,
        today: Callable[[], date] = _today,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is in seconds. It closes the endpoint."""
        self._endpoint = endpoint
        self._limits = limits or Limits()
        self._today = today
        self._clock = clock

    async def close(self) -> None:
        await self._endpoint.close()

    async def answer(self, text: str, client: Client, progress: Progress) -> Answer:
        """Raises NoData where nothing was fetched, LimitExceeded where the budget ended before that, HandlerTimeout,
        AgentUnavailable, and as `client` does."""
        today = self._today()
        try:
            async with asyncio.timeout(self._limits.seconds) as limit:
                requests = Requests(
                    text, client, progress, self._limits, today, self._clock, unhurried=partial(_stopped, limit)
                )
                return await self._answer(requests, Prompt(today), limit)
        except TimeoutError:
            if not limit.expired():
                raise
            raise HandlerTimeout(f"There was no answer within {self._limits.seconds:g} seconds") from None

    async def _answer(self, requests: Requests, prompt: Prompt, limit: asyncio.Timeout) -> Answer:
        korean = words.is_korean(requests.text)
        conversation = _Conversation(requests.text, prompt)
        planned = await self._plan(requests, conversation, limit) and not requests.short
        if requests.nothing_offered:
            raise NoData(phrases.no_datasets(korean=korean))
        if not requests.results:
            if not planned:
                raise LimitExceeded("The question took more requests than one may make")
            raise NoData(_nothing_fetched(korean=korean))
        if not any(any(result.fetched.rows) for result in requests.results):
            first = requests.results[0].request
            raise NoData(phrases.no_rows(first.dataset, first.period, korean=korean))
        await requests.progress("answering")
        share = self._limits.rows_size // len(requests.results)
        await asyncio.to_thread(conversation.show, requests.results, share)
        reply = await self._complete(conversation, limit, may_call=False)
        if not reply.text:
            raise AgentUnavailable("The language model gave no answer")
        return _told(reply, requests.results, planned=planned, korean=korean)

    async def _plan(self, requests: Requests, conversation: _Conversation, limit: asyncio.Timeout) -> bool:
        """Whether the model came to an end of it by itself."""
        for _ in range(self._limits.model_calls - 1):  # the last one is for the answer
            reply = await self._complete(conversation, limit, may_call=True)
            if not reply.calls:
                return True
            conversation.call(reply.calls)
            for call in reply.calls:
                results = len(requests.results)
                try:
                    outcome: object = await requests.make(call)
                except Refused as refused:
                    outcome = {"refused": str(refused)}
                conversation.result(outcome, of=results if len(requests.results) > results else None)
            if requests.nothing_offered:
                return True
            if requests.exhausted:
                return False
        return False

    async def _complete(self, conversation: _Conversation, limit: asyncio.Timeout, *, may_call: bool) -> Reply:
        return await llm_replies.complete(
            self._endpoint, conversation.messages, TOOLS, may_call=may_call, seconds=_left(limit)
        )


def _left(limit: asyncio.Timeout) -> float:
    return (limit.when() or 0.0) - asyncio.get_running_loop().time()


@contextmanager
def _stopped(limit: asyncio.Timeout) -> Iterator[None]:
    """Its time goes on afterwards."""
    left = _left(limit)
    limit.reschedule(None)
    try:
        yield
    finally:
        limit.reschedule(asyncio.get_running_loop().time() + left)


class _Conversation:
    """The messages: ids and names of calls are ours, since an endpoint refuses what it would not have written."""

    def __init__(self, text: str, prompt: Prompt) -> None:
        said = text.encode("utf-8", "replace").decode()
        self.messages: list[Message] = [
            {"role": "system", "content": prompt.instructions},
            {"role": "user", "content": said},
        ]
        self._prompt = prompt
        self._ids: list[str] = []
        self._count = 0
        self._places: dict[int, int] = {}  # of the results, among the messages

    def call(self, calls: Sequence[Call]) -> None:
        made: list[dict[str, object]] = []
        for call in calls:
            self._count += 1
            call_id = f"call{self._count:05}"
            self._ids.append(call_id)
            try:
                llm_tools.arguments(call)
                arguments = call.arguments or "{}"
            except Refused:
                arguments = "{}"
            name = call.name if _NAME.fullmatch(call.name) else "unknown"
            made.append({"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}})
        self.messages.append({"role": "assistant", "content": "", "tool_calls": made})

    def result(self, outcome: object, *, of: int | None) -> None:
        """To the first call that has none; `of` is the number of the result whose rows are still to be shown."""
        if of is not None:
            self._places[of] = len(self.messages)
        self.messages.append(
            {"role": "tool", "tool_call_id": self._ids.pop(0), "content": self._prompt.fenced(outcome)}
        )

    def show(self, results: Sequence[Result], size: int) -> None:
        """Each with as many rows as `size` bytes hold."""
        for number, at in self._places.items():
            content = self._prompt.fenced(results[number].shown(size))
            self.messages[at] = {**self.messages[at], "content": content}


def _told(reply: Reply, results: list[Result], *, planned: bool, korean: bool) -> Answer:
    found = llm_requests.sources(results)
    text = "".join(each if each.isprintable() or each in "\n\t" else " " for each in reply.text)
    lines = [f"{text}…" if reply.cut else text]
    if not planned:
        lines.append(_unfinished(korean=korean))
    lines.extend(
        phrases.incomplete(len(result.fetched.rows), korean=korean)
        for result in {id(each.fetched): each for each in results if not each.fetched.complete}.values()
    )
    named = ", ".join(phrases.plain(str(source["dataset"])) for source in found)
    lines.append(f"출처: {named}" if korean else f"Source: {named}")
    return Answer("\n".join(lines), dict(llm_requests.data(results)), found)


def _nothing_fetched(*, korean: bool) -> str:
    return "제공된 데이터로는 답할 수 없습니다." if korean else "The question cannot be answered from the data offered."


def _unfinished(*, korean: bool) -> str:
    if korean:
        return "필요한 데이터를 모두 요청하기 전에 한도에 이르러, 일부 데이터로만 답했습니다."
    return "The limit of requests was reached first, so this rests on a part of the data that was wanted."
