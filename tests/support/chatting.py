"""Chat through stock clients: what users and operators do there, and servers whose agent is scripted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from server.identity import Identity
from server.namespaces.chat.service import ChatService
from tests.support.client import Client
from tests.support.managers import until_up
from tests.support.redis import RedisServer
from tests.support.running import Running
from tests.support.streaming import Scripted

AGENTS = '[[agents]]\nid = 1\nname = "Test"\nbackend = "tests.support.streaming.scripted"\n'
OPERATOR = ("operator",)
FORBIDDEN = {"code": "FORBIDDEN", "message": "You may not use this session"}


async def say(client: Client, content: str, session_id: str = "s1", **more: object) -> Any:
    return await client.call("message", {"session_id": session_id, "content": content, **more})


async def join(client: Client, session_id: str = "s1", **more: object) -> Any:
    return await client.call("join", {"session_id": session_id, **more})


async def start(
    serve: Callable[..., Awaitable[Running]], redis: RedisServer | None, **environ: object
) -> tuple[Running, Running]:
    """The same node twice; with Redis, two that know of each other."""
    settings = {"TRADING_FEED": "none", **environ}
    if redis is None:
        return (server := await serve(**settings)), server
    here, there = [await serve(REDIS_URL=redis.url, **settings) for _ in range(2)]
    await until_up(*(each.realtime.node for each in (here, there) if each.realtime.node is not None))
    return here, there


def chat(server: Running) -> ChatService:
    found: ChatService = server.realtime._served["/chat"].service  # type: ignore[attr-defined]
    return found


async def invite(server: Running, user_id: str, session_id: str = "s1", *, by: str = "alice") -> None:
    await chat(server).directory.invite(Identity(by), session_id, user_id)


async def fence(server: Running, client: Client, user_id: str) -> None:
    """Whatever this node has told the user before now has arrived at their client, which may be on another."""
    made = await chat(server).directory.create(Identity("fence"))
    session_id = str(made["session_id"])
    await invite(server, user_id, session_id, by="fence")
    await client.expect("notification", lambda told: told["session_id"] == session_id)


def config(path: Path) -> Path:
    """The server's configuration at `path`, with one agent that says what `scripted` is told."""
    path.mkdir()
    for each in Path("config").iterdir():
        if each.name != "agents.toml":
            (path / each.name).symlink_to(each.resolve())
    (path / "agents.toml").write_text(AGENTS)
    return path


def scripted(server: Running) -> Scripted:
    found = chat(server).conversation._agents[1].backend
    assert isinstance(found, Scripted)
    return found
