"""The stock Python `socketio` client, playing the same scenarios as scenario.mjs, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import socketio

PATIENCE = 10


def say(mark: str, name: str, payload: object) -> None:
    print(mark, name, json.dumps(payload, ensure_ascii=False, separators=(",", ":")), flush=True)  # noqa: T201


class Client:
    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.socket = socketio.AsyncClient(reconnection=False)
        self.received: list[tuple[str, Any]] = []
        self.changed = asyncio.Event()
        for name in ("connect_error", "*"):
            handler = self._refused if name == "connect_error" else self.arrive
            self.socket.on(name, handler, namespace=namespace)

    async def open(self, url: str, auth: dict[str, object], transports: list[str]) -> None:
        await self.socket.connect(url, namespaces=[self.namespace], auth=auth, transports=transports)

    async def _refused(self, data: object) -> None:
        await self.arrive("connect_error", data)

    async def arrive(self, name: str, payload: Any = None) -> None:
        say("<", name, payload)
        self.received.append((name, payload))
        self.changed.set()

    def answer(self, name: str, payload: object) -> None:
        async def answer(question: object) -> object:
            await self.arrive(name, question)
            say(">", "ack", payload)
            return payload

        self.socket.on(name, answer, namespace=self.namespace)

    async def call(self, name: str, payload: dict[str, object]) -> Any:
        say(">", name, payload)
        ack = await self.socket.call(name, payload, namespace=self.namespace, timeout=PATIENCE)
        say("=", name, ack)
        return ack

    async def expect(self, name: str, matching: Callable[[Any], bool] = lambda payload: True) -> Any:
        async with asyncio.timeout(PATIENCE):
            while True:
                for index, (each, payload) in enumerate(self.received):
                    if each == name and matching(payload):
                        return self.received.pop(index)[1]
                self.changed.clear()
                await self.changed.wait()


async def monitor(client: Client, transport: str) -> None:
    await client.expect("connection_status")
    for _ in range(2):
        await client.expect("equipment_status")
    await client.call("ping", {"timestamp": "2025-11-03T10:30:45.123Z"})


async def trading(client: Client, transport: str) -> None:
    await client.expect("connected")
    await client.call("subscribe", {"channel": "ticks:005930"})
    first = await client.expect("tick")
    await client.expect("tick", lambda tick: tick["seq"] == first["seq"] + 1)
    await client.call("unsubscribe", {"channel": "ticks:005930"})
    await client.call("subscribe", {"channel": "general"})
    await client.call("chat_message", {"message": "테슬라 주식 분석 요청"})
    await client.expect("chat_message")
    await client.call("subscribe", {})
    await client.call("publish", {"channel": "user:py", "type": "news", "data": {"text": "for you"}})
    await client.expect("news")


async def chat(client: Client, transport: str) -> None:
    session = f"py-{transport}"
    await client.expect("connected")
    await client.call("join", {"session_id": session})
    message: dict[str, object] = {
        "session_id": session,
        "content": "대출 금리가 얼마인가요?",
        "client_message_id": "m1",
    }
    await client.call("message", message)
    await client.expect("stream_end")
    await client.call("message", message)
    await client.call("leave", {"session_id": session})


async def copilot(client: Client, transport: str) -> None:
    dataset = {"name": "cloud_costs", "description": "Cloud cost by service", "columns": ["service", "cost"]}
    client.answer("request_available_data", {"datasets": [dataset]})
    await client.expect("connected")
    await client.call("query", {"text": "top 2 services by cost"})
    question = await client.expect("request_api")
    answer: dict[str, object] = {
        "requestId": question["requestId"],
        "data": [
            {"service": "EC2", "cost": 30},
            {"service": "S3", "cost": 10},
            {"service": "RDS", "cost": 20},
        ],
    }
    await client.call("api_result", answer)
    await client.expect("response")
    await client.call("api_result", answer)


async def refused(client: Client, transport: str) -> None:
    await client.expect("connect_error")


async def meet(client: Client, transport: str) -> None:
    """The other half of scenario.mjs's: comes second, answers the hello."""
    await client.call("join", {"session_id": "meeting"})
    await client.expect("message", lambda message: message["content"] == "hello from js")
    await client.call("message", {"session_id": "meeting", "content": "hello from python"})


async def main(scenario: str, url: str, token: str, transport: str) -> None:
    play = {
        "monitor": monitor,
        "trading": trading,
        "chat": chat,
        "copilot": copilot,
        "refused": refused,
        "meet": meet,
    }[scenario]
    client = Client("/" + {"refused": "chat", "meet": "chat"}.get(scenario, scenario))
    auth: dict[str, object] = {} if scenario == "monitor" else {"token": "garbage" if scenario == "refused" else token}
    transports = ["polling", "websocket"] if transport == "upgrade" else [transport]
    try:
        await client.open(url, auth, transports)
    except socketio.exceptions.ConnectionError:
        if scenario != "refused":
            raise
    await play(client, transport)
    if transport == "upgrade" and client.socket.connected:
        say("<", "transport", {"name": client.socket.eio.transport()})
    await client.socket.disconnect()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
