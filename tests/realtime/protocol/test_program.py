"""The server as a program, as suites from outside start it."""

from __future__ import annotations

import signal
import sys

import aiohttp

from tests.realtime.protocol.clients import door
from tests.support.process import Process, running

PROGRAM = (sys.executable, "-m", "tests.realtime.protocol.server")


async def url(process: Process) -> str:
    return (await process.read_until("READY")).partition("READY ")[2].strip()


async def test_it_takes_its_settings_from_the_environment_and_ends_cleanly() -> None:
    async with running(
        *PROGRAM, HOST="127.0.0.1", PORT="0", PING_INTERVAL_MS="1234", PING_TIMEOUT_MS="567", MAX_PAYLOAD="89"
    ) as process:
        for path in ("engine.io", "socket.io"):
            async with door(await url(process), path) as at:
                handshake = await at.poller().open()
                assert [handshake[name] for name in ("pingInterval", "pingTimeout", "maxPayload")] == [1234, 567, 89]
        process.signal(signal.SIGTERM)
        assert await process.finish() == 0


async def test_pages_from_anywhere_may_use_it() -> None:
    async with running(*PROGRAM, HOST="127.0.0.1", PORT="0") as process, aiohttp.ClientSession() as http:
        address = f"{await url(process)}/socket.io/?EIO=4&transport=polling"
        async with http.get(address, headers={"Origin": "https://somewhere.example"}) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == "https://somewhere.example"
