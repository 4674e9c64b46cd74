from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from server.http import pages
from tests.conftest import Serve

SCRIPT = "console.log('as large as what is worth compressing');\n" * 50


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    for name in pages.PAGES.values():
        (tmp_path / name).write_text(f"<!doctype html><title>{name}</title>")
    (tmp_path / "favicon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "assets" / "chat-1a2b.js").write_text(SCRIPT)
    (tmp_path / "assets" / "chat-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT.encode()))
    (tmp_path / "secret").write_text("not a page")
    return tmp_path


async def client(built: Path) -> TestClient[web.Request, web.Application]:
    app = web.Application()
    routes = await asyncio.to_thread(
        pages.routes, version="1.2.3", debug=False, namespaces=[{"path": "/chat"}], built=built
    )
    app.add_routes(routes)
    started = TestClient(TestServer(app), auto_decompress=False)
    await started.start_server()
    return started


async def test_each_page_is_served_under_a_policy_that_runs_nothing_but_its_own_files(built: Path) -> None:
    one = await client(built)
    for path, name in pages.PAGES.items():
        async with one.get(path) as response:
            assert (response.status, response.content_type) == (200, "text/html")
            assert name in await response.text()
            policy = response.headers["Content-Security-Policy"].split("; ")
            assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
            assert not [each for each in policy if "unsafe" in each or "*" in each]
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-cache"
    await one.close()


async def test_what_never_changes_is_kept_and_comes_compressed_to_who_takes_it(built: Path) -> None:
    one = await client(built)
    async with one.get("/assets/chat-1a2b.js", headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert "immutable" in response.headers["Cache-Control"]
        assert response.content_type in ("text/javascript", "application/javascript")
        assert gzip.decompress(await response.read()).decode() == SCRIPT
    async with one.get("/assets/chat-1a2b.js", headers={"Accept-Encoding": "identity"}) as response:
        assert await response.text() == SCRIPT
    await one.close()


@pytest.mark.parametrize("name", ["none.js", "../secret", "..%2Fsecret", "%2e%2e%2fsecret", "chat-1a2b.js.gz", "%00"])
async def test_only_files_that_were_built_are_served(built: Path, name: str) -> None:
    one = await client(built)
    async with one.get(f"/assets/{name}") as response:
        assert response.status == 404
    await one.close()


async def test_pages_that_are_built_while_it_runs_are_whole(built: Path) -> None:
    one = await client(built)
    (built / "assets" / "chat-3c4d.js").write_text(SCRIPT)
    async with one.get("/assets/chat-3c4d.js") as response:
        assert response.status == 200
    await one.close()


async def test_a_server_without_built_pages_says_what_to_do(tmp_path: Path) -> None:
    one = await client(tmp_path)
    async with one.get("/chat") as response:
        assert response.status == 503
        assert "make pages" in await response.text()
    await one.close()


async def test_a_page_learns_what_it_needs_to_know_of_its_server(serve: Serve) -> None:
    server = await serve()
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/api/about") as response:
        told = await response.json()
    assert told["debug"] is True
    assert {"path": "/monitor", "token": "optional"} in told["namespaces"]
    assert {"path": "/chat", "token": "required"} in told["namespaces"]
