from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from server.errors import AgentUnavailable, AtriumError, HandlerTimeout
from server.llm.endpoint import Endpoint
from server.namespaces.chat.agents import openai_backend
from server.namespaces.chat.agents.backend import Question, Turn, Verdict
from server.namespaces.chat.agents.context import tokens
from server.namespaces.chat.agents.openai_backend import CONNECTING, CONNECTING_KOREAN, OpenAI, Options
from tests.support.openai_server import OpenAIServer, cut, ends, says, sends, silent, stalls

KEY = "sk-not-for-anyones-eyes"

Make = Callable[..., Awaitable[OpenAI]]


@pytest_asyncio.fixture
async def make(llm: OpenAIServer) -> AsyncIterator[Make]:
    made: list[OpenAI] = []

    async def at_once(seconds: float) -> None: ...

    async def make(**options: Any) -> OpenAI:
        known = Options(**{"model": "gpt-test", "api_key": KEY, "base_url": llm.url, **options})
        endpoint = await asyncio.to_thread(lambda: Endpoint(known, whose="agent", sleep=at_once))
        made.append(OpenAI(endpoint, known))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def ask(backend: OpenAI, text: str = "Hi?", history: tuple[Turn, ...] = ()) -> tuple[list[str], Verdict]:
    *pieces, verdict = [part async for part in backend.answer(Question("s1", "alice", text, history))]
    assert isinstance(verdict, Verdict)
    return [str(piece) for piece in pieces], verdict


async def fault(backend: OpenAI, error: type[AtriumError]) -> tuple[list[str], dict[str, Any]]:
    """What it said before it raised `error`, and what was logged."""
    said: list[str] = []

    async def listen() -> None:
        async for part in backend.answer(Question("s1", "alice", "Hi?")):
            said.append(str(part))  # noqa: PERF401 - what came before the fault counts

    with capture_logs() as logs, pytest.raises(error) as raised:
        await listen()
    assert KEY not in repr((logs, raised.value, raised.value.to_wire()))
    return said, dict(logs[-1])


async def test_it_streams_what_comes(llm: OpenAIServer, make: Make) -> None:
    llm.script.append(says("안녕", "하세요", ". 😀", tokens=17))
    assert await ask(await make()) == (["안녕", "하세요", ". 😀"], Verdict(tokens_used=17))
    assert llm.headers[0]["Authorization"] == f"Bearer {KEY}"


async def test_the_request(llm: OpenAIServer, make: Make) -> None:
    history = (Turn("user", "one"), Turn("agent", "two"), Turn("operator", "three"))
    await ask(await make(system_prompt="Be kind.", parameters={"temperature": 0.2, "max_tokens": 9}), "four", history)
    system, *turns = llm.requests[0].pop("messages")
    assert llm.requests == [
        {
            "model": "gpt-test",
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.2,
            "max_tokens": 9,
        }
    ]
    assert system["role"] == "system"
    assert system["content"].startswith("Be kind.\n\n")
    assert "[[HANDOVER]]" in system["content"]
    assert turns == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "assistant", "content": "three"},
        {"role": "user", "content": "four"},
    ]


async def test_history_and_question_keep_to_the_budget(llm: OpenAIServer, make: Make) -> None:
    history = tuple(Turn("user", f"{number}: " + "lorem ipsum " * 50) for number in range(20))
    await ask(await make(budget=1_000), "?" * 5, history)
    messages = llm.requests[0]["messages"]
    assert 900 < sum(tokens(each["content"]) for each in messages) <= 1_000
    assert messages[-1]["content"] == "?????"
    assert messages[-2]["content"].startswith("19: ")
    assert messages[1]["content"].startswith(("lorem", "ipsum"))  # the oldest is cut

    await ask(await make(budget=1_000), "대출 " * 20_000)
    messages = llm.requests[1]["messages"]
    assert [each["role"] for each in messages] == ["system", "user"]
    assert 500 < tokens(messages[1]["content"]) < 1_000


async def test_what_it_cost_is_estimated_where_the_endpoint_does_not_say(llm: OpenAIServer, make: Make) -> None:
    llm.script.append(says("four score", tokens=None))
    _, verdict = await ask(await make(usage=False))
    assert "stream_options" not in llm.requests[0]
    sent = sum(tokens(each["content"]) for each in llm.requests[0]["messages"])
    assert verdict.tokens_used == sent + 3


@pytest.mark.parametrize(
    ("pieces", "text", "verdict"),
    [
        (["Sure.\n[[INT", "ENT:INFO_REQ]]"], "Sure.", ("INFO_REQ", "CONTINUE")),
        (["One moment.", "\n[[INTENT:COMPLAINT]]\n[[HANDOVER]]\n"], "One moment.", ("COMPLAINT", "HANDOVER")),
        (["[[HANDOVER]]"], CONNECTING, (None, "HANDOVER")),
        (["a [[b]] [", "[c"], "a [[b]] [[c", (None, "CONTINUE")),
    ],
)
async def test_its_markers_are_a_verdict_and_not_text(
    llm: OpenAIServer, make: Make, pieces: list[str], text: str, verdict: tuple[str | None, str]
) -> None:
    llm.script.append(says(*pieces))
    said, judged = await ask(await make())
    assert ("".join(said), (judged.intent, judged.suggested_action)) == (text, verdict)


async def test_a_handover_without_a_word_is_announced_in_the_customers_language(llm: OpenAIServer, make: Make) -> None:
    llm.script.append(says("[[HANDOVER]]"))
    assert (await ask(await make(), "상담원 연결해줘"))[0] == [CONNECTING_KOREAN]


async def test_it_rests_on_documents(llm: OpenAIServer, tmp_path: Path) -> None:
    (tmp_path / "rates.md").write_text(
        "## What is the loan rate?\n3.5%\n## Lost card?\nCall us.\n## loan rate, all of it\n" + "x" * 9_000
    )
    options = {"model": "m", "base_url": llm.url, "knowledge": "."}
    backend = await asyncio.to_thread(openai_backend.build, tmp_path, options)
    _, verdict = await ask(backend, "loan rate?")
    system = llm.requests[0]["messages"][0]["content"]
    assert "## What is the loan rate?\n3.5%" in system
    assert "Lost card" not in system
    assert "xxx" not in system  # it has no room beside the conversation, so the answer does not rest on it either
    assert [each["title"] for each in verdict.source_documents] == ["What is the loan rate?"]
    await backend.close()


# -- what is tried again, and what is not


@pytest.mark.parametrize("behaviour", [cut(), ends(), sends("<h1>Hi</h1>", content_type="text/html"), sends("")])
async def test_what_breaks_before_the_first_word_is_tried_again(llm: OpenAIServer, make: Make, behaviour: Any) -> None:
    llm.script.append(behaviour)
    assert (await ask(await make()))[0] == ["Hello."]


@pytest.mark.parametrize("behaviour", [cut("one ", "two"), ends("one ", "two")])
async def test_what_breaks_after_it_is_not(llm: OpenAIServer, make: Make, behaviour: Any) -> None:
    llm.script.append(behaviour)
    said, logged = await fault(await make(), AgentUnavailable)
    assert "".join(said) == "one two"
    assert logged["error"] in ("APIConnectionError", "BrokenOff")
    assert len(llm.requests) == 1


GOOD = 'data: {"choices": [{"delta": {"content": "one"}}]}'


@pytest.mark.parametrize(
    "line",
    [
        "data: {not json",
        "data: [1, 2]",
        'data: {"choices": 5}',
        'data: {"choices": [{}]}',
        'data: {"choices": [{"delta": null}]}',
        'data: {"choices": [], "usage": {"total_tokens": "many"}}',
        'data: {"choices": [], "usage": 5}',
        'data: {"error": {"message": "overloaded", "code": 503}}',
        'data: {"error": "overloaded"}',
        "data: \xff\x00",
    ],
)
async def test_nonsense_is_a_fault_of_the_endpoint(llm: OpenAIServer, make: Make, line: str) -> None:
    llm.script.append(sends(GOOD, line))
    said, _ = await fault(await make(), AgentUnavailable)
    assert said == ["one"]


@pytest.mark.parametrize("pieces", [(), ("one",)])
async def test_who_talks_nonsense_is_hung_up_on(llm: OpenAIServer, make: Make, pieces: tuple[str, ...]) -> None:
    llm.script.append(stalls(*pieces, raw='data: {"choices": 5}'))
    await fault(await make(), AgentUnavailable)
    await asyncio.wait_for(llm.gone.wait(), 5)


@pytest.mark.parametrize("behaviour", [says(), says("  ", "\n"), says("", finish="content_filter")])
async def test_an_empty_answer_is_a_fault(llm: OpenAIServer, make: Make, behaviour: Any) -> None:
    llm.script.append(behaviour)
    _, logged = await fault(await make(), AgentUnavailable)
    assert logged["error"] == "EmptyReply"
    assert len(llm.requests) == 1


async def test_a_refusal_is_an_answer(llm: OpenAIServer, make: Make) -> None:
    refusal = {"choices": [{"delta": {"refusal": "I would rather not."}, "finish_reason": "stop"}]}
    llm.script.append(sends(f"data: {json.dumps(refusal)}", "data: [DONE]"))
    assert (await ask(await make()))[0] == ["I would rather not."]


# -- slow endpoints


@pytest.mark.parametrize("behaviour", [silent, stalls()])
async def test_the_first_word_is_not_awaited_for_ever(llm: OpenAIServer, make: Make, behaviour: Any) -> None:
    llm.script.append(behaviour)
    said, logged = await fault(await make(first_token_timeout=0.1), HandlerTimeout)
    assert (said, logged["waited_for"]) == ([], "first piece")
    await asyncio.wait_for(llm.gone.wait(), 5)
    assert len(llm.requests) == 1


async def test_nor_is_the_next(llm: OpenAIServer, make: Make) -> None:
    llm.script.append(stalls("one"))
    said, logged = await fault(await make(token_timeout=0.1), HandlerTimeout)
    assert (said, logged["waited_for"]) == (["one"], "next piece")
    await asyncio.wait_for(llm.gone.wait(), 5)


async def test_a_whole_answer_stands_though_its_cost_never_comes(llm: OpenAIServer, make: Make) -> None:
    llm.script.append(stalls("whole", finish="stop"))
    said, verdict = await ask(await make(token_timeout=0.1))
    assert said == ["whole"]
    assert verdict.tokens_used is not None


# -- nobody wants the rest


async def test_closing_the_answer_hangs_up(llm: OpenAIServer, make: Make) -> None:
    llm.script.append(stalls("one"))
    async with aclosing((await make()).answer(Question("s1", "alice", "Hi?"))) as parts:
        assert await anext(parts) == "one"
    await asyncio.wait_for(llm.gone.wait(), 5)


@pytest.mark.parametrize("behaviour", [silent, stalls(), stalls("one")])
async def test_cancelling_hangs_up(llm: OpenAIServer, make: Make, behaviour: Any) -> None:
    llm.script.append(behaviour)
    backend = await make()
    asking = asyncio.create_task(ask(backend))
    await llm.stalled.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(llm.gone.wait(), 5)
    assert (await ask(backend))[0] == ["Hello."]  # and its client is as good as new


async def test_many_at_once(llm: OpenAIServer, make: Make) -> None:
    backend = await make()
    answers = await asyncio.gather(*(ask(backend) for _ in range(50)))
    assert answers == [(["Hello."], Verdict(tokens_used=42))] * 50
