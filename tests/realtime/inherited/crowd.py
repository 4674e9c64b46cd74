"""Many clients in a process of their own, to be killed: `python -m tests.realtime.inherited.crowd URL COUNT`.

Prints `joined` when all are in /echo.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

from tests.realtime.inherited.wire import wire

AT_ONCE = 50


async def main(url: str, count: int) -> None:
    async with AsyncExitStack() as stack:

        async def join() -> None:
            await (await stack.enter_async_context(wire(url))).join()

        for _ in range(0, count, AT_ONCE):
            await asyncio.gather(*(join() for _ in range(AT_ONCE)))
        print("joined", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
