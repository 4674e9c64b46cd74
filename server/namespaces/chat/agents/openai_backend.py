"""The backend for language models: any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marshmallow import Schema, ValidationError, fields, post_load, validate

from server.errors import ConfigError
from server.llm.endpoint import BrokenOff, EmptyReply, Endpoint
from server.llm.endpoint import Options as EndpointOptions
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
    from openai import AsyncStream
    from openai.types.chat import ChatCompletionChunk

PROMPT = """\
You answer customers of this service in a support chat, briefly and politely, in the language they write in. \
If you do not know, say so; make nothing up."""
DOCUMENTS = "What there is to know about the service; rest your answer on it:"
CONNECTING_KOREAN = "상담원에게 연결해 드리겠습니다. 잠시만 기다려 주세요."
CONNECTING = "I am connecting you with a person; please wait a moment."

_KEY = re.compile(r"[!-~]{0,500}")
_OURS = frozenset({"model", "messages", "stream", "stream_options", "n"})


@dataclass(frozen=True, slots=True)
class Options(EndpointOptions):
    """An agent's options in `agents.toml`; `api_key` comes from the environment. Durations are in seconds."""

    system_prompt: str = PROMPT
    knowledge: str | None = None  # a folder: what it has on a question goes with it
    budget: int = 4_000  # tokens of a prompt, by `context.tokens`
    first_token_timeout: float = 30.0  # with all retries
    token_timeout: float = 20.0
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
    entries = knowledge.load(config / known.knowledge) if known.knowledge else []
    backend = OpenAI(Endpoint(known, whose="agent"), known, entries)
    if context.tokens(backend.instructions) > known.budget // 2:
        raise ConfigError(f"the openai backend's budget of {known.budget} tokens is too small for its system prompt")
    return backend


class OpenAI:
    def __init__(self, endpoint: Endpoint, options: Options, entries: Sequence[knowledge.Entry] = ()) -> None:
        """It closes the endpoint."""
        self.instructions = f"{options.system_prompt}\n\n{markers.INSTRUCTIONS}"
        self.options = options
        self._lookup = Lookup(entries)
        self._endpoint = endpoint

    async def close(self) -> None:
        await self._endpoint.close()

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
            raise self._endpoint.unavailable(EmptyReply())
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
        seconds = self.options.first_token_timeout
        try:
            async with asyncio.timeout(seconds):
                return await self._endpoint.persist(partial(self._attempt, messages), seconds=seconds)
        except TimeoutError:
            pass
        raise self._endpoint.late("first piece")

    async def _attempt(self, messages: Sequence[Mapping[str, str]]) -> tuple[_Reading, str]:
        usage = {"stream_options": {"include_usage": True}} if self.options.usage else {}
        reading = _Reading(await self._endpoint.stream(messages=messages, extra_body=self.options.parameters, **usage))
        try:
            return reading, await reading.next()
        except BaseException:
            await reading.close()
            raise

    async def _next(self, reading: _Reading) -> str:
        try:
            async with asyncio.timeout(self.options.token_timeout):
                return await reading.next()
        except TimeoutError:
            if reading.finished:  # what is late is only what it cost
                return ""
            raise self._endpoint.late("next piece") from None
        except Exception as error:
            if reading.finished:
                return ""
            raise self._endpoint.unavailable(error) from None


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
