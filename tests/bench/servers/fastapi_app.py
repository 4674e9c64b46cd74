"""FastAPI on uvicorn with the broadcast loop that tutorials teach; JSON without Socket.IO, and no token."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from tests.bench.servers.emitting import emitting

app = FastAPI()
connections: list[WebSocket] = []
tasks: set[asyncio.Task[None]] = set()


async def broadcast(payload: dict[str, Any]) -> None:
    text = json.dumps(payload, separators=(",", ":"))
    for connection in connections:
        await connection.send_text(text)


@app.websocket("/ws")
async def serve(websocket: WebSocket) -> None:
    await websocket.accept()
    connections.append(websocket)
    try:
        while True:
            command = await websocket.receive_json()
            task = asyncio.create_task(emitting(broadcast, **command))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    except WebSocketDisconnect:
        connections.remove(websocket)


class Server(uvicorn.Server):
    async def startup(self, *arguments: Any, **options: Any) -> None:
        await super().startup(*arguments, **options)
        print("READY", flush=True)  # noqa: T201


if __name__ == "__main__":
    config = uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
    Server(config).run()
