"""A support desk whose sessions a test fills, and everybody who might come to it."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path

from server.identity import Identity
from server.namespaces.chat.namespace import ChatNamespace
from server.namespaces.chat.presence import session_room
from tests.conftest import Serve
from tests.support import running
from tests.support.client import PATIENCE, Client
from tests.support.files import chunks, picture
from tests.support.running import Running

ECHO, STUCK = 1, 2
AGENTS = f"""
[[agents]]
id = {ECHO}
name = "Echo"
backend = "tests.support.agents.Echo"
[[agents]]
id = {STUCK}
name = "Stuck"
backend = "tests.support.agents.Stuck"
"""
CONTENT = b"hello"  # of an upload, in one chunk


@dataclass(frozen=True)
class Caller:
    name: str
    sub: str
    roles: tuple[str, ...] = ()
    tenant: str | None = "acme"

    @property
    def identity(self) -> Identity:
        return Identity(self.sub, self.tenant, frozenset(self.roles))

    @property
    def token(self) -> str:
        return running.token(self.sub, roles=self.roles, tenant=self.tenant)


OWNER = Caller("owner", "alice")
PARTICIPANT = Caller("participant", "bob")
INSIDERS = (OWNER, PARTICIPANT, Caller("operator", "olga", ("operator",)), Caller("admin", "ada", ("admin",)))
OUTSIDERS = (
    Caller("stranger", "mallory"),
    # Staff of another tenant and of none, with the owner's own name: all that could open a session but its tenant.
    Caller("other tenant", "alice", ("operator", "admin"), "rival"),
    Caller("no tenant", "alice", ("operator", "admin"), None),
)
CALLERS = (*INSIDERS, *OUTSIDERS)


@dataclass(frozen=True)
class Ids:
    """Of a session of acme's: alice's, with bob in it."""

    session: str = "sess_unknown"
    message: str = "msg_unknown"
    file: str = "file_" + "0" * 32
    upload: str = "upload_" + "0" * 32
    user: str = "bob"


class Desk:
    """A server, and what happens in its sessions before a caller comes."""

    def __init__(self, server: Running, database: sqlite3.Connection) -> None:
        """`database`: the server's, by a way of our own that takes a tenth of the time."""
        self.server = server
        self.database = database
        chat = server.realtime._served["/chat"]
        assert isinstance(chat, ChatNamespace)
        self.chat = chat
        self.service = chat.service
        self._numbers = itertools.count()

    async def session(self, agent: int | None = None) -> Ids:
        ids = Ids(session=f"s-{next(self._numbers)}-")
        await asyncio.to_thread(self._insert, ids.session, agent)  # the loop may be amid a transaction of its own
        return ids

    def _insert(self, session_id: str, agent: int | None) -> None:
        with self.database:
            self.database.execute("DELETE FROM chat_uploads")  # a user may have few at once
            self.database.execute(
                "INSERT INTO chat_sessions (session_id, tenant, user_id, agent_id) VALUES (?, 'acme', 'alice', ?)",
                (session_id, agent),
            )
            self.database.executemany(
                "INSERT INTO chat_participants (session_id, user_id) VALUES (?, ?)",
                [(session_id, each.sub) for each in (OWNER, PARTICIPANT)],
            )

    async def echoing(self) -> Ids:
        return await self.session(ECHO)

    async def said(self) -> Ids:
        ids = await self.session()
        sent = await self.service.conversation.send(OWNER.identity, ids.session, "hello")
        return replace(ids, message=str(sent["message_id"]))

    async def answering(self) -> Ids:
        """An agent is, and gets no further."""
        ids = await self.session(STUCK)
        said = asyncio.get_running_loop().create_future()

        def hear(event: str, payload: Mapping[str, object]) -> None:
            if event == "stream_chunk":
                said.set_result(str(payload["message_id"]))

        await self.service.conversation.send(OWNER.identity, ids.session, "hello", listener=hear)
        async with asyncio.timeout(PATIENCE):
            return replace(ids, message=await said)

    async def stored(self) -> Ids:
        """A file, which no message says yet."""
        ids = await self.session()
        file = await self.service.files.store(OWNER.identity, ids.session, "a.png", chunks(picture("PNG", (8, 8))))
        return replace(ids, file=file.file_id)

    async def attached(self) -> Ids:
        ids = await self.stored()
        sent = await self.service.conversation.attach(OWNER.identity, ids.session, ids.file)
        return replace(ids, message=str(sent["message_id"]))

    async def detached(self) -> Ids:
        """The message that said the file was deleted."""
        ids = await self.attached()
        await self.service.conversation.delete(OWNER.identity, ids.session, ids.message)
        return ids

    async def uploading(self) -> Ids:
        ids = await self.session()
        begun = await self.service.uploads.start(OWNER.identity, ids.session, "a.txt", len(CONTENT), "text/plain")
        return replace(ids, upload=str(begun["upload_id"]))

    async def uploaded(self) -> Ids:
        ids = await self.uploading()
        await self.service.uploads.chunk(OWNER.identity, ids.upload, 0, CONTENT)
        return ids

    async def crowded(self) -> Ids:
        ids = await self.session()
        await self.service.directory.invite(OWNER.identity, ids.session, "carol")
        return replace(ids, user="carol")

    async def asked(self) -> Ids:
        ids = await self.session()
        await self.service.handover.request(OWNER.identity, ids.session)
        return ids

    async def taken(self) -> Ids:
        ids = await self.session()
        await self.service.handover.accept(Identity("otto", "acme", frozenset({"operator"})), ids.session)
        return ids

    async def removed(self) -> Ids:
        """Bob is, who had joined."""
        ids = await self.said()
        await self.service.directory.remove(OWNER.identity, ids.session, PARTICIPANT.sub)
        return ids

    def rows(self, session_id: str) -> object:
        """All that is stored of a session."""
        tables = ("sessions", "participants", "messages", "files", "uploads")
        return [
            self.database.execute(f"SELECT * FROM chat_{table} WHERE session_id = ?", (session_id,)).fetchall()  # noqa: S608
            for table in tables
        ]

    @asynccontextmanager
    async def untouched(self, witness: Client, session_id: str) -> AsyncIterator[list[str]]:
        """Gives what changes, in a session, and what is heard there of what happens in the block."""
        [connection] = [each for each in self.chat.connections if each.id == witness.sio.get_sid("/chat")]
        room = session_room(OWNER.tenant, session_id)
        await self.chat.enter(connection, room)
        before, heard = self.rows(session_id), len(witness.received)
        found: list[str] = []
        yield found
        await witness.settle()
        found += [event for event, payload in witness.received[heard:] if payload.get("session_id") == session_id]
        if self.rows(session_id) != before:
            found.append("rows")
        await self.chat.leave(connection, room)


@asynccontextmanager
async def opened(serve: Serve, sqlite_url: str, folder: Path, **environ: object) -> AsyncIterator[Desk]:
    config = folder / "config"
    await asyncio.to_thread(_configure, config)
    server = await serve(
        CONFIG_DIR=config,
        FILE_STORAGE_PATH=folder / "files",
        CHAT_AUTO_CREATE_SESSIONS="false",
        CHAT_DEFAULT_AGENT="",
        TRADING_FEED="none",
        **{"RATE_LIMIT_MESSAGES_PER_MINUTE": 1_000_000, **environ},
    )
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), check_same_thread=False)) as database:
        yield Desk(server, database)


def _configure(config: Path) -> None:
    """The repository's, but for the agents."""
    config.mkdir()
    for path in Path("config").iterdir():
        (config / path.name).symlink_to(path.resolve())
    (config / "agents.toml").unlink()
    (config / "agents.toml").write_text(AGENTS)
