"""Talking to an endpoint that speaks OpenAI's chat completions: its client, what is tried again and when, and what is
told and logged of its failures. What is asked of it, and what a reply is worth, is for who asks to say.

The `openai` package is imported only here and only when needed: it takes a second and 50 MB.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import math
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from server.errors import AgentUnavailable, ConfigError, HandlerTimeout

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

log = structlog.get_logger(__name__)

T = TypeVar("T")

BACKOFF_SECONDS = 0.5  # before the first retry; twice as long before each further one
MAX_BACKOFF_SECONDS = 8.0

_CODE = re.compile(r"[\w.-]{1,60}")


class BrokenOff(Exception):
    """The endpoint ended a reply without saying that it is whole."""


class EmptyReply(Exception):
    """The endpoint ended a reply with nothing in it."""


@dataclass(frozen=True, slots=True)
class Options:
    """`connect_timeout` is in seconds."""

    model: str
    api_key: str = ""
    base_url: str | None = None
    connect_timeout: float = 5.0
    retries: int = 2


class Endpoint:
    def __init__(
        self,
        options: Options,
        *,
        whose: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Takes about a second; not for a running loop. `whose` it is stands in logs and errors; `now` in seconds since
        1970. Raises ConfigError."""
        if not options.model:
            raise ConfigError(f"the {whose} needs OPENAI_MODEL")
        if not options.api_key and not options.base_url:
            raise ConfigError(f"the {whose} needs OPENAI_API_KEY, or the URL of an endpoint that asks for none")
        self._options = options
        self._whose = whose
        self._sleep = sleep
        self._now = now
        self._client = _client(options, whose)

    async def close(self) -> None:
        await self._client.close()

    async def stream(self, **request: Any) -> AsyncStream[ChatCompletionChunk]:
        """Asks once. `request` are OpenAI's fields, `model` excepted. Raises whatever a broken endpoint causes."""
        stream: AsyncStream[ChatCompletionChunk] = await self._client.chat.completions.create(
            model=self._options.model, stream=True, **request
        )
        return stream

    async def persist(self, attempt: Callable[[], Awaitable[T]], *, seconds: float) -> T:
        """What `attempt` returns, tried again while that may help: a retry begins within `seconds` or not at all.

        Raises AgentUnavailable; a TimeoutError of the attempt's own is not tried again and goes through.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        attempts = 0
        while True:
            attempts += 1
            try:
                return await attempt()
            except TimeoutError:
                raise
            except Exception as error:
                delay = _delay(error, attempts, self._now())
                if delay is None or attempts > self._options.retries or loop.time() + delay > until:
                    raise self.unavailable(error, attempts=attempts) from None
            await self._sleep(delay)

    def late(self, waited_for: str) -> HandlerTimeout:
        log.warning("endpoint is silent", whose=self._whose, model=self._options.model, waited_for=waited_for)
        return HandlerTimeout(f"The {self._whose} took too long")

    def unavailable(self, error: Exception, **fields: object) -> AgentUnavailable:
        """Its words stay out of the log: endpoints like to repeat the key and the conversation."""
        code = str(getattr(error, "code", None) or "")
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        log.warning(
            "endpoint failed",
            whose=self._whose,
            model=self._options.model,
            error=type(error).__name__,
            cause=type(cause).__name__,
            status=getattr(error, "status_code", None),
            code=code if _CODE.fullmatch(code) and code != self._options.api_key else None,
            **fields,
        )
        return AgentUnavailable(f"The {self._whose} cannot answer now")


def _delay(error: Exception, attempts: int, now: float) -> float | None:
    """Seconds until it is worth trying again; None if it is not."""
    import openai

    backoff: float = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2 ** (attempts - 1))
    jittered = backoff * random.uniform(0.75, 1)  # noqa: S311 - it spreads load
    if isinstance(error, openai.APIStatusError):
        if error.code == "insufficient_quota" or not (error.status_code == 429 or error.status_code >= 500):
            return None
        asked = _retry_after(error.response.headers, now)
        if asked is None:
            return jittered
        return asked if math.isfinite(asked) else None
    return jittered if isinstance(error, openai.APIConnectionError | BrokenOff | EmptyReply) else None


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds, from a number or a date."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
        except ValueError:
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)


def _client(options: Options, whose: str) -> AsyncOpenAI:
    try:
        import httpx2
        import openai
    except ImportError:
        raise ConfigError(f"the {whose} needs the extra llm: pip install 'atrium[llm]'") from None
    for name in ("openai", "httpx2"):  # they log whole conversations, and each request
        logging.getLogger(name).setLevel(logging.WARNING)
    return openai.AsyncOpenAI(
        api_key=options.api_key or "none",
        base_url=options.base_url,
        max_retries=0,  # `persist` knows better what may be tried again, and for how long
        timeout=httpx2.Timeout(None, connect=options.connect_timeout),
        http_client=openai.DefaultAioHttpClient(),
    )
