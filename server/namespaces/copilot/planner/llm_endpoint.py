"""An endpoint of OpenAI's chat completions with tools: one reply at a time, whole; what is asked of it is `llm`'s.

The `openai` package is imported only here and only when needed: it takes a second and 50 MB.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from server.errors import AgentUnavailable, ConfigError, HandlerTimeout

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk
    from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall

log = structlog.get_logger(__name__)

MAX_REPLY = 16_000  # characters of its text and of its calls' arguments together
MAX_CALLS = 16  # in one reply; further ones are as if they had not been made
BACKOFF_SECONDS = 0.5  # before the first retry; twice as long before each further one
MAX_BACKOFF_SECONDS = 8.0

Message = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Options:
    """Durations are in seconds. `silence` is how long the endpoint may send nothing."""

    model: str
    api_key: str = ""
    base_url: str | None = None
    connect_timeout: float = 5.0
    silence: float = 30.0
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Call:
    """As the model wrote it: neither the name nor the arguments, which should be JSON, need be right."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    calls: tuple[Call, ...] = ()
    cut: bool = False  # there would have been more of it


class Endpoint:
    def __init__(
        self,
        options: Options,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes about a second; not for a running loop. `clock` is in seconds. Raises ConfigError."""
        if not options.model:
            raise ConfigError("the copilot's openai planner needs OPENAI_MODEL")
        if not options.api_key and not options.base_url:
            raise ConfigError("the copilot's openai planner needs OPENAI_API_KEY, or an OPENAI_BASE_URL without one")
        self._options = options
        self._sleep = sleep
        self._clock = clock
        self._client = _client(options)

    async def close(self) -> None:
        await self._client.close()

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[Message], *, may_call: bool, seconds: float = math.inf
    ) -> Reply:
        """A retry begins within `seconds` or not at all. Raises AgentUnavailable, HandlerTimeout."""
        request: dict[str, Any] = {
            "model": self._options.model,
            "messages": messages,
            "tools": tools,
            "tool_choice": "auto" if may_call else "none",
            "stream": True,
        }
        until = self._clock() + seconds
        attempt = 0
        while True:
            try:
                return await self._attempt(request)
            except TimeoutError:
                log.warning("planner's endpoint is silent", model=self._options.model)
                raise HandlerTimeout("The language model took too long") from None
            except Exception as error:
                delay = _delay(error, attempt)
                if delay is None or attempt == self._options.retries or self._clock() + delay > until:
                    raise self._unavailable(error, attempt + 1) from None
            await self._sleep(delay)
            attempt += 1

    async def _attempt(self, request: Mapping[str, Any]) -> Reply:
        async with asyncio.timeout(self._options.silence):
            stream: AsyncStream[ChatCompletionChunk] = await self._client.chat.completions.create(**request)
        parts = _Parts()
        try:
            while not parts.cut:
                async with asyncio.timeout(self._options.silence):
                    chunk = await anext(stream, None)
                if chunk is None:
                    break
                parts.add(chunk)
        except Exception:
            if not parts.finished:  # else all that was worth having is there
                raise
        finally:
            await stream.close()
        return parts.reply()

    def _unavailable(self, error: Exception, attempts: int) -> AgentUnavailable:
        """Its words stay out of the log: endpoints like to repeat the key and the conversation."""
        log.warning(
            "planner's endpoint failed",
            model=self._options.model,
            error=type(error).__name__,
            status=getattr(error, "status_code", None),
            attempts=attempts,
        )
        return AgentUnavailable("The language model cannot answer now")


class BrokenOff(Exception):
    """The reply ended without saying that it is whole."""


class EmptyReply(Exception):
    """The reply has neither a word nor a call."""


@dataclass(slots=True)
class _Call:
    index: int | None
    id: str | None
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class _Parts:
    """A reply as it comes in."""

    def __init__(self) -> None:
        self.finished = False
        self.cut = False
        self._size = 0
        self._text: list[str] = []
        self._calls: list[_Call] = []

    def add(self, chunk: ChatCompletionChunk) -> None:
        if not chunk.choices:
            return
        choice = chunk.choices[0]
        self.finished = self.finished or choice.finish_reason is not None
        self.cut = self.cut or choice.finish_reason == "length"
        if text := choice.delta.content or choice.delta.refusal:
            self._text.append(self._within(text))
        for piece in choice.delta.tool_calls or ():
            self._add_call(piece)

    def reply(self) -> Reply:
        """Raises BrokenOff, EmptyReply."""
        if not self.finished and not self.cut:
            raise BrokenOff
        text = "".join(self._text).strip()
        if not text and not self._calls:
            raise EmptyReply
        calls = tuple(Call(call.name, "".join(call.arguments)) for call in self._calls)
        return Reply(text, calls, self.cut)

    def _add_call(self, piece: ChoiceDeltaToolCall) -> None:
        function = piece.function
        arguments = self._within((function.arguments if function else None) or "")
        call = self._calls[-1] if self._calls else None
        # Some endpoints number all calls of a reply 0 and tell them apart only by their ids.
        if call is None or call.index != piece.index or (piece.id and call.id and piece.id != call.id):
            call = _Call(piece.index, piece.id)
            if len(self._calls) < MAX_CALLS:
                self._calls.append(call)
        call.name = call.name or (function.name if function else None) or ""
        call.arguments.append(arguments)

    def _within(self, text: str) -> str:
        kept = text[: MAX_REPLY - self._size]
        self._size += len(kept)
        self.cut = self.cut or len(kept) < len(text)
        return kept


def _delay(error: Exception, attempt: int) -> float | None:
    """Seconds until it is worth trying again; None if it is not."""
    import openai

    backoff: float = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2**attempt) * random.uniform(0.75, 1)  # noqa: S311
    if isinstance(error, openai.APIStatusError):
        if error.code == "insufficient_quota" or not (error.status_code == 429 or error.status_code >= 500):
            return None
        try:
            asked = float(error.response.headers.get("retry-after", ""))
        except ValueError:
            return backoff
        return max(0.0, asked) if math.isfinite(asked) else backoff
    return backoff if isinstance(error, openai.APIConnectionError | BrokenOff | EmptyReply) else None


def _client(options: Options) -> AsyncOpenAI:
    try:
        import httpx2
        import openai
    except ImportError:
        raise ConfigError("the copilot's openai planner needs the extra llm: pip install 'atrium[llm]'") from None
    for name in ("openai", "httpx2"):  # they log whole conversations, and each request
        logging.getLogger(name).setLevel(logging.WARNING)
    return openai.AsyncOpenAI(
        api_key=options.api_key or "none",
        base_url=options.base_url,
        max_retries=0,  # `complete` knows how long it may go on
        timeout=httpx2.Timeout(None, connect=options.connect_timeout),
        http_client=openai.DefaultAioHttpClient(),
    )
