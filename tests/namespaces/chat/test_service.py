"""What the service does that no socket shows; the rest of its rules are tried through sockets in test_namespace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Hashable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.errors import LimitExceeded
from server.identity import Identity
from server.namespaces.chat import messages
from server.namespaces.chat.files import Files
from server.namespaces.chat.service import ChatService, Options
from server.namespaces.chat.thumbnails import Thumbnails
from server.namespaces.chat.uploads import Uploads
from server.realtime.connection import Connection
from server.realtime.tasks import Tasks
from server.storage.database import Database
from server.storage.files import local
from tests.support import running


class Floor:
    """Rooms that hold nobody, and the log of what went into them."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        self.full = False
        self.tasks = Tasks()

    def check_rooms(self, connection: Connection, room: str) -> None:
        """Room is found missing as one enters: a race that `enter` decides."""

    async def enter(self, connection: Connection, room: str) -> None:
        if self.full:
            raise LimitExceeded
        connection.rooms.add(room)
        self.log.append(("enter", room))

    async def leave(self, connection: Connection, room: str) -> bool:
        if room not in connection.rooms:
            return False
        connection.rooms.remove(room)
        self.log.append(("leave", room))
        return True

    async def emit(
        self,
        event: str,
        payload: Mapping[str, object],
        *,
        room: str | Collection[str],
        skip: Collection[str] = (),
        volatile: bool = False,
        conflate: Hashable | None = None,
    ) -> None:
        self.log += [(event, each) for each in ([room] if isinstance(room, str) else room)]

    async def flushed(self) -> None:
        self.log.append(("flushed", ""))

    async def emit_missing(self, event: str, payload: Mapping[str, object], *, room: str) -> bool:
        self.log.append((f"{event}, if it is missing", room))
        return False

    def members(self, room: str) -> Collection[Connection]:
        return ()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> object:
        return self.tasks.start(work, name)


@pytest_asyncio.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=sqlite_url).database_url)
    yield database
    await database.close()


@pytest_asyncio.fixture
async def floor() -> AsyncIterator[Floor]:
    floor = Floor()
    yield floor
    await floor.tasks.close()


@pytest.fixture
def service(database: Database, floor: Floor, tmp_path: Path) -> ChatService:
    store = local(tmp_path / "files")
    files = Files(database, store, Thumbnails(), max_bytes=1000, allowed_types=["text/plain"])
    return ChatService(database, floor, {}, Options(), files, Uploads(database, store, files))


def connection(identity: Identity, connection_id: str = "c1") -> Connection:
    return Connection(connection_id, "/chat", identity, "")


async def test_rooms_carry_the_tenant(service: ChatService, floor: Floor) -> None:
    await service.join(connection(Identity("alice", tenant="acme")), "s1", None)
    await service.conversation.send(Identity("alice", tenant="acme"), "s1", "hi")
    assert {room for _, room in floor.log if room} == {"session:4:acme:s1"}


async def test_a_connection_that_may_enter_no_more_rooms_is_in_none(service: ChatService, floor: Floor) -> None:
    floor.full = True
    alice = connection(Identity("alice"))
    with pytest.raises(LimitExceeded):
        await service.join(alice, "s1", None)
    await service.left(alice, lost=False)
    assert floor.log == []


async def test_a_join_that_fails_halfway_leaves_the_room(
    service: ChatService, floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = connection(Identity("alice"))
    await service.join(alice, "s1", None)
    floor.log.clear()

    async def fail(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(messages, "page", fail)
    with pytest.raises(ConnectionError):
        await service.join(connection(Identity("alice"), "c2"), "s1", None)
    assert floor.log == [("enter", "session:0::s1"), ("leave", "session:0::s1")]
    floor.log.clear()
    with pytest.raises(ConnectionError):
        await service.join(alice, "s1", None)  # was in it before, and stays
    assert floor.log == [("enter", "session:0::s1")]


async def test_a_message_is_acked_once_other_nodes_can_tell_it(service: ChatService, floor: Floor) -> None:
    """Stored, sent, and with Redis: then its sender may forget it. One sent again may be what a dead node kept back."""
    await service.join(connection(Identity("alice")), "s1", None)
    floor.log.clear()
    first = await service.conversation.send(Identity("alice"), "s1", "hi", client_message_id="m1")
    assert [event for event, _ in floor.log] == ["message", "flushed"]
    floor.log.clear()
    assert await service.conversation.send(Identity("alice"), "s1", "hi", client_message_id="m1") == first
    assert floor.log == [("flushed", "")]  # this node has said it
    floor.log.clear()
    service.conversation._own.clear()
    assert await service.conversation.send(Identity("alice"), "s1", "hi", client_message_id="m1") == first
    assert floor.log == [("message, if it is missing", "session:0::s1"), ("flushed", "")]


async def test_nothing_is_kept_of_those_who_left(service: ChatService, floor: Floor) -> None:
    for number in range(5):
        member = connection(Identity("alice"), f"c{number}")
        await service.join(member, f"s{number}", None)
        await service.typing(member, f"s{number}", is_typing=True)
        await service.left(member, lost=False)
    assert service._presence._here == service._presence._joined == {}
    assert len(service._typists) == len(service.replies) == len(service._transcript._locks) == 0
