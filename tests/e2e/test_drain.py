"""SPEC §8: a node that is told to end answers what it began, sends its clients elsewhere, and is gone in time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import socketio

from server.__main__ import EXIT_SECONDS
from tests.realtime.inherited.wire import Wire, poller, wire
from tests.support.ports import free_port
from tests.support.process import PATIENCE, ROOT, Process, answers, running
from tests.support.raw import RawSocket, raw_socket
from tests.support.recovering import PROGRAM
from tests.support.recovering import Client as StockScript
from tests.support.running import SECRET, token

pytestmark = pytest.mark.e2e

SOON = 8  # seconds; below what a handler that hangs would hold up
ENTER = f'40/slow,{{"token":"{token()}"}}'


@asynccontextmanager
async def serving(tmp_path: Path, port: int = 0, **environ: str) -> AsyncIterator[tuple[Process, str]]:
    port = port or free_port()
    settings = {
        "DEBUG": "true",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATA_DIR": str(tmp_path),
        "CONFIG_DIR": str(ROOT / "config"),
        "JWT_SECRET_KEY": SECRET,
        "RATE_LIMIT_EVENTS_PER_SECOND": "1000000",
    }
    async with running(sys.executable, "-m", "tests.e2e.slow_server", **(settings | environ)) as process:
        await answers(f"http://127.0.0.1:{port}/healthz")
        yield process, f"http://127.0.0.1:{port}"


@asynccontextmanager
async def entered(url: str) -> AsyncIterator[RawSocket]:
    async with raw_socket(url) as one:
        await one.send(ENTER)
        await one.expect('42/slow,["connected"')
        yield one


async def ended(server: Process, seconds: float = SOON) -> None:
    async with asyncio.timeout(seconds):
        assert await server.finish() == 0, server.output
    assert "Traceback" not in server.output


class Worker:
    """Sends on and on, without waiting for the acks, until it is closed."""

    def __init__(self, socket: RawSocket, name: int) -> None:
        self._socket = socket
        self._name = name
        self.acked: set[int] = set()
        self.code: int | None = None
        self.reconnect_after: list[int] = []
        self.refused: list[str] = []

    async def work(self) -> None:
        sending = asyncio.create_task(self._send())
        with contextlib.suppress(EOFError):
            while True:
                packet = await self._socket.expect("4")
                if ack := re.match(r"43/slow,\d+\[(.*)\]$", packet):
                    self.acked.add(json.loads(ack[1])["number"])
                elif packet.startswith('42/slow,["server_draining"'):
                    self.reconnect_after.append(json.loads(packet.partition(",")[2])[1]["reconnect_after_ms"])
        self.code = self._socket.socket.close_code
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    async def _send(self) -> None:
        with contextlib.suppress(ConnectionError):
            for number in range(self._name * 100_000, (self._name + 1) * 100_000):
                await self._socket.send(f'42/slow,{number}["work",{{"number":{number},"seconds":0.02}}]')
                await asyncio.sleep(0.01)  # twice as fast as they are done: some always wait


async def test_under_load_all_that_began_is_answered(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, serving(tmp_path) as (server, url):
        workers = [Worker(await stack.enter_async_context(entered(url)), name) for name in range(1, 21)]
        at_work = [asyncio.create_task(worker.work()) for worker in workers]
        await server.read_until("begun 2000020")
        server.signal(signal.SIGTERM)
        await asyncio.gather(*at_work)
        await ended(server)
    begun = {int(number) for number in re.findall(r"begun (\d+)", server.output)}
    assert len(begun) > 200
    assert begun == set().union(*(worker.acked for worker in workers))
    assert {worker.code for worker in workers} == {1001}
    told = [after for worker in workers for after in worker.reconnect_after]
    assert len(told) == 20
    assert len(set(told)) > 10, "staggered"


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_stock_clients_come_back_by_themselves(tmp_path: Path, transport: str) -> None:
    http = aiohttp.ClientSession()  # the stock client leaves its own open when a poll fails
    python = socketio.AsyncClient(http_session=http, reconnection_delay=0.05, reconnection_delay_max=0.1)
    heard: asyncio.Queue[str] = asyncio.Queue()
    python.on("*", lambda name, *payload: heard.put_nowait(name), namespace="/slow")

    async def hears(event: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while await heard.get() != event:
                pass

    port = free_port()
    node = ("node", PROGRAM, f"http://127.0.0.1:{port}", "/slow", transport)
    async with http, running(*node, NODE_NO_WARNINGS="1") as process:
        javascript = StockScript(process)
        async with serving(tmp_path, port) as (server, url):
            await javascript.tell("auth", {"token": token()})
            await javascript.tell("reconnect", True)
            await javascript.connect()
            await python.connect(url, namespaces=["/slow"], auth={"token": token()}, transports=[transport])
            await hears("connected")
            server.signal(signal.SIGTERM)
            await ended(server)
            for event in ("server_draining", "disconnecting_reason", "disconnect"):
                await javascript.expect(event)
            await hears("server_draining")
            await hears("disconnecting_reason")
        async with serving(tmp_path, port):
            await javascript.connected()
            await hears("connected")
            await python.shutdown()
        await javascript.end()


async def test_an_ack_to_a_client_that_polls_is_polled(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, url), poller(url) as one:
        await one.post(ENTER)
        await one.expect('42/slow,["connected"')
        await one.post('42/slow,1["work",{"number":7,"seconds":1}]')
        await server.read_until("begun 7")
        server.signal(signal.SIGTERM)
        await one.expect("43/slow,1")
        await one.expect('42/slow,["disconnecting_reason"')
        await ended(server)


async def test_it_takes_nobody_while_it_ends(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, url), aiohttp.ClientSession() as http, entered(url) as busy:
        async with http.get(f"{url}/healthz") as response:  # it keeps this connection
            assert response.status == 200
        await busy.send('42/slow,1["work",{"number":7,"seconds":2}]')
        await server.read_until("begun 7")
        server.signal(signal.SIGTERM)
        await busy.expect('42/slow,["server_draining"')
        async with http.get(f"{url}/socket.io/?EIO=4&transport=polling") as response:
            assert response.status == 503
        with pytest.raises(aiohttp.ClientConnectorError):
            async with aiohttp.ClientSession() as another, another.get(f"{url}/healthz"):
                pass
        await busy.expect("43/slow,1")
        assert await busy.closed() == 1001
        await ended(server)


async def test_a_handler_that_hangs_gets_its_deadline(tmp_path: Path) -> None:
    async with serving(tmp_path, WS_HANDLER_TIMEOUT="0.5") as (server, url), entered(url) as one:
        await one.send('42/slow,1["hang"]')
        await one.send('42/slow,2["work",{"number":7}]')
        await server.read_until("hanging")
        server.signal(signal.SIGTERM)
        assert "TIMEOUT" in await one.expect("43/slow,1")
        await one.expect("43/slow,2")
        assert await one.closed() == 1001
        await ended(server)


async def does_not_read(one: Wire) -> None:
    await one.send(ENTER)
    await one.expect('42/slow,["connected"')
    await one.send('42/slow,1["flood"]')


async def test_whatever_hangs_it_ends_in_time(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, WS_HANDLER_TIMEOUT="600") as (server, url),
        entered(url) as hanging,
        entered(url) as stubborn,
        wire(url) as deaf,
        poller(url) as away,
    ):
        await does_not_read(deaf)
        await away.post(ENTER)
        await hanging.send('42/slow,1["hang"]')
        await stubborn.send('42/slow,1["stubborn"]')
        await server.read_until("hanging")
        server.signal(signal.SIGTERM)
        await ended(server, EXIT_SECONDS + 1)


async def test_clients_that_do_not_read_or_poll_hold_nobody_up(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, url), wire(url) as deaf, poller(url) as away:
        await does_not_read(deaf)
        await away.post(ENTER)
        server.signal(signal.SIGTERM)
        await ended(server)


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, url), entered(url) as one:
        await one.send('42/slow,1["hang"]')
        await server.read_until("hanging")
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGTERM)  # a platform's and its parent's: still the first
        await one.expect('42/slow,["server_draining"')
        ending = asyncio.create_task(ended(server))
        while not ending.done():
            with contextlib.suppress(ProcessLookupError):
                server.signal(signal.SIGTERM)
            await asyncio.wait([ending], timeout=0.1)
        await ending
