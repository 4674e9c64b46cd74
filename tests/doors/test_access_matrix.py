"""Who may do what by plain doors: into each door, and every event of chat as `tests/namespaces/chat` has it."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from tests.conftest import Connect, Serve
from tests.doors.plain import Plain, plain
from tests.namespaces.chat.test_access_matrix import EVENTS, Call, Row, check
from tests.support.desk import CALLERS, INSIDERS, OUTSIDERS, OWNER, Caller, Desk, Ids, opened

ROWS = [row for row in EVENTS if row.name != "upload_chunk"]  # whose data is binary: files go by HTTP
DOORS = ("/ws/monitor", "/ws/copilot", "/ws/trading/{}", "/ws/chat/{}", "/api/v1/chat/ws/{}", "/ws/{}")


def entering(desk: Desk, path: str, caller: Caller, **claims: Any) -> AbstractAsyncContextManager[Plain]:
    return plain(desk.server, path, caller.sub, roles=caller.roles, tenant=caller.tenant, **claims)


async def reply(client: Plain, name: str) -> Mapping[str, Any]:
    """To what was sent last."""
    while (said := await client.next())["type"] != "pong":
        if said["type"] in ("ack", "error") and said["event"] == name:
            break
    return said


@pytest_asyncio.fixture
async def desk(serve: Serve, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(serve, sqlite_url, tmp_path) as desk:
        yield desk


@pytest_asyncio.fixture
async def by_door(desk: Desk) -> AsyncIterator[tuple[Call, dict[Caller, Plain]]]:
    """Each caller is behind the door of a session of their own: what they do with another is said in the event."""
    async with AsyncExitStack() as stack:
        clients: dict[Caller, Plain] = {}
        for caller in CALLERS:
            own = await desk.service.directory.create(caller.identity)
            client = entering(desk, f"/ws/chat/{own['session_id']}", caller)
            clients[caller] = await stack.enter_async_context(client)
            assert (await clients[caller].expect("ack"))["event"] == "join"

        async def ask(caller: Caller, name: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
            await clients[caller].send(name, **fields)
            return await reply(clients[caller], name)

        async def call(row: Row, caller: Caller, ids: Ids) -> tuple[Mapping[str, Any] | None, str]:
            if row.joined:
                await ask(caller, "join", {"session_id": ids.session})
            fields = {"token": caller.token} if row.name == "authenticate" else row.sends(ids)
            anywhere = {"session_id": None} if row.name in ("search", "stream_cancel") else {}  # or the path says where
            said = await ask(caller, row.name, {**anywhere, **fields})
            error = {name: value for name, value in said.items() if name not in ("type", "event", "timestamp")}
            return error if said["type"] == "error" else None, json.dumps(said)

        yield call, clients


async def test_events(desk: Desk, by_door: tuple[Call, dict[Caller, Plain]], connect: Connect) -> None:
    call, clients = by_door
    witness = await connect(desk.server, "/chat", OWNER.sub, tenant=OWNER.tenant)
    found = {row.key: await check(row, desk, call, witness) for row in ROWS}
    assert found == {row.key: row.expected for row in ROWS}
    for outsider in OUTSIDERS:
        heard = {said["type"] for said in clients[outsider].received}
        assert heard <= {"connected", "ack", "pong", "error"}


async def test_doors(desk: Desk) -> None:
    """Whoever may not be in a session does not get in, and is told the same of one that there is not."""
    ids = await desk.session()
    found: dict[str, str] = {}
    for door in DOORS:
        async with plain(desk.server, door.format(ids.session)) as nobody:
            found[door] = await entered(nobody)
        for lifetime in (3600, -3600):
            for caller in CALLERS:
                async with entering(desk, door.format(ids.session), caller, lifetime=lifetime) as client:
                    found[door] += " " + await entered(client)
    in_session = " ".join(["1008", *["in"] * len(INSIDERS), *["1008"] * len(OUTSIDERS), *["4001"] * len(CALLERS)])
    anywhere = " ".join(["1008", *["in"] * len(CALLERS), *["4001"] * len(CALLERS)])
    anybody = anywhere.replace("1008", "in")
    assert found == dict(zip(DOORS, [anybody, anywhere, anywhere, in_session, in_session, in_session], strict=True))
    refusals = set()
    for session, door in itertools.product((ids.session, "no-such-session"), DOORS[3:]):
        async with entering(desk, door.format(session), OUTSIDERS[0]) as stranger:
            assert await stranger.closed() == 1008
        refusals.add((stranger.received[-1]["code"], stranger.received[-1]["message"]))
    assert len(refusals) == 1


async def entered(client: Plain) -> str:
    """`in`, or the code that it was closed with."""
    try:
        await client.settle()
    except ConnectionClosed:
        return str(client.socket.close_code)
    return "in"
