"""`make run`'s program and the Procfile, as whole processes on real time."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.ports import free_port
from tests.support.process import ROOT, answers, running

pytestmark = pytest.mark.e2e

RUN = ROOT / "config" / "dev" / "run.py"


async def test_run_says_what_to_try_and_what_it_says_is_true(tmp_path: Path) -> None:
    port = free_port()
    async with running(sys.executable, RUN, PORT=str(port), DATA_DIR=str(tmp_path)) as server:
        await answers(f"http://127.0.0.1:{port}/readyz")
        shown = await server.read_until("serving")
        minted = re.search(r"ATRIUM_TOKEN=(\S+)", shown)
        assert minted
        for command in re.findall(r"-m (clients\.python \w+)", shown):
            async with running(sys.executable, "-m", *command.split(), "--help") as program:
                assert await program.finish() == 0
        client = Client("/chat")
        await client.connect(f"http://127.0.0.1:{port}", minted[1])
        await client.expect("connected")
        await client.close()
        server.signal(signal.SIGINT)
        assert await server.finish() == 0
        assert "Traceback" not in server.output


async def test_the_plc_is_pulled_and_plugged(tmp_path: Path) -> None:
    port = free_port()
    async with running(sys.executable, RUN, PORT=str(port), DATA_DIR=str(tmp_path), PLC="demo") as server:
        await answers(f"http://127.0.0.1:{port}/readyz")
        device = re.search(r"process (\d+)", await server.read_until("as process"))
        assert device
        client = Client("/monitor")
        await client.connect(f"http://127.0.0.1:{port}")
        connected = await client.expect("equipment_status", lambda status: gray(status) == set())
        os.kill(int(device[1]), signal.SIGKILL)
        pulled = await client.expect("equipment_status", lambda status: len(gray(status)) == 4)
        assert len(pulled["equipment"]) == len(connected["equipment"]) == 17
        async with running(sys.executable, RUN.with_name("plc.py")) as plugged:
            await plugged.read_until("plc:")
            await client.expect("equipment_status", lambda status: gray(status) == set())
            plugged.signal(signal.SIGTERM)
            assert await plugged.finish() == 0
            assert "Traceback" not in plugged.output
        await client.close()
        server.signal(signal.SIGTERM)
        assert await server.finish() == 0
        assert "Traceback" not in server.output


async def test_ctrl_c_leaves_no_orphan(tmp_path: Path) -> None:
    port = free_port()
    async with running(sys.executable, RUN, PORT=str(port), DATA_DIR=str(tmp_path), PLC="demo") as server:
        await answers(f"http://127.0.0.1:{port}/readyz")
        device = re.search(r"process (\d+)", await server.read_until("as process"))
        assert device
        server.signal(signal.SIGINT)
        assert await server.finish() == 0
        assert "Traceback" not in server.output
        with pytest.raises(ProcessLookupError):
            os.kill(int(device[1]), 0)


async def test_the_procfile_under_honcho(tmp_path: Path) -> None:
    port = free_port()
    environ = {
        "JWT_SECRET_KEY": "a secret that is long enough for HS256",
        "DATA_DIR": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    honcho = (sys.executable, "-m", "honcho")
    async with running(*honcho, "run", "--", "python", "-m", "server", "migrate", **environ) as release:
        assert await release.finish() == 0, release.output
    async with running(*honcho, "start", **environ, PORT=str(port)) as web:  # the release runs beside
        await answers(f"http://127.0.0.1:{port}/readyz")
        web.signal(signal.SIGTERM)
        await web.finish()
        assert "Traceback" not in web.output
        assert '"event": "stopping"' in web.output


def gray(status: dict[str, list[dict[str, str]]]) -> set[str]:
    return {machine["equipment_code"] for machine in status["equipment"] if machine["status"] == "disconnected"}
