from __future__ import annotations

from tests.support import echo
from tests.support.client import Client
from tests.support.running import token


async def test_what_one_client_makes_a_server_count() -> None:
    async with echo.serving() as (running, namespace):
        client = Client("/echo")
        await client.connect(running.url, token("alice"))
        await client.call("ping", {})
        assert not (await client.call("no such event", {}))["ok"]
        counted = namespace.server.statistics
        assert (counted.total_connections, counted.messages_received, counted.errors) == (1, 2, 1)
        assert counted.messages_sent == 2  # connected, pong
        await client.close()
