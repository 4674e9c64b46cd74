"""How a member of the crowd reaches the cluster: by a stock client, which comes back to another node than it lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from socketio.exceptions import SocketIOError

from clients.python.recovery import RecoveringClient

NAMESPACE = "/chat"
ACK_SECONDS = 5
RETURN_SECONDS = (0.5, 1.5)  # the stock clients' first delay before they come back
PROGRAM = Path(__file__).with_name("member.mjs")
MAX_LINE_BYTES = 2**24  # a join is answered with 200 messages


class Unanswered(Exception):
    """No ack came in time, or the connection was lost first: it may have been done or not."""


class Listener(Protocol):
    def connected(self, recovered: bool) -> None: ...

    def disconnected(self) -> None: ...

    def refused(self, code: str) -> None: ...

    def received(self, message: Mapping[str, Any]) -> None: ...


class Link(Protocol):
    async def run(self, listener: Listener) -> None:
        """Connects, and again whenever it is lost, until cancelled."""

    async def call(self, event: str, payload: Mapping[str, object]) -> dict[str, Any]:
        """The ack. Raises Unanswered."""


class PythonLink:
    def __init__(self, urls: Sequence[str], token: str, chance: random.Random) -> None:
        """`urls[0]` is where it goes first."""
        self._urls = urls
        self._token = token
        self._chance = chance
        self._lost = asyncio.Event()

    async def run(self, listener: Listener) -> None:
        async def connected() -> None:
            self._lost.clear()
            listener.connected(self._client.recovered)

        async def refused(reason: Any = None) -> None:
            listener.refused(str(reason.get("data", reason).get("code")) if isinstance(reason, dict) else "unreachable")

        async def received(message: Mapping[str, Any]) -> None:
            listener.received(message)

        async with aiohttp.ClientSession() as http:
            self._client = RecoveringClient(reconnection=False, handle_sigint=False, http_session=http)
            for event, handler in (("connect", connected), ("connect_error", refused), ("message", received)):
                self._client.on(event, handler, namespace=NAMESPACE)
            url = self._urls[0]
            try:
                while True:
                    await self._connect_until_lost(url)
                    if not self._lost.is_set():
                        self._lost.set()
                        listener.disconnected()
                    await asyncio.sleep(self._chance.uniform(*RETURN_SECONDS))
                    url = self._chance.choice([other for other in self._urls if other != url] or self._urls)
            finally:
                await self._client.disconnect()
                await self._client.shutdown()

    async def _connect_until_lost(self, url: str) -> None:
        auth = self._client.asking({"token": self._token})
        options: dict[str, Any] = {"namespaces": [NAMESPACE], "transports": ["websocket"], "wait_timeout": ACK_SECONDS}
        try:
            await self._client.connect(url, auth=auth, **options)
            await self._client.eio.wait()
            if self._client.connected:  # it was lost while it connected, and the client did not see it
                await self._client.disconnect()
        except SocketIOError:
            pass

    async def call(self, event: str, payload: Mapping[str, object]) -> dict[str, Any]:
        answer = asyncio.ensure_future(self._call(event, payload))
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait([answer, lost], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Unanswered
            return answer.result()
        finally:
            answer.cancel()
            lost.cancel()

    async def _call(self, event: str, payload: Mapping[str, object]) -> dict[str, Any]:
        try:
            return dict(await self._client.call(event, dict(payload), namespace=NAMESPACE, timeout=ACK_SECONDS))
        except SocketIOError:
            raise Unanswered from None


class JavaScriptLink:
    def __init__(self, urls: Sequence[str], token: str) -> None:
        """`urls[0]` is where it goes first."""
        self._command = ("node", str(PROGRAM), token, *urls)
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        self._input: asyncio.StreamWriter | None = None

    async def run(self, listener: Listener) -> None:
        async with AsyncExitStack() as stack:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=MAX_LINE_BYTES,
            )
            stack.push_async_callback(_end, process)
            assert process.stdout is not None
            self._input = process.stdin
            hear: dict[str, Callable[..., object]] = {
                "ack": self._acked,
                "connect": listener.connected,
                "disconnect": listener.disconnected,
                "refused": listener.refused,
                "message": listener.received,
            }
            async for line in process.stdout:
                event, *arguments = json.loads(line)
                hear[event](*arguments)
            raise RuntimeError(f"{PROGRAM.name} ended")

    async def call(self, event: str, payload: Mapping[str, object]) -> dict[str, Any]:
        assert self._input is not None
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self._input.write(f"{json.dumps([number, event, payload])}\n".encode())
            await self._input.drain()
            answer = await self._answers[number]
        finally:
            del self._answers[number]
        if answer is None:
            raise Unanswered
        return answer

    def _acked(self, number: int, answer: dict[str, Any] | None) -> None:
        waiting = self._answers.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()
