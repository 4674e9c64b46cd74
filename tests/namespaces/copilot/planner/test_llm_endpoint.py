from __future__ import annotations

import asyncio
import functools
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx2
import openai.resources.chat  # noqa: F401 - now, so that no test pays for it
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from server.errors import AgentUnavailable, ConfigError, HandlerTimeout
from server.namespaces.copilot.planner.llm_endpoint import MAX_CALLS, MAX_REPLY, Call, Endpoint, Options, Reply
from server.namespaces.copilot.planner.llm_tools import TOOLS
from tests.support.openai_server import Behaviour, OpenAIServer, calls, cut, ends, fails, says, sends, silent, stalls

KEY = "sk-not-for-anyones-eyes"
MESSAGES = [{"role": "user", "content": "비용?"}]

Complete = Callable[..., Awaitable[Reply]]


@pytest.fixture(autouse=True, scope="module")
def one_tls_context() -> Iterator[None]:
    """Reading the certificates takes 0.05 s, and these tests need none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx2, "create_ssl_context", functools.cache(httpx2.create_ssl_context))
        yield


@pytest_asyncio.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    server = OpenAIServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest_asyncio.fixture
async def complete(server: OpenAIServer, slept: list[float]) -> AsyncIterator[Complete]:
    made: list[Endpoint] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def complete(may_call: bool = True, seconds: float = 1e9, **options: Any) -> Reply:
        known = Options(**{"model": "gpt-test", "api_key": KEY, "base_url": server.url, **options})
        made.append(await asyncio.to_thread(lambda: Endpoint(known, sleep=sleep)))
        return await made[-1].complete(MESSAGES, TOOLS, may_call=may_call, seconds=seconds)

    yield complete
    for each in made:
        await each.close()


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_what_will_not_get_better_is_not_tried_again(
    server: OpenAIServer, complete: Complete, status: int
) -> None:
    server.script.append(fails(status, message=f"bad key {KEY}"))
    with capture_logs() as logs, pytest.raises(AgentUnavailable) as failed:
        await complete()
    assert len(server.requests) == 1
    assert KEY not in f"{failed.value}{logs}"
    assert logs[0]["status"] == status


async def test_an_empty_purse_is_not_tried_again(server: OpenAIServer, complete: Complete) -> None:
    server.script.append(fails(429, code="insufficient_quota"))
    with pytest.raises(AgentUnavailable):
        await complete()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "trouble",
    [fails(429), fails(500), fails(503), cut("Wha"), ends("What"), cut(), says(), says("", finish="content_filter")],
)
async def test_what_may_pass_is_tried_again_and_no_half_of_it_kept(
    server: OpenAIServer, complete: Complete, slept: list[float], trouble: Behaviour
) -> None:
    server.script.extend([trouble, says("Whole.")])
    assert await complete() == Reply("Whole.")
    assert len(slept) == 1
    assert 0.3 < slept[0] <= 0.5


async def test_a_call_that_breaks_off_is_no_call(server: OpenAIServer, complete: Complete) -> None:
    half = {"index": 0, "id": "x", "function": {"name": "request_api", "arguments": '{"dataset": "a"}'}}
    broken = sends(f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'tool_calls': [half]}}]})}")
    server.script.extend([broken, broken, broken])
    with pytest.raises(AgentUnavailable):
        await complete()
    assert len(server.requests) == 3


async def test_the_endpoint_says_how_long_to_wait_but_not_for_ever(
    server: OpenAIServer, complete: Complete, slept: list[float]
) -> None:
    server.script.extend([fails(429, Retry_After="3"), fails(429, Retry_After="nan"), says("Yes.")])
    assert (await complete()).text == "Yes."
    assert slept[0] == 3
    assert slept[1] <= 1
    server.script.extend([fails(429, Retry_After="3600")])
    with pytest.raises(AgentUnavailable):
        await complete(seconds=90)
    assert len(slept) == 2


@pytest.mark.parametrize("behaviour", [silent, stalls(), stalls("Wha")])
async def test_silence_is_a_timeout_and_ends_the_request(
    server: OpenAIServer, complete: Complete, behaviour: Behaviour
) -> None:
    server.script.append(behaviour)
    with pytest.raises(HandlerTimeout):
        await complete(silence=0.1)
    async with asyncio.timeout(5):
        await server.gone.wait()


async def test_silence_after_the_end_is_none(server: OpenAIServer, complete: Complete) -> None:
    server.script.append(stalls("All.", finish="stop"))
    assert await complete(silence=0.1) == Reply("All.")


async def test_being_cancelled_ends_the_request(server: OpenAIServer, complete: Complete) -> None:
    server.script.append(stalls("Wha"))
    task = asyncio.ensure_future(complete())
    await server.stalled.wait()
    task.cancel()
    async with asyncio.timeout(5):
        await server.gone.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_no_stream_at_all(server: OpenAIServer, complete: Complete) -> None:
    server.script.extend(
        [sends("data: {not json"), sends('data: {"choices": 7}'), sends("<html>", content_type="text/html")]
    )
    for _ in range(3):
        with pytest.raises(AgentUnavailable):
            await complete(retries=0)


async def test_a_reply_without_end_is_cut(server: OpenAIServer, complete: Complete) -> None:
    server.script.extend([says(*["x" * 1000] * 100), says("So far", finish="length")])
    assert await complete() == Reply("x" * MAX_REPLY, cut=True)
    assert await complete() == Reply("So far", cut=True)


@pytest.mark.parametrize("numbered", [True, False])
async def test_calls_come_in_pieces_and_several_at_once(
    server: OpenAIServer, complete: Complete, numbered: bool
) -> None:
    server.script.append(calls(("a", '{"x": 1}'), ("b", ""), ("c", "{"), text="Let me see.", numbered=numbered))
    assert await complete() == Reply("Let me see.", (Call("a", '{"x": 1}'), Call("b", ""), Call("c", "{")))


async def test_a_thousand_calls_are_not_kept(server: OpenAIServer, complete: Complete) -> None:
    server.script.append(calls(*[("a", "{}")] * 1000))
    assert len((await complete()).calls) == MAX_CALLS


async def test_what_is_sent(server: OpenAIServer, complete: Complete) -> None:
    await complete(may_call=False)
    request = server.requests[0]
    assert (request["model"], request["messages"], request["stream"]) == ("gpt-test", MESSAGES, True)
    assert request["tool_choice"] == "none"
    assert len(request["tools"]) == 3
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    await complete()
    assert server.requests[1]["tool_choice"] == "auto"


@pytest.mark.parametrize(("options", "missing"), [(Options("", "k"), "OPENAI_MODEL"), (Options("m"), "OPENAI_API_KEY")])
def test_options_that_lead_nowhere(options: Options, missing: str) -> None:
    with pytest.raises(ConfigError, match=missing):
        Endpoint(options)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=r"atrium\[llm\]"):
        Endpoint(Options("m", "k"))
