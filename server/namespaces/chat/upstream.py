"""A backend's answer, read as fast as it is given. When its text goes on to people is `replies`' business."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from types import TracebackType
from typing import Self

import structlog

from server.errors import HandlerTimeout
from server.namespaces.chat.agents.backend import Backend, Question, Verdict
from server.namespaces.chat.chunking import Chunks

log = structlog.get_logger(__name__)

MAX_ANSWER_CHARS = 65_536  # a backend that says more is stopped there
MAX_ANSWER_SECONDS = 600.0
CLOSE_SECONDS = 2.0  # for a backend to stop
PARTS_A_TURN = 100  # of the loop, from a backend that waits for nothing


class Upstream:
    """`chunks`: what was not taken yet. `verdict`: the newest. `ended`: nothing comes any more."""

    def __init__(self, backend: Backend, question: Question, *, patience: float) -> None:
        """`patience`: seconds for its next part."""
        self._backend = backend
        self._question = question
        self._patience = patience
        self._news = asyncio.Event()
        self._failure: Exception | None = None
        self.chunks = Chunks(MAX_ANSWER_CHARS)
        self.verdict = Verdict()
        self.ended = False

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read(), name="upstream")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The backend's generator is closed then, unless it does not let itself be."""
        self._reader.cancel()
        _, stubborn = await asyncio.wait([self._reader], timeout=CLOSE_SECONDS)
        if stubborn:
            log.warning("a backend does not stop", session=self._question.session_id)

    async def more(self) -> bool:
        """Waits until there is text to take: whether there will be any.

        Raises what the backend raised, whatever was not taken yet, and HandlerTimeout when it is silent for too long.
        """
        while not (self.chunks or self.ended):
            self._news.clear()
            await self._news.wait()
        if self._failure is not None:
            raise self._failure
        return bool(self.chunks)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        latest, parts_read = loop.time() + MAX_ANSWER_SECONDS, 0
        try:
            async with (
                asyncio.timeout(self._patience) as silence,
                aclosing(self._backend.answer(self._question)) as parts,
            ):
                async for part in parts:
                    silence.reschedule(min(loop.time() + self._patience, latest))
                    if isinstance(part, Verdict):
                        self.verdict = part
                    else:
                        self.chunks.put(part)
                        self._news.set()
                    if self.chunks.full:
                        break
                    parts_read += 1
                    if not parts_read % PARTS_A_TURN:
                        await asyncio.sleep(0)
            self.chunks.end()
        except TimeoutError:
            self._failure = HandlerTimeout("The agent took too long")
        except asyncio.CancelledError:
            self._failure = RuntimeError("the backend was cancelled")  # by itself, for nobody asks after `__aexit__`
            raise
        except Exception as error:
            self._failure = error
        finally:
            self.ended = True
            self._news.set()
