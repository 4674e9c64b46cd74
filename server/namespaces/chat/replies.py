"""An agent's answers on their way: one at a time in a session, in chunks at a reading pace, stored when whole.

What the answer is, is the backend's; who may ask, the service's.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import structlog

from server.errors import AtriumError, HandlerTimeout, InternalError
from server.namespaces.chat.agents.backend import Backend, Question, Verdict
from server.namespaces.chat.models import Draft
from server.namespaces.chat.transcript import Transcript, new_message_id
from server.realtime.delivery import Delivery
from server.timestamps import iso_utc

log = structlog.get_logger(__name__)

MAX_WAITING = 16  # questions in a session; beyond, the oldest stay without an answer
MAX_ANSWER_CHARS = 65_536
PATIENCE_SECONDS = 60.0  # for a backend's next piece


@dataclass(frozen=True, slots=True)
class Asked:
    agent_id: int
    backend: Backend
    question: Question
    room: str


@dataclass(frozen=True, slots=True)
class Pace:
    """Chunks of `chunk` characters, one every `delay` seconds."""

    chunk: int = 10
    delay: float = 0.05


class Replies:
    def __init__(
        self,
        delivery: Delivery,
        transcript: Transcript,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        *,
        pace: Pace,
        patience: float = PATIENCE_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._delivery = delivery
        self._transcript = transcript
        self._spawn = spawn
        self._pace = pace
        self._patience = patience
        self._sleep = sleep
        self._clock = clock
        self._waiting: dict[str, deque[Asked]] = {}

    def __len__(self) -> int:
        """The sessions that are being answered."""
        return len(self._waiting)

    def ask(self, asked: Asked) -> None:
        """Answers it after what was asked before in the session."""
        session_id = asked.question.session_id
        waiting = self._waiting.get(session_id)
        if waiting is not None:
            if len(waiting) == MAX_WAITING:
                log.warning("question dropped", session=session_id, waiting=MAX_WAITING)
            waiting.append(asked)
            return
        self._spawn(self._work(session_id), "agent")
        self._waiting[session_id] = deque([asked], maxlen=MAX_WAITING)

    async def _work(self, session_id: str) -> None:
        waiting = self._waiting[session_id]
        try:
            while waiting:
                await self._answer(waiting.popleft())
        finally:
            del self._waiting[session_id]

    async def _answer(self, asked: Asked) -> None:
        started = self._clock()
        session_id, message_id = asked.question.session_id, new_message_id()
        stream: dict[str, object] = {"message_id": message_id, "session_id": session_id}
        sender = {"sender_type": "agent", "sender_id": str(asked.agent_id)}
        await self._delivery.emit("stream_start", stream | sender, room=asked.room)
        try:
            text, verdict = await self._stream(asked, stream)
            draft = Draft(
                session_id=session_id,
                message_id=message_id,
                sender_type="agent",
                sender_id=str(asked.agent_id),
                message_type="text",
                content=text,
                metadata=_judgement(verdict),
                tokens_used=verdict.tokens_used,
                latency_ms=self._elapsed(started),
            )
            async with self._transcript.append(draft) as (message, _):
                end = {
                    "seq": message.seq,
                    "created_at": iso_utc(message.created_at),
                    "tokens_used": verdict.tokens_used,
                    "latency_ms": message.latency_ms,
                    **_judgement(verdict),
                }
                await self._delivery.emit("stream_end", stream | end, room=asked.room)
        except Exception as error:
            refusal = _wire(error, session_id, asked.agent_id)
            end = {"tokens_used": None, "latency_ms": self._elapsed(started), "error": refusal}
            await self._delivery.emit("stream_end", stream | end, room=asked.room)

    async def _stream(self, asked: Asked, stream: Mapping[str, object]) -> tuple[str, Verdict]:
        """Sends the answer as it comes; the whole of it, and the verdict."""
        verdict = Verdict()
        whole: list[str] = []
        rest = ""
        index = 0

        async def send(chunk: str) -> None:
            nonlocal index
            if index:
                await self._sleep(self._pace.delay)
            payload = {**stream, "content": chunk, "index": index}
            await self._delivery.emit("stream_chunk", payload, room=asked.room)
            index += 1

        room_left = MAX_ANSWER_CHARS
        async with aclosing(self._parts(asked)) as parts:
            async for part in parts:
                if isinstance(part, Verdict):
                    verdict = part
                    continue
                piece = part.replace("\0", "")[:room_left]  # PostgreSQL stores no NUL
                room_left -= len(piece)
                whole.append(piece)
                rest += piece
                while len(rest) >= self._pace.chunk:
                    await send(rest[: self._pace.chunk])
                    rest = rest[self._pace.chunk :]
        if rest:
            await send(rest)
        if not any(whole):
            raise ValueError("the backend gave no answer")
        return "".join(whole), verdict

    async def _parts(self, asked: Asked) -> AsyncGenerator[str | Verdict, None]:
        """Raises HandlerTimeout when the backend is silent for too long."""
        async with aclosing(asked.backend.answer(asked.question)) as parts:
            while True:
                try:
                    async with asyncio.timeout(self._patience):
                        part = await anext(parts)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise HandlerTimeout("The agent took too long") from None
                yield part

    def _elapsed(self, started: float) -> int:
        """Milliseconds."""
        return round((self._clock() - started) * 1000)


def _judgement(verdict: Verdict) -> dict[str, object]:
    return {
        "intent": verdict.intent,
        "suggested_action": verdict.suggested_action,
        "source_documents": [dict(source) for source in verdict.source_documents],
    }


def _wire(error: Exception, session_id: str, agent_id: int) -> dict[str, object]:
    if isinstance(error, AtriumError):
        return error.to_wire()
    internal = InternalError(secrets.token_hex(8))
    log.error("agent failed", session=session_id, agent=agent_id, error_id=internal.error_id, exc_info=error)
    return internal.to_wire()
