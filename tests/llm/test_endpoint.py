from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from server.errors import AgentUnavailable, ConfigError
from server.llm.endpoint import BrokenOff, EmptyReply, Endpoint, Options
from tests.support.openai_server import Behaviour, OpenAIServer, cut, ends, fails, says, sends
from tests.support.ports import free_port

KEY = "sk-not-for-anyones-eyes"
NOW = 1_800_000_000.0

Make = Callable[..., Awaitable[Endpoint]]


@pytest.fixture
def slept() -> list[float]:
    """The endpoint's pauses, which take no time."""
    return []


@pytest_asyncio.fixture
async def make(llm: OpenAIServer, slept: list[float]) -> AsyncIterator[Make]:
    made: list[Endpoint] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def make(sleep: Callable[[float], Awaitable[None]] = sleep, **options: Any) -> Endpoint:
        known = Options(**{"model": "gpt-test", "api_key": KEY, "base_url": llm.url, **options})
        made.append(await asyncio.to_thread(lambda: Endpoint(known, whose="agent", sleep=sleep, now=lambda: NOW)))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def ask(endpoint: Endpoint, text: str = "Hi?", seconds: float = 30) -> str:
    async def attempt() -> str:
        stream = await endpoint.stream(messages=[{"role": "user", "content": text}])
        chunks = [chunk async for chunk in stream]
        if not any(choice.finish_reason for chunk in chunks for choice in chunk.choices):
            raise BrokenOff
        said = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        if not said:
            raise EmptyReply
        return said

    return await endpoint.persist(attempt, seconds=seconds)


async def fault(endpoint: Endpoint) -> dict[str, Any]:
    """What was logged of it."""
    with capture_logs() as logs, pytest.raises(AgentUnavailable) as raised:
        await ask(endpoint)
    assert KEY not in repr((logs, raised.value, raised.value.to_wire()))
    return dict(logs[-1])


async def test_what_is_sent(llm: OpenAIServer, make: Make) -> None:
    assert await ask(await make()) == "Hello."
    assert llm.requests == [
        {"model": "gpt-test", "stream": True, "messages": [{"role": "user", "content": "Hi?"}]},
    ]
    assert llm.headers[0]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
async def test_a_busy_endpoint_is_asked_again(llm: OpenAIServer, make: Make, slept: list[float], status: int) -> None:
    llm.script.extend([fails(status), fails(status)])
    assert await ask(await make(retries=2)) == "Hello."
    assert len(llm.requests) == 3
    assert 0.375 <= slept[0] <= 0.5
    assert 0.75 <= slept[1] <= 1.0


@pytest.mark.parametrize("behaviour", [cut("Hel"), ends("Hel"), says(), sends("<h1>Hi</h1>", content_type="text/html")])
async def test_half_a_reply_is_asked_for_again(llm: OpenAIServer, make: Make, behaviour: Behaviour) -> None:
    llm.script.append(behaviour)
    assert await ask(await make()) == "Hello."


@pytest.mark.parametrize(
    ("value", "pause"),
    [("7", 7.0), ("0", 0.0), ("-3", 0.0), (formatdate(NOW + 9, usegmt=True), 9.0), (formatdate(NOW - 9), 0.0)],
)
async def test_it_waits_as_long_as_it_is_told(
    llm: OpenAIServer, make: Make, slept: list[float], value: str, pause: float
) -> None:
    llm.script.append(fails(429, Retry_After=value))
    assert await ask(await make()) == "Hello."
    assert slept == [pause]


@pytest.mark.parametrize("value", ["soon", "", "nan"])
async def test_it_waits_by_its_own_rule_where_it_is_told_nonsense(
    llm: OpenAIServer, make: Make, slept: list[float], value: str
) -> None:
    llm.script.append(fails(503, Retry_After=value))
    assert await ask(await make()) == "Hello."
    assert 0.375 <= slept[0] <= 0.5


@pytest.mark.parametrize("value", ["3600", "inf", "1e999"])
async def test_it_does_not_wait_longer_than_who_asks_would(
    llm: OpenAIServer, make: Make, slept: list[float], value: str
) -> None:
    llm.script.append(fails(429, Retry_After=value))
    logged = await fault(await make())
    assert (slept, logged["status"], logged["attempts"]) == ([], 429, 1)


async def test_it_never_waits_for_ever(llm: OpenAIServer, make: Make) -> None:
    llm.script.append(fails(429, Retry_After="inf"))
    with pytest.raises(AgentUnavailable):
        await ask(await make(), seconds=float("inf"))


async def test_it_gives_up(llm: OpenAIServer, make: Make) -> None:
    llm.script.extend([fails(500)] * 3)
    logged = await fault(await make(retries=2))
    assert (logged["error"], logged["status"], logged["attempts"]) == ("InternalServerError", 500, 3)
    assert len(llm.requests) == 3


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "context_length_exceeded"), (401, None), (404, "no"), (422, None), (429, "insufficient_quota")],
)
async def test_what_will_not_change_is_not_asked_again(
    llm: OpenAIServer, make: Make, status: int, code: str | None
) -> None:
    llm.script.append(fails(status, code=code, message=f"Incorrect API key provided: {KEY}"))
    logged = await fault(await make())
    assert (logged["whose"], logged["status"], logged["code"]) == ("agent", status, code)
    assert len(llm.requests) == 1


async def test_the_key_is_not_even_logged_as_a_code(llm: OpenAIServer, make: Make) -> None:
    llm.script.append(fails(400, code=KEY))
    assert (await fault(await make()))["code"] is None


async def test_nothing_is_logged_of_what_is_said(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await ask(await make(), "My password is hunter2")
    assert not [word for word in ("hunter2", "Hello.", KEY, "HTTP Request") if word in caplog.text]


async def test_an_endpoint_that_is_down_and_comes_up(make: Make) -> None:
    late = OpenAIServer()
    port = free_port()

    async def start(_: float) -> None:
        await late.start(port)

    assert await ask(await make(start, base_url=f"http://127.0.0.1:{port}/v1", api_key="")) == "Hello."
    await late.stop()


async def test_an_endpoint_that_is_down(make: Make, slept: list[float]) -> None:
    logged = await fault(await make(base_url=f"http://127.0.0.1:{free_port()}/v1", retries=1))
    assert (logged["cause"], logged["attempts"], len(slept)) == ("ConnectionRefusedError", 2, 1)


async def test_lateness_is_for_who_asks(make: Make) -> None:
    async def attempt() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await (await make()).persist(attempt, seconds=30)


@pytest.mark.parametrize(("options", "missing"), [(Options("", "k"), "OPENAI_MODEL"), (Options("m"), "OPENAI_API_KEY")])
def test_options_that_lead_nowhere(options: Options, missing: str) -> None:
    with pytest.raises(ConfigError, match=missing):
        Endpoint(options, whose="agent")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=r"extra llm.*atrium\[llm\]"):
        Endpoint(Options("m", "k"), whose="agent")


def test_who_does_not_need_it_does_not_load_it() -> None:
    code = "import sys; import server.app; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
