from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.conftest import Connect, Serve


async def test_a_minted_token_opens_a_connection(serve: Serve, connect: Connect) -> None:
    server = await serve()
    async with aiohttp.ClientSession() as http:
        wanted = {"sub": "bob", "roles": ["operator"], "tenant": "acme"}
        async with http.post(server.url + "/api/dev/token", json=wanted) as response:
            assert response.status == 200
            minted = await response.json()
    client = await connect(server, "/trading", auth={"token": minted["token"]})
    assert (await client.expect("connected"))["user_id"] == "bob"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"sub": ""}', b'{"sub": 5}', b'{"sub": "a", "roles": "admin"}', b'{"sub":"a","x":1}'],
)
async def test_a_bad_wish_is_refused(serve: Serve, body: bytes) -> None:
    server = await serve()
    async with aiohttp.ClientSession() as http, http.post(server.url + "/api/dev/token", data=body) as response:
        assert response.status == 422
        assert (await response.json())["error"]["code"] == "INVALID_MESSAGE"


@pytest.mark.parametrize("environ", [{"DEBUG": "false"}, {"DEBUG": "0", "JWT_ISSUER": "x"}])
async def test_in_production_the_route_is_absent(serve: Serve, environ: dict[str, Any]) -> None:
    server = await serve(**environ)
    wanted = {"sub": "bob"}
    async with aiohttp.ClientSession() as http, http.post(server.url + "/api/dev/token", json=wanted) as response:
        assert response.status == 404
