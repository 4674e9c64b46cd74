"""SPEC §8: nodes come and go, by order and by accident, and clients that ask for recovery notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import socketio

from tests.support.cluster import Nodes
from tests.support.process import PATIENCE, ROOT, Process, running
from tests.support.redis import RedisServer
from tests.support.running import token

pytestmark = pytest.mark.e2e

SESSION = "s1"
READERS = 6


class Crowd:
    """Stock JavaScript clients in one process; what each of them heard."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.seqs: list[list[int]] = [[] for _ in range(READERS)]
        self.recovered: list[list[bool]] = [[] for _ in range(READERS)]
        self._joined = 0
        self._heard = asyncio.Condition()

    async def listen(self) -> None:
        stdout = self._process.process.stdout
        assert stdout is not None
        while line := await stdout.readline():
            client, event, payload = json.loads(line)
            if event == "connect":
                self.recovered[client].append(payload)
            elif event == "message":
                self.seqs[client].append(payload["seq"])
            elif event == "joined":
                self._joined += 1
            async with self._heard:
                self._heard.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(PATIENCE), self._heard:
                await self._heard.wait_for(condition)
        except TimeoutError:
            heard = [
                f"{seqs[-5:]} of {len(seqs)}, recovered {told}"
                for seqs, told in zip(self.seqs, self.recovered, strict=True)
            ]
            pytest.fail("not in time; each client's last: " + "; ".join(heard))

    async def joined(self) -> None:
        await self.until(lambda: self._joined == READERS)

    async def heard(self, newest: int) -> None:
        await self.until(lambda: all(seqs and seqs[-1] >= newest for seqs in self.seqs))


class Sender:
    """A chat client as it should be: what was not acked it sends again, under the same id, to whatever node lives."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        self._socket: socketio.AsyncClient | None = None
        self.acked: list[int] = []
        self.stopped = False

    async def send_all(self) -> None:
        number = 0
        while not self.stopped:
            number += 1
            message = {"session_id": SESSION, "content": str(number), "client_message_id": f"m{number}"}
            self.acked.append(await self._send(message))
        if self._socket is not None:
            await self._socket.disconnect()

    async def _send(self, message: dict[str, Any]) -> int:
        while True:
            try:
                socket = await self._connected()
                ack = await socket.call("message", message, namespace="/chat", timeout=3)
                return int(ack["seq"])
            except socketio.exceptions.SocketIOError:
                await self._leave()

    async def _connected(self) -> socketio.AsyncClient:
        if self._socket is None or not self._socket.connected:
            await self._leave()
            self._urls.append(self._urls.pop(0))
            self._socket = socketio.AsyncClient(reconnection=False)
            auth = {"token": token("sender", roles=["operator"])}
            await self._socket.connect(self._urls[0], auth=auth, namespaces=["/chat"], transports=["websocket"])
        return self._socket

    async def _leave(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.disconnect()
        await asyncio.sleep(0.05)  # a node that is gone refuses at once, and another may not have started


@asynccontextmanager
async def talking(nodes: Nodes) -> AsyncIterator[tuple[Crowd, Sender]]:
    program = ROOT / "tests" / "clients" / "roaming.mjs"
    reader = token("reader", roles=["operator"])
    async with running("node", program, reader, SESSION, ",".join(nodes.urls), str(READERS)) as process:
        crowd, sender = Crowd(process), Sender(list(nodes.urls))
        listening = asyncio.create_task(crowd.listen())
        await crowd.joined()
        sending = asyncio.create_task(sender.send_all())
        yield crowd, sender
        sender.stopped = True
        await sending
        await crowd.heard(sender.acked[-1])
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening


@asynccontextmanager
async def three_nodes(tmp_path: Path, postgres_url: str) -> AsyncIterator[Nodes]:
    async with (
        RedisServer() as redis,
        Nodes(tmp_path, database_url=postgres_url, redis_urls=[redis.url] * 3) as nodes,
    ):
        yield nodes


def assert_all_heard_all(crowd: Crowd, sender: Sender) -> None:
    assert sender.acked == list(range(1, len(sender.acked) + 1)), "acked in order, none twice"
    for seqs in crowd.seqs:
        assert seqs == sender.acked, "nothing lost, nothing twice, in order"


async def test_a_rolling_restart_loses_and_doubles_nothing(tmp_path: Path, postgres_url: str) -> None:
    async with three_nodes(tmp_path, postgres_url) as nodes:
        async with talking(nodes) as (crowd, sender):
            for node in range(len(nodes)):
                assert await nodes.terminate(node) == 0
                await nodes.start(node)
            assert sum(map(len, crowd.recovered)) > READERS, "somebody had to move"
        assert_all_heard_all(crowd, sender)
        assert all(all(recovered[1:]) for recovered in crowd.recovered)


async def test_a_killed_nodes_clients_are_recovered_on_another(tmp_path: Path, postgres_url: str) -> None:
    async with three_nodes(tmp_path, postgres_url) as nodes:
        async with talking(nodes) as (crowd, sender):
            for node in range(len(nodes)):
                moved = sum(map(len, crowd.recovered))
                await nodes.kill(node)
                await crowd.until(lambda moved=moved: sum(map(len, crowd.recovered)) > moved)  # type: ignore[misc]
                await nodes.start(node)
        assert_all_heard_all(crowd, sender)
        assert all(all(recovered[1:]) for recovered in crowd.recovered)
