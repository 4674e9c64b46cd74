from __future__ import annotations

import asyncio
from typing import Any

import pytest
import socketio

from clients.python.connection import Refused, connect, connection, development_token
from tests.conftest import Serve
from tests.support.running import token


async def test_acks_without_their_ok_and_events(serve: Serve) -> None:
    server = await serve()
    async with connection("/trading") as opened:
        greeted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def connected(greeting: Any) -> None:
            greeted.set_result(greeting)

        opened.on("connected", connected)
        await connect(opened, server.url, token("alice"))
        assert (await greeted)["user_id"] == "alice"
        assert await opened.call("unsubscribe", {"channel": "general"}) == {"channel": "general", "success": False}


async def test_what_the_server_refuses_is_raised_with_its_code(serve: Serve) -> None:
    server = await serve()
    async with connection("/trading") as opened:
        with pytest.raises(Refused) as caught:
            await connect(opened, server.url, "garbage")
        assert (caught.value.code, caught.value.fault["close_code"]) == ("TOKEN_INVALID", 4001)
    async with connection("/trading") as opened:
        await connect(opened, server.url, token("alice"))
        with pytest.raises(Refused, match="FORBIDDEN"):
            await opened.call("subscribe", {"channel": "user:bob"})


async def test_nobody_there() -> None:
    async with connection("/trading") as opened:
        with pytest.raises(socketio.exceptions.ConnectionError):
            await connect(opened, "http://127.0.0.1:9", None)
    assert await development_token("http://127.0.0.1:9", "alice") is None


async def test_only_a_server_under_debug_mints(serve: Serve) -> None:
    assert await development_token((await serve()).url, "alice")
    assert await development_token((await serve(DEBUG="false")).url, "alice") is None
