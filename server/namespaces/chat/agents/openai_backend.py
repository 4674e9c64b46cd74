"""The backend for language models: any endpoint that speaks OpenAI's chat completions.

The `openai` package is imported only when an agent needs it: it takes 0.7 s and 30 MB.
"""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import logging
import random
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from marshmallow import Schema, ValidationError, fields, post_load, validate

from server.errors import AgentUnavailable, ConfigError, HandlerTimeout
from server.namespaces.chat.agents import context, knowledge, markers
from server.namespaces.chat.agents.backend import (
    CONTINUE,
    HANDOVER,
    Question,
    Turn,
    Verdict,
)
from server.namespaces.chat.agents.lookup import Found, Lookup
from server.namespaces.chat.agents.ranking import is_korean

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

log = structlog.get_logger(__name__)

PROMPT = """\
You answer customers of this service in a support chat, briefly and politely, in the language they write in. \
If you do not know, say so; make nothing up."""
DOCUMENTS = "What there is to know about the service; rest your answer on it:"
CONNECTING_KOREAN = "상담원에게 연결해 드리겠습니다. 잠시만 기다려 주세요."
CONNECTING = "I am connecting you with a person; please wait a moment."

BACKOFF_SECONDS = 0.5  # before the first retry; twice as long before each further one
MAX_BACKOFF_SECONDS = 8.0

_KEY = re.compile(r"[!-~]{0,500}")
_CODE = re.compile(r"[\w.-]{1,60}")
_OURS = frozenset({"model", "messages", "stream", "stream_options", "n"})


@dataclass(frozen=True, slots=True)
class Options:
    """An agent's options in `agents.toml`; `api_key` comes from the environment. Durations are in seconds."""

    model: str
    api_key: str = ""
    base_url: str | None = None
    system_prompt: str = PROMPT
    knowledge: str | None = None  # a folder: what it has on a question goes with it
    budget: int = 4_000  # tokens of a prompt, by `context.tokens`
    connect_timeout: float = 5.0
    first_token_timeout: float = 30.0  # with all retries
    token_timeout: float = 20.0
    retries: int = 2
    usage: bool = True  # ask the endpoint what an answer cost; a few do not know that field
    parameters: Mapping[str, object] | None = None  # further fields of a request, as the endpoint names them


class _Options(Schema):
    model = fields.String(required=True, validate=validate.Length(min=1, max=200))
    api_key = fields.String(validate=validate.Regexp(_KEY.pattern + r"\Z", error="Not a key."))
    base_url = fields.Url(schemes={"http", "https"}, require_tld=False)
    system_prompt = fields.String(validate=validate.Length(min=1))
    knowledge = fields.String(validate=validate.Length(min=1))
    budget = fields.Integer(strict=True, validate=validate.Range(min=200, max=1_000_000))
    connect_timeout = fields.Float(validate=validate.Range(min=0, min_inclusive=False, max=60))
    first_token_timeout = fields.Float(validate=validate.Range(min=0, min_inclusive=False, max=600))
    token_timeout = fields.Float(validate=validate.Range(min=0, min_inclusive=False, max=600))
    retries = fields.Integer(strict=True, validate=validate.Range(min=0, max=10))
    usage = fields.Boolean()
    parameters = fields.Dict(keys=fields.String(validate=validate.NoneOf(_OURS)))

    @post_load
    def _made(self, data: dict[str, Any], **_: object) -> Options:
        return Options(**data)


def build(config: Path, options: Mapping[str, object]) -> OpenAI:
    """Takes about a second; not for a running loop. Raises ConfigError."""
    try:
        known: Options = _Options().load(options)
    except ValidationError as error:
        raise ConfigError(f"the openai backend's options: {error.normalized_messages()}") from None
    if not known.api_key and known.base_url is None:
        raise ConfigError("the openai backend needs OPENAI_API_KEY, or a base_url that asks for none")
    entries = knowledge.load(config / known.knowledge) if known.knowledge else []
    backend = OpenAI(known, entries)
    if context.tokens(backend.instructions) > known.budget // 2:
        raise ConfigError(f"the openai backend's budget of {known.budget} tokens is too small for its system prompt")
    return backend


class OpenAI:
    def __init__(
        self,
        options: Options,
        entries: Sequence[knowledge.Entry] = (),
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` in seconds since 1970. Raises ConfigError."""
        self.instructions = f"{options.system_prompt}\n\n{markers.INSTRUCTIONS}"
        self.options = options
        self._lookup = Lookup(entries)
        self._sleep = sleep
        self._now = now
        self._client = _client(options)

    async def close(self) -> None:
        await self._client.close()

    async def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
        messages, found = self._prompt(question)
        estimate = sum(context.tokens(each["content"]) for each in messages)
        marks = markers.Markers()
        empty = True
        reading, piece = await self._begin(messages)
        try:
            while piece:
                estimate += context.tokens(piece)
                if text := marks.feed(piece):
                    empty = False
                    yield text
                piece = await self._next(reading)
        finally:
            await reading.close()
        rest = marks.finish()
        if empty and not rest and marks.handover:
            rest = CONNECTING_KOREAN if is_korean(question.text) else CONNECTING
        if rest:
            yield rest
        elif empty:
            raise self._unavailable(EmptyAnswer())
        yield Verdict(
            marks.intent,
            HANDOVER if marks.handover else CONTINUE,
            tuple(each.to_wire() for each in found),
            reading.tokens or estimate,
        )

    def _prompt(self, question: Question) -> tuple[list[dict[str, str]], list[Found]]:
        """The messages, and the documents that are in them: these have a quarter of the budget."""
        system = self.instructions
        found: list[Found] = []
        left = self.options.budget // 4
        for each in self._lookup.find(question.text, question.history):
            document = f"\n\n## {each.entry.title}\n{each.entry.text}"
            left -= context.tokens(document)
            if left < 0:
                break
            system += document if found else f"\n\n{DOCUMENTS}{document}"
            found.append(each)
        turns = [*question.history, Turn("user", question.text)]
        kept = context.within(turns, self.options.budget - context.tokens(system))
        messages = [{"role": "user" if turn.role == "user" else "assistant", "content": turn.text} for turn in kept]
        return [{"role": "system", "content": system}, *messages], found

    async def _begin(self, messages: Sequence[Mapping[str, str]]) -> tuple[_Reading, str]:
        """The answer and its first piece. Only here is it tried again: afterwards the client has seen something."""
        try:
            async with asyncio.timeout(self.options.first_token_timeout) as limit:
                for attempt in itertools.count():
                    try:
                        return await self._attempt(messages)
                    except Exception as error:
                        delay = self._delay(error, attempt)
                        left = (limit.when() or 0) - asyncio.get_running_loop().time()
                        if delay is None or delay > left or attempt == self.options.retries:
                            raise self._unavailable(error, attempts=attempt + 1) from None
                    await self._sleep(delay)
        except TimeoutError:
            pass
        raise self._late("first piece")

    async def _attempt(self, messages: Sequence[Mapping[str, str]]) -> tuple[_Reading, str]:
        reading = _Reading(await self._client.chat.completions.create(**self._request(messages)))
        try:
            return reading, await reading.next()
        except BaseException:
            await reading.close()
            raise

    def _request(self, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        usage = {"stream_options": {"include_usage": True}} if self.options.usage else {}
        return {
            "model": self.options.model,
            "messages": messages,
            "stream": True,
            "extra_body": self.options.parameters,
            **usage,
        }

    async def _next(self, reading: _Reading) -> str:
        try:
            async with asyncio.timeout(self.options.token_timeout):
                return await reading.next()
        except TimeoutError:
            if reading.finished:  # what is late is only what it cost
                return ""
            raise self._late("next piece") from None
        except Exception as error:
            if reading.finished:
                return ""
            raise self._unavailable(error) from None

    def _delay(self, error: Exception, attempt: int) -> float | None:
        """Seconds until it is worth trying again; None if it is not."""
        import openai

        backoff = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2**attempt)
        jittered = backoff * random.uniform(0.75, 1)  # noqa: S311 - it spreads load
        if isinstance(error, openai.APIStatusError):
            if error.code == "insufficient_quota" or not (error.status_code == 429 or error.status_code >= 500):
                return None
            asked = _retry_after(error.response.headers, self._now())
            return jittered if asked is None else asked
        return jittered if isinstance(error, openai.APIConnectionError | BrokenOff) else None

    def _late(self, what: str) -> HandlerTimeout:
        log.warning("agent's endpoint is silent", model=self.options.model, waited_for=what)
        return HandlerTimeout("The agent took too long")

    def _unavailable(self, error: Exception, **fields: object) -> AgentUnavailable:
        """Its words stay out of the log: endpoints like to repeat the key and the conversation."""
        code = str(getattr(error, "code", None) or "")
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        log.warning(
            "agent's endpoint failed",
            model=self.options.model,
            error=type(error).__name__,
            cause=type(cause).__name__,
            status=getattr(error, "status_code", None),
            code=code if _CODE.fullmatch(code) and code != self.options.api_key else None,
            **fields,
        )
        return AgentUnavailable()


class BrokenOff(Exception):
    """The endpoint ended an answer without saying that it is whole."""


class EmptyAnswer(Exception):
    """The endpoint ended an answer without a word in it."""


class _Reading:
    """One answer as it comes in; `tokens` is what it cost, if the endpoint said."""

    def __init__(self, stream: AsyncStream[ChatCompletionChunk]) -> None:
        self.tokens: int | None = None
        self.finished = False
        self._stream = stream

    async def next(self) -> str:
        """The next piece that has text, empty at the end. Raises BrokenOff, and whatever a broken endpoint causes."""
        while (chunk := await anext(self._stream, None)) is not None:
            if chunk.usage is not None:
                self.tokens = int(chunk.usage.total_tokens)
            if chunk.choices:
                choice = chunk.choices[0]
                self.finished = self.finished or choice.finish_reason is not None
                if text := choice.delta.content or choice.delta.refusal:
                    return str(text)
        if not self.finished:
            raise BrokenOff
        return ""

    async def close(self) -> None:
        """Ends the request too, if it is not at its end."""
        await self._stream.close()


def _client(options: Options) -> AsyncOpenAI:
    try:
        import httpx2
        import openai
    except ImportError:
        raise ConfigError("the openai backend needs the extra llm: pip install 'atrium[llm]'") from None
    for name in ("openai", "httpx2"):  # they log whole conversations, and each request
        logging.getLogger(name).setLevel(logging.WARNING)
    return openai.AsyncOpenAI(
        api_key=options.api_key or "none",
        base_url=options.base_url,
        max_retries=0,  # `_begin` knows better what may be tried again, and for how long
        timeout=httpx2.Timeout(None, connect=options.connect_timeout),
        http_client=openai.DefaultAioHttpClient(),
    )


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
    return max(0.0, seconds) if seconds == seconds else None  # NaN is no time
