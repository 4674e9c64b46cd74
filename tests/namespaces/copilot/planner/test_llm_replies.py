from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from server.errors import AgentUnavailable, HandlerTimeout
from server.llm.endpoint import Endpoint, Options
from server.namespaces.copilot.planner import llm_replies
from server.namespaces.copilot.planner.llm_replies import MAX_CALLS, MAX_REPLY, Call, Reply
from server.namespaces.copilot.planner.llm_tools import TOOLS
from tests.support.openai_server import Behaviour, OpenAIServer, calls, cut, ends, says, sends, silent, stalls

MESSAGES = [{"role": "user", "content": "비용?"}]

Complete = Callable[..., Awaitable[Reply]]


@pytest_asyncio.fixture
async def complete(llm: OpenAIServer) -> AsyncIterator[Complete]:
    made: list[Endpoint] = []

    async def at_once(seconds: float) -> None: ...

    async def complete(may_call: bool = True, retries: int = 2, **options: Any) -> Reply:
        known = Options("gpt-test", "k", llm.url, retries=retries)
        made.append(await asyncio.to_thread(lambda: Endpoint(known, whose="language model", sleep=at_once)))
        return await llm_replies.complete(made[-1], MESSAGES, TOOLS, may_call=may_call, seconds=90, **options)

    yield complete
    for each in made:
        await each.close()


@pytest.mark.parametrize(
    "trouble",
    [cut("Wha"), ends("What"), cut(), says(), says("", finish="content_filter")],
)
async def test_what_may_pass_is_tried_again_and_no_half_of_it_kept(
    llm: OpenAIServer, complete: Complete, trouble: Behaviour
) -> None:
    llm.script.extend([trouble, says("Whole.")])
    assert await complete() == Reply("Whole.")


async def test_a_call_that_breaks_off_is_no_call(llm: OpenAIServer, complete: Complete) -> None:
    half = {"index": 0, "id": "x", "function": {"name": "request_api", "arguments": '{"dataset": "a"}'}}
    broken = sends(f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'tool_calls': [half]}}]})}")
    llm.script.extend([broken, broken, broken])
    with pytest.raises(AgentUnavailable):
        await complete()
    assert len(llm.requests) == 3


@pytest.mark.parametrize("behaviour", [silent, stalls(), stalls("Wha")])
async def test_silence_is_a_timeout_and_ends_the_request(
    llm: OpenAIServer, complete: Complete, behaviour: Behaviour
) -> None:
    llm.script.append(behaviour)
    with pytest.raises(HandlerTimeout):
        await complete(silence=0.1)
    async with asyncio.timeout(5):
        await llm.gone.wait()


async def test_silence_after_the_end_is_none(llm: OpenAIServer, complete: Complete) -> None:
    llm.script.append(stalls("All.", finish="stop"))
    assert await complete(silence=0.1) == Reply("All.")


async def test_being_cancelled_ends_the_request(llm: OpenAIServer, complete: Complete) -> None:
    llm.script.append(stalls("Wha"))
    task = asyncio.ensure_future(complete())
    await llm.stalled.wait()
    task.cancel()
    async with asyncio.timeout(5):
        await llm.gone.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_no_stream_at_all(llm: OpenAIServer, complete: Complete) -> None:
    llm.script.extend(
        [sends("data: {not json"), sends('data: {"choices": 7}'), sends("<html>", content_type="text/html")]
    )
    for _ in range(3):
        with pytest.raises(AgentUnavailable):
            await complete(retries=0)


async def test_a_reply_without_end_is_cut(llm: OpenAIServer, complete: Complete) -> None:
    llm.script.extend([says(*["x" * 1000] * 100), says("So far", finish="length")])
    assert await complete() == Reply("x" * MAX_REPLY, cut=True)
    assert await complete() == Reply("So far", cut=True)


@pytest.mark.parametrize("numbered", [True, False])
async def test_calls_come_in_pieces_and_several_at_once(llm: OpenAIServer, complete: Complete, numbered: bool) -> None:
    llm.script.append(calls(("a", '{"x": 1}'), ("b", ""), ("c", "{"), text="Let me see.", numbered=numbered))
    assert await complete() == Reply("Let me see.", (Call("a", '{"x": 1}'), Call("b", ""), Call("c", "{")))


async def test_a_thousand_calls_are_not_kept(llm: OpenAIServer, complete: Complete) -> None:
    llm.script.append(calls(*[("a", "{}")] * 1000))
    assert len((await complete()).calls) == MAX_CALLS


async def test_what_is_sent(llm: OpenAIServer, complete: Complete) -> None:
    await complete(may_call=False)
    request = llm.requests[0]
    assert (request["model"], request["messages"], request["stream"]) == ("gpt-test", MESSAGES, True)
    assert request["tool_choice"] == "none"
    assert len(request["tools"]) == 3
    await complete()
    assert llm.requests[1]["tool_choice"] == "auto"
