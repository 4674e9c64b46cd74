"""A language model's replies as they come in: whole or not at all, and bounded; what they are to say is `llm`'s."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from server.llm.endpoint import BrokenOff, EmptyReply, Endpoint

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk
    from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall

MAX_REPLY = 16_000  # characters of its text and of its calls' arguments together
MAX_CALLS = 16  # in one reply; further ones are as if they had not been made
SILENCE_SECONDS = 30.0  # for which the endpoint may send nothing

Message = Mapping[str, object]


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


async def complete(
    endpoint: Endpoint,
    messages: Sequence[Message],
    tools: Sequence[Message],
    *,
    may_call: bool,
    seconds: float,
    silence: float = SILENCE_SECONDS,
) -> Reply:
    """A retry begins within `seconds` or not at all. Raises AgentUnavailable, HandlerTimeout."""
    request = {"messages": messages, "tools": tools, "tool_choice": "auto" if may_call else "none"}
    try:
        return await endpoint.persist(partial(_attempt, endpoint, request, silence), seconds=seconds)
    except TimeoutError:
        raise endpoint.late("reply") from None


async def _attempt(endpoint: Endpoint, request: Mapping[str, Any], silence: float) -> Reply:
    async with asyncio.timeout(silence):
        stream = await endpoint.stream(**request)
    parts = _Parts()
    try:
        while not parts.cut:
            async with asyncio.timeout(silence):
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
