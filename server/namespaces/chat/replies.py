"""An agent's answers on their way: one at a time in a session, in chunks at a reading pace, stored when whole.

What the answer is, is the backend's; who may ask or cancel, the service's. An answer streams on the node where it was
asked for; what is wanted of it is asked of all.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from server.errors import AtriumError, GoingAway, InternalError, LimitExceeded
from server.namespaces.chat.agents.backend import Backend, Question, Verdict
from server.namespaces.chat.models import ChatMessage, Draft
from server.namespaces.chat.streams import Listener, Newcomers, Stream
from server.namespaces.chat.transcript import Transcript, new_message_id
from server.namespaces.chat.typists import Later, on_loop
from server.namespaces.chat.upstream import Upstream
from server.realtime.delivery import Delivery
from server.realtime.others import Body, NoOthers, Others
from server.timestamps import iso_utc

log = structlog.get_logger(__name__)

MAX_WAITING = 16  # questions in a session; beyond, the oldest stay without an answer
PATIENCE_SECONDS = 60.0  # for a backend's next piece
LAG_SECONDS = 10.0  # that readers are behind a backend: beyond, chunks are longer

VERB = "chat streams"  # that nodes ask each other with
CANCELLED: Mapping[str, object] = {"cancelled": True}


@dataclass(frozen=True, slots=True)
class Asked:
    """`seq` is the question's."""

    agent_id: int
    backend: Backend
    question: Question
    room: str
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """Chunks of `chunk` characters, one every `delay` seconds. No text waits for longer than that to fill a chunk, so
    those of a slow backend are shorter."""

    chunk: int = 10
    delay: float = 0.05

    def size(self, waiting: int) -> int:
        """Of the next chunk, with so many characters that wait."""
        return max(self.chunk, math.ceil(waiting * self.delay / LAG_SECONDS))


@dataclass(slots=True, eq=False)
class _Work:
    """In one session. `scope` is what ends when the answer is cancelled."""

    waiting: deque[tuple[Asked, Listener | None]]
    stream: Stream | None = None
    scope: asyncio.Timeout | None = None
    cancelled: bool = False

    def cancel(self) -> bool:
        """Whether there was something to cancel: an answer that is being stored is not."""
        if self.scope is None:
            return False
        self.scope.reschedule(asyncio.get_running_loop().time())
        self.scope = None
        self.cancelled = True
        return True


async def _as_it_is(asked: Asked) -> Question | None:
    return asked.question


async def _nothing(_: Asked, __: Verdict) -> None:
    pass


class Replies:
    """`prepare` is asked right before an answer begins for the question with what was said before it: None where it is
    not wanted any more; what is silenced after that is cancelled. `answered` is told after one was stored."""

    def __init__(
        self,
        delivery: Delivery,
        transcript: Transcript,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        *,
        pace: Pace,
        others: Others | None = None,
        patience: float = PATIENCE_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        later: Later = on_loop,
    ) -> None:
        self.prepare: Callable[[Asked], Awaitable[Question | None]] = _as_it_is
        self.answered: Callable[[Asked, Verdict], Awaitable[None]] = _nothing
        self._delivery = delivery
        self._transcript = transcript
        self._spawn = spawn
        self._pace = pace
        self._others = others or NoOthers()
        self._others.on(VERB, self._here)
        self._patience = patience
        self._sleep = sleep
        self._clock = clock
        self._newcomers = Newcomers(later)
        self._works: dict[str, _Work] = {}  # by session

    def __len__(self) -> int:
        """The sessions that are being answered."""
        return len(self._works)

    # -- what the service wants ---------------------------------------------------------------------------------

    def ask(self, asked: Asked, listener: Listener | None = None) -> None:
        """Answers it after what was asked before in the session. A listener always hears a `stream_end`."""
        session_id = asked.question.session_id
        work = self._works.get(session_id)
        if work is None:
            self._spawn(self._work(session_id), "agent")
            self._works[session_id] = _Work(deque([(asked, listener)]))
            return
        work.waiting.append((asked, listener))
        if len(work.waiting) > MAX_WAITING:
            log.warning("question dropped", session=session_id, waiting=MAX_WAITING)
            error = LimitExceeded("Too many questions wait in this session")
            _unanswered(*work.waiting.popleft(), {"error": error.to_wire()})

    async def find(self, message_id: str) -> str | None:
        """The session in which this answer is streaming, on whichever node."""
        for answer in await self._everywhere("find", message_id=message_id):
            if "session_id" in answer:
                return str(answer["session_id"])
        return None

    async def cancel(self, message_id: str, session_id: str) -> bool:
        """Stops an answer, on whichever node: what was sent of it is stored. False where it is not streaming."""
        answers = await self._everywhere("cancel", message_id=message_id, session_id=session_id)
        return any(answer.get("cancelled") for answer in answers)

    def silence(self, session_id: str) -> None:
        """Cancels what is being answered in a session, on whichever node, and forgets what was asked."""
        self._silence(session_id)
        self._spawn(self._silence_others(session_id), "silence")

    async def watch(self, session_id: str, connection_id: str) -> None:
        """Before a connection enters the session's room, which it is not in: it is sent the text so far of what streams
        there, and until `unwatch`, once it is in the room, misses nothing of what follows, nor has any of it twice."""
        await self._everywhere("watch", session_id=session_id, connection_id=connection_id)

    async def unwatch(self, session_id: str, connection_id: str) -> None:
        await self._everywhere("unwatch", session_id=session_id, connection_id=connection_id)

    def running(self, session_id: str) -> list[str]:
        """The messages that stream in a session from this node."""
        work = self._works.get(session_id)
        return [] if work is None or work.stream is None else [work.stream.message_id]

    # -- what is wanted of this node ----------------------------------------------------------------------------

    async def _everywhere(self, do: str, **fields: str) -> list[Body]:
        body = {"do": do, **fields}
        return [await self._here(body) or {}, *await self._others.ask_all(VERB, body)]

    async def _here(self, body: Body) -> Body | None:
        session_id = body.get("session_id", "")
        match body["do"]:
            case "find":
                for session_id in self._works:
                    if body["message_id"] in self.running(session_id):
                        return {"session_id": session_id}
            case "cancel":
                if body["message_id"] in self.running(session_id):
                    return {"cancelled": self._works[session_id].cancel()}
            case "silence":
                self._silence(session_id)
            case "watch":
                self._newcomers.add(session_id, body["connection_id"])
                work = self._works.get(session_id)
                if work is not None and work.stream is not None:
                    await work.stream.replay(body["connection_id"])
            case "unwatch":
                self._newcomers.remove(session_id, body["connection_id"])
            case "end":  # the node that streamed it died
                payload = {"message_id": body["message_id"], "session_id": session_id}
                error = {"tokens_used": None, "latency_ms": None, "error": GoingAway().to_wire()}
                await self._delivery.emit("stream_end", payload | error, room=body["room"])
        return None

    def _silence(self, session_id: str) -> None:
        work = self._works.get(session_id)
        if work is not None:
            work.cancel()
            while work.waiting:
                _unanswered(*work.waiting.popleft(), CANCELLED)

    async def _silence_others(self, session_id: str) -> None:
        await self._others.ask_all(VERB, {"do": "silence", "session_id": session_id})

    # -- answering ----------------------------------------------------------------------------------------------

    async def _work(self, session_id: str) -> None:
        work = self._works[session_id]
        try:
            while work.waiting:
                await self._answer(work, *work.waiting.popleft())
        finally:
            del self._works[session_id]
            for asked, listener in work.waiting:
                _unanswered(asked, listener, {"error": GoingAway().to_wire()})

    async def _answer(self, work: _Work, asked: Asked, listener: Listener | None) -> None:
        started = self._clock()
        stream = work.stream = Stream(
            self._delivery,
            self._newcomers,
            message_id=new_message_id(),
            session_id=asked.question.session_id,
            sender_id=str(asked.agent_id),
            room=asked.room,
            listener=listener,
        )
        try:
            verdict = await self._stream(work, stream, asked)
            await self._store(stream, asked, verdict, self._elapsed(started))
            if verdict is not None:
                await self.answered(asked, verdict)
        except asyncio.CancelledError:
            await stream.end(self._failed(started, GoingAway()))
            raise
        except Exception as error:
            await stream.end(self._failed(started, _refusal(error, asked)))
        finally:
            work.stream = None
            self._others.withdraw(stream.message_id)

    async def _stream(self, work: _Work, stream: Stream, asked: Asked) -> Verdict | None:
        """Sends the answer as it comes. None where it was cancelled, or is not wanted any more."""
        verdict = None
        work.cancelled = False
        try:
            async with asyncio.timeout(None) as work.scope:
                question = await self.prepare(asked)
                if question is not None:
                    body = {"session_id": asked.question.session_id, "message_id": stream.message_id}
                    self._others.will(stream.message_id, VERB, {"do": "end", "room": asked.room, **body})
                    await stream.start()
                    verdict = await self._flow(stream, asked.backend, question)
        except TimeoutError:
            if not work.cancelled:
                raise
        finally:
            work.scope = None
        if work.cancelled:
            return None
        if verdict is not None and not stream.text:
            raise ValueError("the backend gave no answer")
        return verdict

    async def _flow(self, stream: Stream, backend: Backend, question: Question) -> Verdict:
        delay, last = self._pace.delay, -math.inf
        async with Upstream(backend, question, patience=self._patience) as upstream:
            chunks = upstream.chunks
            while await upstream.more():
                is_short = len(chunks) < self._pace.chunk and not upstream.ended
                await self._sleep(delay if is_short else max(0.0, last + delay - self._clock()))
                await stream.send(chunks.take(self._pace.size(len(chunks))))
                last = self._clock()
            return upstream.verdict

    async def _store(self, stream: Stream, asked: Asked, verdict: Verdict | None, latency_ms: int) -> None:
        """What was sent of a cancelled answer is part of the conversation. What a backend left unfinished is not (it is
        not stored at all): nobody chose its end, and the whole may say the opposite."""
        tokens_used = None if verdict is None else verdict.tokens_used
        metadata = CANCELLED if verdict is None else _judgement(verdict)
        outcome = {"tokens_used": tokens_used, "latency_ms": latency_ms, **metadata}
        if not stream.text:
            await stream.end(outcome)
            return

        async def told(message: ChatMessage) -> None:
            await stream.end({"seq": message.seq, "created_at": iso_utc(message.created_at), **outcome})

        draft = Draft(
            session_id=asked.question.session_id,
            message_id=stream.message_id,
            sender_type="agent",
            sender_id=str(asked.agent_id),
            message_type="text",
            content=stream.text,
            metadata=dict(metadata),
            tokens_used=tokens_used,
            latency_ms=latency_ms,
        )
        await self._transcript.append(draft, told)

    def _failed(self, started: float, error: AtriumError) -> dict[str, object]:
        return {"tokens_used": None, "latency_ms": self._elapsed(started), "error": error.to_wire()}

    def _elapsed(self, started: float) -> int:
        """Milliseconds."""
        return round((self._clock() - started) * 1000)


def _unanswered(asked: Asked, listener: Listener | None, outcome: Mapping[str, object]) -> None:
    """Nobody but the listener waits for it."""
    if listener is not None:
        listener("stream_end", {"session_id": asked.question.session_id, **outcome})


def _judgement(verdict: Verdict) -> dict[str, object]:
    return {
        "intent": verdict.intent,
        "suggested_action": verdict.suggested_action,
        "source_documents": [dict(source) for source in verdict.source_documents],
    }


def _refusal(error: Exception, asked: Asked) -> AtriumError:
    if isinstance(error, AtriumError):
        return error
    internal = InternalError(secrets.token_hex(8))
    log.error(
        "agent failed",
        session=asked.question.session_id,
        agent=asked.agent_id,
        error_id=internal.error_id,
        exc_info=error,
    )
    return internal
