from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx2
import openai.resources.chat  # noqa: F401 - now, so that no test pays for it
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from server.errors import AgentUnavailable, AtriumError, HandlerTimeout
from server.namespaces.chat.agents import openai_backend
from server.namespaces.chat.agents.backend import Question, Turn, Verdict
from server.namespaces.chat.agents.context import tokens
from server.namespaces.chat.agents.openai_backend import CONNECTING, CONNECTING_KOREAN, OpenAI, Options
from tests.support.openai_server import OpenAIServer, cut, ends, fails, says, sends, silent, stalls
from tests.support.ports import free_port

KEY = "sk-not-for-anyones-eyes"
NOW = 1_800_000_000.0

Make = Callable[..., Awaitable[OpenAI]]


@pytest.fixture(autouse=True, scope="module")
def one_tls_context() -> Iterator[None]:
    """Reading the certificates takes 0.05 s, and these tests need none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx2, "create_ssl_context", functools.cache(httpx2.create_ssl_context))
        yield


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[OpenAIServer]:
    server = OpenAIServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def slept() -> list[float]:
    """The backend's pauses, which take no time."""
    return []


@pytest_asyncio.fixture
async def make(endpoint: OpenAIServer, slept: list[float]) -> AsyncIterator[Make]:
    made: list[OpenAI] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def make(**options: Any) -> OpenAI:
        known = Options(**{"model": "gpt-test", "api_key": KEY, "base_url": endpoint.url, **options})
        backend = await asyncio.to_thread(lambda: OpenAI(known, sleep=sleep, now=lambda: NOW))
        made.append(backend)
        return backend

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


async def test_it_streams_what_comes(endpoint: OpenAIServer, make: Make) -> None:
    endpoint.script.append(says("안녕", "하세요", ". 😀", tokens=17))
    assert await ask(await make()) == (["안녕", "하세요", ". 😀"], Verdict(tokens_used=17))
    assert endpoint.headers[0]["Authorization"] == f"Bearer {KEY}"


async def test_the_request(endpoint: OpenAIServer, make: Make) -> None:
    history = (Turn("user", "one"), Turn("agent", "two"), Turn("operator", "three"))
    await ask(await make(system_prompt="Be kind.", parameters={"temperature": 0.2, "max_tokens": 9}), "four", history)
    system, *turns = endpoint.requests[0].pop("messages")
    assert endpoint.requests == [
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


async def test_history_and_question_keep_to_the_budget(endpoint: OpenAIServer, make: Make) -> None:
    history = tuple(Turn("user", f"{number}: " + "lorem ipsum " * 50) for number in range(20))
    await ask(await make(budget=1_000), "?" * 5, history)
    messages = endpoint.requests[0]["messages"]
    assert 900 < sum(tokens(each["content"]) for each in messages) <= 1_000
    assert messages[-1]["content"] == "?????"
    assert messages[-2]["content"].startswith("19: ")
    assert messages[1]["content"].startswith(("lorem", "ipsum"))  # the oldest is cut

    await ask(await make(budget=1_000), "대출 " * 20_000)
    messages = endpoint.requests[1]["messages"]
    assert [each["role"] for each in messages] == ["system", "user"]
    assert 500 < tokens(messages[1]["content"]) < 1_000


async def test_what_it_cost_is_estimated_where_the_endpoint_does_not_say(endpoint: OpenAIServer, make: Make) -> None:
    endpoint.script.append(says("four score", tokens=None))
    _, verdict = await ask(await make(usage=False))
    assert "stream_options" not in endpoint.requests[0]
    sent = sum(tokens(each["content"]) for each in endpoint.requests[0]["messages"])
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
    endpoint: OpenAIServer, make: Make, pieces: list[str], text: str, verdict: tuple[str | None, str]
) -> None:
    endpoint.script.append(says(*pieces))
    said, judged = await ask(await make())
    assert ("".join(said), (judged.intent, judged.suggested_action)) == (text, verdict)


async def test_a_handover_without_a_word_is_announced_in_the_customers_language(
    endpoint: OpenAIServer, make: Make
) -> None:
    endpoint.script.append(says("[[HANDOVER]]"))
    assert (await ask(await make(), "상담원 연결해줘"))[0] == [CONNECTING_KOREAN]


async def test_it_rests_on_documents(endpoint: OpenAIServer, tmp_path: Path) -> None:
    (tmp_path / "rates.md").write_text(
        "## What is the loan rate?\n3.5%\n## Lost card?\nCall us.\n## loan rate, all of it\n" + "x" * 9_000
    )
    options = {"model": "m", "base_url": endpoint.url, "knowledge": "."}
    backend = await asyncio.to_thread(openai_backend.build, tmp_path, options)
    _, verdict = await ask(backend, "loan rate?")
    system = endpoint.requests[0]["messages"][0]["content"]
    assert "## What is the loan rate?\n3.5%" in system
    assert "Lost card" not in system
    assert "xxx" not in system  # it has no room beside the conversation, so the answer does not rest on it either
    assert [each["title"] for each in verdict.source_documents] == ["What is the loan rate?"]
    await backend.close()


# -- what is tried again, and what is not


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
async def test_a_busy_endpoint_is_asked_again(
    endpoint: OpenAIServer, make: Make, slept: list[float], status: int
) -> None:
    endpoint.script.extend([fails(status), fails(status)])
    assert (await ask(await make(retries=2)))[0] == ["Hello."]
    assert len(endpoint.requests) == 3
    assert 0.375 <= slept[0] <= 0.5
    assert 0.75 <= slept[1] <= 1.0


@pytest.mark.parametrize(
    ("value", "pause"),
    [("7", 7.0), ("0", 0.0), ("-3", 0.0), (formatdate(NOW + 9, usegmt=True), 9.0), (formatdate(NOW - 9), 0.0)],
)
async def test_it_waits_as_long_as_it_is_told(
    endpoint: OpenAIServer, make: Make, slept: list[float], value: str, pause: float
) -> None:
    endpoint.script.append(fails(429, Retry_After=value))
    assert (await ask(await make()))[0] == ["Hello."]
    assert slept == [pause]


@pytest.mark.parametrize("value", ["soon", "", "nan"])
async def test_it_waits_by_its_own_rule_where_it_is_told_nonsense(
    endpoint: OpenAIServer, make: Make, slept: list[float], value: str
) -> None:
    endpoint.script.append(fails(503, Retry_After=value))
    assert (await ask(await make()))[0] == ["Hello."]
    assert 0.375 <= slept[0] <= 0.5


@pytest.mark.parametrize("value", ["3600", "inf", "1e999"])
async def test_it_does_not_wait_longer_than_its_customer_would(
    endpoint: OpenAIServer, make: Make, slept: list[float], value: str
) -> None:
    endpoint.script.append(fails(429, Retry_After=value))
    _, logged = await fault(await make(), AgentUnavailable)
    assert (slept, logged["status"], logged["attempts"]) == ([], 429, 1)


async def test_it_gives_up(endpoint: OpenAIServer, make: Make) -> None:
    endpoint.script.extend([fails(500)] * 3)
    _, logged = await fault(await make(retries=2), AgentUnavailable)
    assert (logged["error"], logged["status"], logged["attempts"]) == ("InternalServerError", 500, 3)
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize(
    ("status", "code"), [(400, "context_length_exceeded"), (401, None), (404, "no"), (429, "insufficient_quota")]
)
async def test_what_will_not_change_is_not_asked_again(
    endpoint: OpenAIServer, make: Make, status: int, code: str | None
) -> None:
    endpoint.script.append(fails(status, code=code, message=f"Incorrect API key provided: {KEY}"))
    _, logged = await fault(await make(), AgentUnavailable)
    assert (logged["status"], logged["code"]) == (status, code)
    assert len(endpoint.requests) == 1


async def test_the_key_is_not_even_logged_as_a_code(endpoint: OpenAIServer, make: Make) -> None:
    endpoint.script.append(fails(400, code=KEY))
    _, logged = await fault(await make(), AgentUnavailable)
    assert logged["code"] is None


async def test_nothing_is_logged_of_what_is_said(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await ask(await make(), "My password is hunter2")
    assert not [word for word in ("hunter2", "Hello.", KEY, "HTTP Request") if word in caplog.text]


async def test_an_endpoint_that_is_down_and_comes_up(make: Make) -> None:
    late = OpenAIServer()
    port = free_port()

    async def start(_: float) -> None:
        await late.start(port)

    backend = await make(base_url=f"http://127.0.0.1:{port}/v1", api_key="")
    backend._sleep = start
    assert (await ask(backend))[0] == ["Hello."]
    await late.stop()


async def test_an_endpoint_that_is_down(make: Make, slept: list[float]) -> None:
    backend = await make(base_url=f"http://127.0.0.1:{free_port()}/v1", retries=1)
    _, logged = await fault(backend, AgentUnavailable)
    assert (logged["cause"], logged["attempts"], len(slept)) == ("ConnectionRefusedError", 2, 1)


@pytest.mark.parametrize("behaviour", [cut(), ends(), sends("<h1>Hi</h1>", content_type="text/html"), sends("")])
async def test_what_breaks_before_the_first_word_is_tried_again(
    endpoint: OpenAIServer, make: Make, behaviour: Any
) -> None:
    endpoint.script.append(behaviour)
    assert (await ask(await make()))[0] == ["Hello."]


@pytest.mark.parametrize("behaviour", [cut("one ", "two"), ends("one ", "two")])
async def test_what_breaks_after_it_is_not(endpoint: OpenAIServer, make: Make, behaviour: Any) -> None:
    endpoint.script.append(behaviour)
    said, logged = await fault(await make(), AgentUnavailable)
    assert "".join(said) == "one two"
    assert logged["error"] in ("APIConnectionError", "BrokenOff")
    assert len(endpoint.requests) == 1


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
async def test_nonsense_is_a_fault_of_the_endpoint(endpoint: OpenAIServer, make: Make, line: str) -> None:
    endpoint.script.append(sends(GOOD, line))
    said, _ = await fault(await make(), AgentUnavailable)
    assert said == ["one"]


@pytest.mark.parametrize("pieces", [(), ("one",)])
async def test_who_talks_nonsense_is_hung_up_on(endpoint: OpenAIServer, make: Make, pieces: tuple[str, ...]) -> None:
    endpoint.script.append(stalls(*pieces, raw='data: {"choices": 5}'))
    await fault(await make(), AgentUnavailable)
    await asyncio.wait_for(endpoint.gone.wait(), 5)


@pytest.mark.parametrize("behaviour", [says(), says("  ", "\n"), says("", finish="content_filter")])
async def test_an_empty_answer_is_a_fault(endpoint: OpenAIServer, make: Make, behaviour: Any) -> None:
    endpoint.script.append(behaviour)
    _, logged = await fault(await make(), AgentUnavailable)
    assert logged["error"] == "EmptyAnswer"
    assert len(endpoint.requests) == 1


async def test_a_refusal_is_an_answer(endpoint: OpenAIServer, make: Make) -> None:
    refusal = {"choices": [{"delta": {"refusal": "I would rather not."}, "finish_reason": "stop"}]}
    endpoint.script.append(sends(f"data: {json.dumps(refusal)}", "data: [DONE]"))
    assert (await ask(await make()))[0] == ["I would rather not."]


# -- slow endpoints


@pytest.mark.parametrize("behaviour", [silent, stalls()])
async def test_the_first_word_is_not_awaited_for_ever(endpoint: OpenAIServer, make: Make, behaviour: Any) -> None:
    endpoint.script.append(behaviour)
    said, logged = await fault(await make(first_token_timeout=0.1), HandlerTimeout)
    assert (said, logged["waited_for"]) == ([], "first piece")
    await asyncio.wait_for(endpoint.gone.wait(), 5)
    assert len(endpoint.requests) == 1


async def test_nor_is_the_next(endpoint: OpenAIServer, make: Make) -> None:
    endpoint.script.append(stalls("one"))
    said, logged = await fault(await make(token_timeout=0.1), HandlerTimeout)
    assert (said, logged["waited_for"]) == (["one"], "next piece")
    await asyncio.wait_for(endpoint.gone.wait(), 5)


async def test_a_whole_answer_stands_though_its_cost_never_comes(endpoint: OpenAIServer, make: Make) -> None:
    endpoint.script.append(stalls("whole", finish="stop"))
    said, verdict = await ask(await make(token_timeout=0.1))
    assert said == ["whole"]
    assert verdict.tokens_used is not None


# -- nobody wants the rest


async def test_closing_the_answer_hangs_up(endpoint: OpenAIServer, make: Make) -> None:
    endpoint.script.append(stalls("one"))
    async with aclosing((await make()).answer(Question("s1", "alice", "Hi?"))) as parts:
        assert await anext(parts) == "one"
    await asyncio.wait_for(endpoint.gone.wait(), 5)


@pytest.mark.parametrize("behaviour", [silent, stalls(), stalls("one")])
async def test_cancelling_hangs_up(endpoint: OpenAIServer, make: Make, behaviour: Any) -> None:
    endpoint.script.append(behaviour)
    backend = await make()
    asking = asyncio.create_task(ask(backend))
    await endpoint.stalled.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(endpoint.gone.wait(), 5)
    assert (await ask(backend))[0] == ["Hello."]  # and its client is as good as new


async def test_many_at_once(endpoint: OpenAIServer, make: Make) -> None:
    backend = await make()
    answers = await asyncio.gather(*(ask(backend) for _ in range(50)))
    assert answers == [(["Hello."], Verdict(tokens_used=42))] * 50
