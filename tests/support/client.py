"""A stock Python Socket.IO client that keeps what it received, so that tests await events instead of sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import socketio

PATIENCE = 10  # seconds; a bound on hanging, never an assertion


class Client:
    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.sio = socketio.AsyncClient(reconnection=False, logger=False)
        self.received: list[tuple[str, Any]] = []
        self._changed = asyncio.Condition()
        self._taken: set[int] = set()
        self.sio.on("*", self._receive, namespace=namespace)
        self.sio.on("disconnect", self._left, namespace=namespace)
        self.sio.on("connect_error", self._refused, namespace=namespace)

    async def connect(
        self,
        url: str,
        token: str | None = None,
        *,
        transports: list[str] | None = None,
        headers: dict[str, str] | None = None,
        auth: dict[str, Any] | None = None,
    ) -> None:
        if token is not None:
            auth = {"token": token, **(auth or {})}
        await self.sio.connect(
            url,
            namespaces=[self.namespace],
            auth=auth,
            transports=transports or ["websocket"],
            headers=headers or {},
            wait_timeout=PATIENCE,
        )

    async def call(self, event: str, payload: Any = None) -> Any:
        """The ack."""
        return await self.sio.call(
            event, {} if payload is None else payload, namespace=self.namespace, timeout=PATIENCE
        )

    async def emit(self, event: str, payload: Any = None) -> None:
        await self.sio.emit(event, {} if payload is None else payload, namespace=self.namespace)

    def answer(self, event: str, handler: Callable[[Any], Any]) -> None:
        """Answers a question of the server by ack; the question is kept in `received` too."""

        async def answer(payload: Any) -> Any:
            await self._receive(event, payload)
            return handler(payload)

        self.sio.on(event, answer, namespace=self.namespace)

    async def expect(self, event: str, matching: Callable[[Any], bool] = lambda payload: True) -> Any:
        """The payload of the oldest such event that no earlier `expect` took; waits for it."""
        async with asyncio.timeout(PATIENCE), self._changed:
            while True:
                for index, (name, payload) in enumerate(self.received):
                    if index not in self._taken and name == event and matching(payload):
                        self._taken.add(index)
                        return payload
                await self._changed.wait()

    def payloads(self, event: str) -> list[Any]:
        """All payloads of that event so far."""
        return [payload for name, payload in self.received if name == event]

    async def settle(self) -> None:
        """Everything the server sent before now has arrived: a ping went behind it and came back."""
        await self.call("ping")

    async def close(self) -> None:
        await self.sio.disconnect()
        await self.sio.shutdown()

    async def _receive(self, event: str, payload: Any = None) -> None:
        async with self._changed:
            self.received.append((event, payload))
            self._changed.notify_all()

    async def _left(self, reason: str = "") -> None:
        await self._receive("disconnect", reason)

    async def _refused(self, data: Any = None) -> None:
        await self._receive("connect_error", data)
