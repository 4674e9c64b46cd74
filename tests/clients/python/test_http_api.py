from __future__ import annotations

import asyncio

import aiohttp
import pytest

from clients.python.errors import NotConnected, Refused, TimedOut
from clients.python.http_api import HttpApi
from clients.python.tokens import TokenSource
from tests.conftest import Serve
from tests.support.running import token


async def test_answers_and_refusals(serve: Serve) -> None:
    server = await serve()
    async with aiohttp.ClientSession() as http:
        api = HttpApi(server.url, TokenSource(token()), http)
        made = await api.request("POST", "/api/chat/sessions", json={"title": "Help"})
        listed = await api.request("GET", "/api/chat/sessions", query={"limit": 1})
        assert [each["session_id"] for each in listed["sessions"]] == [made["session_id"]]
        with pytest.raises(Refused, match="INVALID_MESSAGE"):
            await api.request("GET", "/api/chat/sessions", query={"limit": "many"})
        with pytest.raises(Refused, match="NOT_FOUND"):
            await api.request("GET", "/nothing")
        with pytest.raises(Refused, match="TOKEN_MISSING"):
            await HttpApi(server.url, TokenSource(None), http).request("GET", "/api/chat/sessions")


async def test_nobody_there_and_nobody_who_answers() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
        writer.close()

    async with aiohttp.ClientSession() as http:
        with pytest.raises(NotConnected):
            await HttpApi("http://127.0.0.1:9", TokenSource(None), http).request("GET", "/")
        for serving, expected, code in ((silent, TimedOut, "TIMEOUT"), (page, NotConnected, "UNREACHABLE")):
            server = await asyncio.start_server(serving, "127.0.0.1", 0)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(expected) as caught:
                await HttpApi(url, TokenSource(None), http).request("GET", "/", timeout=0.2)
            assert caught.value.code == code
            server.close()
