"""How the Python peers emit on command; what one emit is, is the peer's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import cycle, islice
from typing import Any

Emit = Callable[[dict[str, Any]], Awaitable[object]]

BURST = 20


async def emitting(
    emit: Emit, *, pattern: str, messages: int, interval_ms: float, payloads: list[dict[str, Any]]
) -> None:
    """`paced`: one emit every interval. `back_to_back`: one every turn of the loop. `burst`: 20 at once, then a pause
    of one interval. Payloads take turns, each stamped when it is emitted (CLOCK_MONOTONIC, ns)."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    for number, payload in enumerate(islice(cycle(payloads), messages), start=1):
        await emit({**payload, "stamp": f"{time.monotonic_ns():016}"})
        if pattern == "paced":
            due += interval_ms / 1000
            await asyncio.sleep(max(0.0, due - loop.time()))
        elif pattern == "back_to_back":
            await asyncio.sleep(0)
        elif number % BURST == 0:
            await asyncio.sleep(interval_ms / 1000)
