from __future__ import annotations

import json
import signal
from pathlib import Path

import aiohttp
import pytest
import socketio

from tests.support.client import Client
from tests.support.ports import free_port
from tests.support.process import ROOT, answers, atrium
from tests.support.running import SECRET


async def run(*arguments: str, cwd: Path, **environ: str) -> tuple[int, str]:
    async with atrium(*arguments, cwd=cwd, **environ) as process:
        return await process.finish(), process.output


async def test_wrong_settings_are_listed_at_once_and_exit_2(tmp_path: Path) -> None:
    for command in (["serve"], ["config"], ["migrate"], ["token", "--sub", "a"]):
        code, output = await run(*command, cwd=tmp_path, PORT="x", WS_MAX_CONNECTIONS="-1")
        assert code == 2
        for name in ("PORT", "WS_MAX_CONNECTIONS", "JWT_SECRET_KEY"):
            assert name in output
        assert "Traceback" not in output


async def test_config_shows_settings_without_secrets(tmp_path: Path) -> None:
    code, output = await run("config", cwd=tmp_path, JWT_SECRET_KEY=SECRET, DATABASE_URL="postgres://u:hunter2@h/d")
    assert code == 0
    assert "PORT=8000\n" in output
    assert "WS_REQUIRE_AUTH=true\n" in output
    assert "hunter2" not in output
    assert SECRET not in output


async def test_the_asyncapi_document_is_printed(tmp_path: Path) -> None:
    environ = {"DEBUG": "true", "DATA_DIR": str(tmp_path), "CONFIG_DIR": str(ROOT / "config")}
    code, output = await run("asyncapi", cwd=tmp_path, **environ)
    assert code == 0
    document = json.loads(output)
    assert set(document["channels"]) == {"chat", "trading", "monitor", "copilot"}
    code, output = await run("asyncapi", cwd=tmp_path, **{**environ, "CONFIG_DIR": str(tmp_path / "none")})
    assert code == 2
    assert "Traceback" not in output


async def test_token_needs_a_secret_to_sign_with(tmp_path: Path) -> None:
    code, output = await run("token", "--sub", "a", cwd=tmp_path, JWT_JWKS_URL="https://keys.example")
    assert code == 1
    assert "JWT_JWKS_URL" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_migrate_serve_token_and_a_clean_end(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    environ = {
        "DEBUG": "true",
        "PORT": str(port),
        "DATA_DIR": str(tmp_path),
        "CONFIG_DIR": str(ROOT / "config"),
    }
    assert (await run("migrate", cwd=tmp_path, **environ))[0] == 0
    code, minted = await run("token", "--sub", "alice", "--role", "admin", cwd=tmp_path, **environ)
    assert code == 0
    async with atrium("serve", cwd=tmp_path, **environ) as server:
        await answers(f"http://127.0.0.1:{port}/healthz")
        client = Client("/chat")
        await client.connect(f"http://127.0.0.1:{port}", minted.strip())
        server.signal(number)
        assert (await client.expect("disconnecting_reason"))["close_code"] == 1001
        assert await server.finish() == 0
        assert "Traceback" not in server.output
        await client.close()


async def test_a_taken_port_is_one_line_and_not_a_traceback(tmp_path: Path) -> None:
    port = free_port()
    environ = {
        "DEBUG": "true",
        "PORT": str(port),
        "HOST": "127.0.0.1",
        "DATA_DIR": str(tmp_path),
        "CONFIG_DIR": str(ROOT / "config"),
    }
    async with atrium("serve", cwd=tmp_path, **environ) as first:
        await answers(f"http://127.0.0.1:{port}/healthz")
        code, output = await run("serve", cwd=tmp_path, **environ)
        assert code == 1
        assert f"cannot serve on 127.0.0.1:{port}" in output
        assert "Traceback" not in output
        first.signal(signal.SIGTERM)
        assert await first.finish() == 0


async def test_in_production_no_token_is_minted_over_http(tmp_path: Path) -> None:
    port = free_port()
    environ = {
        "PORT": str(port),
        "DATA_DIR": str(tmp_path),
        "CONFIG_DIR": str(ROOT / "config"),
        "JWT_SECRET_KEY": SECRET,
    }
    async with atrium("serve", cwd=tmp_path, **environ) as server, aiohttp.ClientSession() as http:
        await answers(f"http://127.0.0.1:{port}/healthz")
        async with http.post(f"http://127.0.0.1:{port}/api/dev/token", json={"sub": "a"}) as response:
            assert response.status == 404
        client = Client("/chat")
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.connect(f"http://127.0.0.1:{port}")
        await client.close()
        server.signal(signal.SIGTERM)
        assert await server.finish() == 0
        assert '"event": "serving"' in server.output


async def test_faults_of_the_surroundings_are_one_line_each(tmp_path: Path) -> None:
    secret = {"JWT_SECRET_KEY": SECRET}
    (tmp_path / "file").touch()
    for command, environ, code, says in (
        ("migrate", {**secret, "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}, 1, "cannot migrate"),
        ("migrate", {**secret, "DATABASE_URL": f"sqlite:///{tmp_path}"}, 1, "cannot migrate"),
        ("serve", {**secret, "CONFIG_DIR": str(tmp_path / "none")}, 2, "agents.toml"),
        ("serve", {"DEBUG": "true", "DATA_DIR": str(tmp_path / "file")}, 2, "DATA_DIR"),
    ):
        exit_code, output = await run(command, cwd=tmp_path, **environ)
        assert exit_code == code, output
        assert says in output
        assert "Traceback" not in output


async def test_a_database_that_was_never_migrated_is_not_ready_until_it_is(tmp_path: Path) -> None:
    port = free_port()
    environ = {
        "DEBUG": "true",
        "PORT": str(port),
        "DATA_DIR": str(tmp_path),
        "CONFIG_DIR": str(ROOT / "config"),
    }
    async with atrium("serve", cwd=tmp_path, **environ) as server, aiohttp.ClientSession() as http:
        await answers(f"http://127.0.0.1:{port}/healthz")
        async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
            assert (response.status, (await response.json())["checks"]["schema"]) == (503, "failed")
        assert (await run("migrate", cwd=tmp_path, **environ))[0] == 0
        async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
            assert (response.status, (await response.json())["checks"]["schema"]) == (200, "ok")
        assert (await run("migrate", "--down", "base", cwd=tmp_path, **environ))[0] == 0
        async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
            assert response.status == 503
        server.signal(signal.SIGTERM)
        assert await server.finish() == 0
