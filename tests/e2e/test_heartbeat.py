"""The seed's quick test on real time: pings every 5 s, 3 s for a pong, three missed; closed at about 25 s."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import Client
from tests.support.ports import free_port
from tests.support.process import PATIENCE, ROOT, answers, atrium
from tests.support.raw import WEBSOCKET
from tests.support.running import SECRET, token

pytestmark = pytest.mark.e2e

QUICK = {"WS_PING_INTERVAL": "5", "WS_PONG_TIMEOUT": "3", "WS_MAX_MISSED_PONGS": "3"}


async def test_who_never_answers_pings_is_closed_with_4003_and_who_does_stays(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {
        "PORT": str(port),
        "DATA_DIR": str(tmp_path),
        "CONFIG_DIR": str(ROOT / "config"),
        "JWT_SECRET_KEY": SECRET,
    } | QUICK
    async with atrium("migrate", cwd=tmp_path, **environ) as migration:
        assert await migration.finish() == 0, migration.output
    async with atrium("serve", cwd=tmp_path, **environ) as server:
        await answers(f"{url}/healthz")
        stock = Client("/chat")
        await stock.connect(url, token())
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as http, http.ws_connect(url + WEBSOCKET) as deaf:
            await deaf.send_str(f'40/chat,{{"token":"{token("bob")}"}}')
            opened = time.monotonic()
            heard = [message.data async for message in deaf]
            print(f"closed after {time.monotonic() - opened:.1f} s")  # noqa: T201
        assert heard.count("2") == 3
        assert any(packet.startswith('42/chat,["connected"') for packet in heard)
        assert deaf.close_code == 4003
        await stock.settle()
        assert not stock.payloads("disconnect")
        await stock.close()
        assert server.process.returncode is None
