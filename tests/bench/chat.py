"""What chat is made to do, on each database: messages that are stored and told, and the catching up of who was away."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from sqlalchemy import insert

from server.auth.tokens import mint
from server.migrations import upgrade
from server.namespaces.chat.models import ChatMessage, ChatParticipant, ChatSession
from server.namespaces.chat.search import bigrams
from server.storage.database import Database
from tests.bench.load import Client, Load
from tests.bench.peers import ATRIUM_CHAT, SECRET, STOCK_CHAT, Peer, Server, cpu_seconds, serving
from tests.bench.workloads import Figures, Target, Workload, measured
from tests.support.ports import free_port
from tests.support.postgres import postgres

NAMESPACE = "/chat"
ACKED = b'43/chat,7[{"ok":true'
SESSIONS, MEMBERS = 10, 10
STORED, MISSED = 1000, 200
CHARS = 100
WARM_MESSAGES, WARM_ALONE, WARM_JOINS = 1000, 20, 100  # every connection of a pool prepares its statements
SECONDS, ALONE_SECONDS = 4.0, 1.0
SAYING = "상담 대출 금리 문의 카드 한도 환불 please the order account how when it was again 감사합니다"


@dataclass(frozen=True, slots=True)
class Store:
    """A migrated database that runs; `cpu_seconds`: its own, where it is a server of its own."""

    url: str
    driver: str
    cpu_seconds: Callable[[], float]

    def database(self) -> Database:
        return Database(self.url.replace("://", f"+{self.driver}://", 1))


@contextmanager
def sqlite_store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as directory:
        yield _migrated(Store(f"sqlite:///{directory}/atrium.db", "aiosqlite", lambda: 0.0))


@contextmanager
def _postgresql() -> Iterator[Store]:
    """On the load's core, for servers have their database elsewhere."""
    with postgres(free_port()) as url:
        postmaster = int((Path(asyncio.run(_data_directory(url))) / "postmaster.pid").read_text().split()[0])

        def spent() -> float:
            backends = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
            return sum(map(cpu_seconds, [postmaster, *map(int, backends)]))

        yield _migrated(Store(url, "asyncpg", spent))


async def _data_directory(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SHOW data_directory"))
    finally:
        await connection.close()


def _migrated(store: Store) -> Store:
    upgrade(store.url.replace("://", f"+{store.driver}://", 1))
    return store


Kind = Callable[[], AbstractContextManager[Store]]
Sessions = dict[Client, str]


async def _fill(store: Store) -> None:
    """Sessions with their members, and what was said there yesterday."""
    database = store.database()
    began = datetime.now(UTC) - timedelta(days=1)
    said = _texts(1000)
    async with database.transaction() as db:
        for number in range(SESSIONS):
            session_id, users = _session(number), _members(number)
            await db.execute(
                insert(ChatSession),
                {
                    "session_id": session_id,
                    "trace_id": f"trace-{number}",
                    "user_id": users[0],
                    "last_seq": STORED,
                    "created_at": began,
                    "updated_at": began,
                },
            )
            await db.execute(insert(ChatParticipant), [{"session_id": session_id, "user_id": each} for each in users])
            rows = [
                {
                    "session_id": session_id,
                    "seq": seq,
                    "message_id": f"msg_{number}_{seq}",
                    "sender_type": "user",
                    "sender_id": users[seq % MEMBERS],
                    "message_type": "text",
                    "content": said[seq % len(said)],
                    "bigrams": bigrams(said[seq % len(said)]),
                    "created_at": began + timedelta(seconds=seq),
                }
                for seq in range(1, STORED + 1)
            ]
            await db.execute(insert(ChatMessage), rows)
    await database.close()


def _session(number: int) -> str:
    return f"session-{number}"


def _members(session: int) -> list[str]:
    return [f"user-{session}-{member}" for member in range(MEMBERS)]


def _texts(count: int) -> list[str]:
    words, dice = SAYING.split(), random.Random(5)  # noqa: S311
    return [" ".join(dice.choices(words, k=CHARS))[:CHARS] for _ in range(count)]


def _packet(event: str, payload: Mapping[str, object]) -> bytes:
    return f"42{NAMESPACE},7{json.dumps([event, payload], ensure_ascii=False)}".encode()


# -- under load -----------------------------------------------------------------------------------------------------


@contextmanager
def _joined(kind: Kind, peer: Peer, members: int) -> Iterator[tuple[Store, Server, Load, Sessions]]:
    """So many members of each session connected and in it; which session each is in."""
    users = [(_session(number), user) for number in range(SESSIONS) for user in _members(number)[:members]]
    with kind() as store:
        asyncio.run(_fill(store))
        with serving(peer, store.url) as server:
            load = Load(server.port, peer.dialect)
            load.connect([mint(SECRET, user) for _, user in users])
            sessions = {client: session_id for client, (session_id, _) in zip(load.clients, users, strict=True)}
            load.answer(ACKED, lambda client: None)
            for client, session_id in sessions.items():
                load.send(client, _packet("join", {"session_id": session_id, "after_seq": STORED}))
            load.receive(messages=len(users))
            yield store, server, load, sessions
            load.close()


@contextmanager
def _rated(store: Store, server: Server, load: Load, figures: Figures, name: str) -> Iterator[None]:
    """As `measured`, and how many a second, and what the database spends, which shares the load's core."""
    delivered, began, spent = load.delivered, time.monotonic(), store.cpu_seconds()
    with measured(server, load, figures):
        yield
    count, wall, spent = load.delivered - delivered, time.monotonic() - began, store.cpu_seconds() - spent
    figures |= {name: count / wall, "db CPU µs": 1e6 * spent / count}
    figures["load busy %"] += 100 * spent / wall


def _messages(kind: Kind, peer: Peer) -> Figures:
    """Each client says its next when the last is acked; then one does alone."""
    figures: Figures = {}
    alone: Figures = {}
    names = map("c-{}".format, itertools.count())
    texts = itertools.cycle(_texts(1000))
    with _joined(kind, peer, MEMBERS) as (store, server, load, sessions):
        talking = set(load.clients)

        def say(client: Client) -> None:
            if client in talking:
                content, name = next(texts), next(names)
                payload = {"session_id": sessions[client], "content": content, "client_message_id": name}
                packet = _packet("message", payload)
                client.sent_at = time.monotonic_ns()
                load.send(client, packet)

        load.answer(ACKED, say)
        for client in load.clients:
            say(client)
        load.receive(messages=WARM_MESSAGES)
        heard, acked = load.heard, load.delivered
        with _rated(store, server, load, figures, "msgs/s"):
            load.receive(seconds=SECONDS)
        figures["heard"] = (load.heard - heard) / (load.delivered - acked)
        talking.clear()
        load.receive(messages=len(load.clients))
        talking.add(load.clients[0])
        say(load.clients[0])
        load.receive(messages=WARM_ALONE)
        with measured(server, load, alone):
            load.receive(seconds=ALONE_SECONDS)
    return figures | {"p50 ms alone": alone["p50 ms"]}


def _catching_up(kind: Kind, peer: Peer) -> Figures:
    """One client of each session joins again when it is answered, and has always missed as much."""
    figures: Figures = {}
    with _joined(kind, peer, 1) as (store, server, load, sessions):

        def join(client: Client) -> None:
            client.sent_at = time.monotonic_ns()
            load.send(client, packets[client])

        packets = {
            client: _packet("join", {"session_id": session_id, "after_seq": STORED - MISSED})
            for client, session_id in sessions.items()
        }
        load.answer(ACKED, join)
        for client in load.clients:
            join(client)
        load.receive(messages=WARM_JOINS)
        with _rated(store, server, load, figures, "joins/s"):
            load.receive(seconds=SECONDS)
    return figures


MESSAGES = (
    "msgs/s",
    "p50 ms",
    "p99 ms",
    "p50 ms alone",
    "CPU µs",
    "db CPU µs",
    "heard",
    "server busy %",
    "load busy %",
)
CATCH_UP = ("joins/s", "p50 ms", "p99 ms", "CPU µs", "db CPU µs", "wire B", "server busy %", "load busy %")
KINDS: dict[str, tuple[str, Kind]] = {
    "sqlite": ("SQLite, in the server's process", sqlite_store),
    "postgres": ("PostgreSQL, without fsync, on the load's core and in its share", _postgresql),
}

CHAT_WORKLOADS = (
    *(
        Workload(
            f"chat_{name}",
            f"{SESSIONS} chat sessions with {MEMBERS} members and {STORED:,} messages each: all members send {CHARS}"
            f" characters, one message under way for each, which is stored, told to {MEMBERS} and acked; then one alone"
            f" does. {title}",
            MESSAGES,
            (ATRIUM_CHAT, STOCK_CHAT),
            (
                Target("msgs/s", STOCK_CHAT, 3.0, more_is_better=True),
                Target("heard", None, 0.99 * MEMBERS, more_is_better=True),
            ),
            functools.partial(_messages, kind),
        )
        for name, (title, kind) in KINDS.items()
    ),
    *(
        Workload(
            f"catch_up_{name}",
            f"{SESSIONS} clients join a session of {STORED:,} messages each, {MISSED} behind, time and again. {title}",
            CATCH_UP,
            (ATRIUM_CHAT, STOCK_CHAT),
            (),
            functools.partial(_catching_up, kind),
        )
        for name, (title, kind) in KINDS.items()
    ),
)
