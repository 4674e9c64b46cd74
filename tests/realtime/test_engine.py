from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import engineio
import pytest

from server.realtime.engine import Engine, WebSocket
from tests.support.echo import serving
from tests.support.raw import POLLING


@pytest.mark.parametrize("name", ["_async", "sockets", "max_http_buffer_size", "handle_request", "reason"])
def test_the_seams_are_where_they_were(name: str) -> None:
    assert hasattr(engineio.AsyncServer(async_mode="aiohttp"), name), f"python-engineio moved {name}"


def test_sockets_have_what_closing_needs() -> None:
    socket = engineio.async_socket.AsyncSocket(engineio.AsyncServer(async_mode="aiohttp"), "sid")
    for name in ("close", "queue", "upgraded", "_websocket_handler"):
        assert hasattr(socket, name), f"python-engineio moved AsyncSocket.{name}"


def test_our_websocket_is_the_one_that_is_used() -> None:
    assert Engine(async_mode="aiohttp")._async["websocket"] is WebSocket


async def test_a_post_without_a_length_is_refused() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"4" * 100

    async with (
        serving() as (server, _),
        aiohttp.ClientSession() as http,
        http.post(f"{server.url}{POLLING}&sid=x", data=chunks()) as response,
    ):
        assert response.status == 411
