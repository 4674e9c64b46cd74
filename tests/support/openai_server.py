"""A little endpoint of OpenAI's chat completions that can be slow, broken, busy, or gone in the middle of a word."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

from aiohttp import web

Behaviour = Callable[["OpenAIServer", web.Request], Awaitable[web.StreamResponse]]


class OpenAIServer:
    """Each request takes the next of `script`; when there is none, the answer is `says("Hello.")`."""

    def __init__(self) -> None:
        self.script: deque[Behaviour] = deque()
        self.requests: list[dict[str, Any]] = []  # their bodies
        self.headers: list[Mapping[str, str]] = []
        self.stalled = asyncio.Event()  # a request waits for what will not come
        self.gone = asyncio.Event()  # its client has hung up
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        self.headers.append(request.headers)
        behaviour = self.script.popleft() if self.script else says("Hello.")
        return await behaviour(self, request)

    async def stall(self) -> None:
        self.stalled.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.gone.set()


def says(*pieces: str, finish: str = "stop", tokens: int | None = 42) -> Behaviour:
    """As a good endpoint does."""

    async def behave(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
        response = await _begin(request, pieces)
        await _send(response, _chunk({}, finish))
        if tokens is not None:
            await _send(response, {"choices": [], "usage": {"total_tokens": tokens}})
        await response.write(b"data: [DONE]\n\n")
        return response

    return behave


def calls(*made: tuple[str, str], text: str = "", numbered: bool = True) -> Behaviour:
    """Names of tools and their arguments, in pieces; some endpoints do not number calls."""

    async def behave(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
        response = await _begin(request, (text,) if text else ())
        for at, (name, arguments) in enumerate(made):
            index = at if numbered else 0
            first = {"index": index, "id": f"theirs-{at}", "type": "function", "function": {"name": name}}
            await _send(response, _chunk({"tool_calls": [first]}))
            for piece in (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]):
                await _send(response, _chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
        await _send(response, _chunk({}, "tool_calls"))
        await response.write(b"data: [DONE]\n\n")
        return response

    return behave


def fails(status: int, *, code: str | None = None, message: str = "no", **headers: str) -> Behaviour:
    async def behave(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response({"error": {"message": message, "code": code}}, status=status, headers=named)

    return behave


def cut(*pieces: str) -> Behaviour:
    """The connection breaks."""

    async def behave(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
        response = await _begin(request, pieces)
        assert request.transport is not None
        request.transport.close()
        return response

    return behave


def ends(*pieces: str) -> Behaviour:
    """It stops in good order, but without a finish_reason."""

    async def behave(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
        return await _begin(request, pieces)

    return behave


def stalls(*pieces: str, finish: str | None = None, raw: str = "") -> Behaviour:
    """`raw`: a line of the body to end with."""

    async def behave(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
        response = await _begin(request, pieces)
        if raw:
            await response.write(f"{raw}\n\n".encode())
        if finish:
            await _send(response, _chunk({}, finish))
        await server.stall()
        return response

    return behave


async def silent(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    """Not even a status."""
    await server.stall()
    raise AssertionError("unreachable")


def sends(*lines: str, content_type: str = "text/event-stream") -> Behaviour:
    """These lines of a body, whatever they are."""

    async def behave(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
        return web.Response(text="\n\n".join([*lines, ""]), content_type=content_type)

    return behave


async def _begin(request: web.Request, pieces: tuple[str, ...]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b": a comment\n\n")
    await _send(response, _chunk({"role": "assistant", "content": ""}))
    for piece in pieces:
        await _send(response, _chunk({"content": piece}))
    return response


def _chunk(delta: Mapping[str, object], finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": None}


async def _send(response: web.StreamResponse, chunk: Mapping[str, object]) -> None:
    await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
