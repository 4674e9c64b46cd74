"""Background tasks with an owner: started here, closed here, their exceptions logged and never lost."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import structlog

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 5

#: The id of the connection whose event the current code handles inline, if any.
handling: ContextVar[str | None] = ContextVar("handling", default=None)


class Tasks:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task runs beside the handler that started it, so it may await answers that the handler may not."""
        if self._closed:
            work.close()
            raise RuntimeError("tasks are closed")
        context = contextvars.copy_context()
        context.run(handling.set, None)
        task = asyncio.create_task(work, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def close(self) -> None:
        """Cancels what still runs and waits for it to end, but not for ever for what does not."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, stubborn = await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
            if stubborn:
                log.warning("tasks do not end", tasks=[task.get_name() for task in stubborn])

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task failed", task=task.get_name(), exc_info=error)
