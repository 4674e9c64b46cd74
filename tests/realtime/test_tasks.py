from __future__ import annotations

import asyncio

import pytest
import structlog

from server.realtime.tasks import Tasks, handling


async def test_a_failure_is_logged_and_not_lost() -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    tasks = Tasks()
    with structlog.testing.capture_logs() as logs:
        await asyncio.wait([tasks.start(fail(), "failing")])
        await asyncio.sleep(0)
    assert [(entry["event"], entry["task"]) for entry in logs] == [("background task failed", "failing")]
    assert len(tasks) == 0


async def test_closing_cancels_and_waits() -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    tasks = Tasks()
    tasks.start(work(), "work")
    await asyncio.sleep(0)
    await tasks.close()
    assert cleaned.is_set()
    with pytest.raises(RuntimeError):
        tasks.start(work(), "late")


async def test_background_work_is_not_inline() -> None:
    seen: list[str | None] = []

    async def work() -> None:
        seen.append(handling.get())

    token = handling.set("connection")
    await Tasks().start(work(), "work")
    assert seen == [None]
    assert handling.get() == "connection"
    handling.reset(token)
