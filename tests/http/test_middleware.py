from __future__ import annotations

import aiohttp
import pytest

from tests.conftest import Connect, Serve
from tests.support.raw import POLLING, WEBSOCKET

FRIEND = "https://app.example"
STRANGER = "https://evil.example"


@pytest.mark.parametrize("path", ["/health", POLLING, WEBSOCKET])
@pytest.mark.parametrize(
    ("origin", "allowed"), [(None, True), (FRIEND, True), ("self", True), (STRANGER, False), ("null", False)]
)
async def test_one_rule_for_every_door(serve: Serve, path: str, origin: str | None, allowed: bool) -> None:
    server = await serve(CORS_ORIGINS=FRIEND)
    headers = {} if origin is None else {"Origin": server.url if origin == "self" else origin}
    async with aiohttp.ClientSession(headers=headers) as http:
        if path == WEBSOCKET:
            if allowed:
                async with http.ws_connect(server.url + path) as socket:
                    assert (await socket.receive_str()).startswith("0{")
            else:
                with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                    await http.ws_connect(server.url + path)
            return
        async with http.get(server.url + path) as response:
            assert response.status == (200 if allowed else 403)
            if not allowed:
                assert (await response.json())["error"]["code"] == "ORIGIN_REFUSED"
            elif origin is not None:
                assert response.headers["Access-Control-Allow-Origin"] == headers["Origin"]


async def test_everyone_is_allowed_where_configured(serve: Serve) -> None:
    server = await serve(CORS_ORIGINS="*")
    async with aiohttp.ClientSession() as http, http.get(server.url + "/health", headers={"Origin": STRANGER}) as got:
        assert got.status == 200


@pytest.mark.parametrize(
    ("origin", "debug", "status"),
    [
        ("http://localhost:5173", True, 200),
        ("http://127.0.0.1:3001", True, 200),
        ("http://localhost:5173", False, 403),
        ("http://localhost.evil.example", True, 403),
        ("http://[", True, 403),
    ],
)
async def test_a_developers_own_pages_are_allowed_under_debug(
    serve: Serve, origin: str, debug: bool, status: int
) -> None:
    server = await serve(DEBUG=debug)
    async with aiohttp.ClientSession() as http, http.get(server.url + "/health", headers={"Origin": origin}) as got:
        assert got.status == status


async def test_preflight(serve: Serve) -> None:
    server = await serve(CORS_ORIGINS=FRIEND)
    asks = {"Origin": FRIEND, "Access-Control-Request-Method": "POST"}
    async with (
        aiohttp.ClientSession() as http,
        http.options(server.url + "/api/dev/token", headers=asks) as response,
    ):
        assert response.status == 204
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]


async def test_errors_have_one_shape(serve: Serve) -> None:
    server = await serve()
    async with aiohttp.ClientSession() as http:
        async with http.get(server.url + "/nowhere") as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "NOT_FOUND"
        async with http.delete(server.url + "/health") as response:
            assert response.status == 405
            assert "GET" in response.headers["Allow"]


async def test_a_refused_browser_does_not_harm_others(serve: Serve, connect: Connect) -> None:
    server = await serve()
    client = await connect(server, "/chat", "alice")
    async with aiohttp.ClientSession() as http, http.get(server.url + POLLING, headers={"Origin": STRANGER}):
        pass
    await client.settle()


async def test_a_browser_may_read_what_went_wrong(serve: Serve) -> None:
    server = await serve(CORS_ORIGINS=FRIEND)
    async with (
        aiohttp.ClientSession() as http,
        http.get(server.url + "/nowhere", headers={"Origin": FRIEND}) as response,
    ):
        assert response.status == 404
        assert response.headers["Access-Control-Allow-Origin"] == FRIEND
