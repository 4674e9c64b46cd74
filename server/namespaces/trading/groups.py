"""Who belongs to a group, by a token's role or by an admin's word, which is stored; all their connections are in its
room. What a group's channel may be used for is not said here.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

import structlog
from sqlalchemy import Select, delete, func, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from server.errors import Forbidden, InvalidMessage, LimitExceeded, NotFound
from server.identity import Identity
from server.namespaces.trading.catalogue import Catalogue
from server.namespaces.trading.channels import group_room
from server.namespaces.trading.models import GroupMember
from server.realtime.connection import Connection
from server.realtime.others import Body, Others
from server.realtime.rooms import user_room
from server.storage.database import Database
from server.timestamps import utc_now

log = structlog.get_logger(__name__)

HEAD = "group:"  # of the channels of stored groups
ADMIN = "admin"
CHANGED = "trading group"

MAX_MEMBERS = 10_000  # of a group
MAX_GROUPS = 50  # of a user, and of a connection
READ_SECONDS = 2.0  # that a connection waits for a database that does not answer
TICK_SECONDS = 2.0  # after which what could not be read is tried again
TICKS_A_REFRESH = 30  # and all is read anew, should another node's word have been lost
USERS_A_READ = 500
MOST_READS = 3  # of the same, while admins change groups: what came of the last is looked at again later

Scope = tuple[str | None, str]
NONE: frozenset[str] = frozenset()


class Rooms(Protocol):
    @property
    def connections(self) -> Sequence[Connection]: ...

    def members(self, room: str) -> Sequence[Connection]: ...

    async def enter(self, connection: Connection, room: str) -> None: ...

    async def leave(self, connection: Connection, room: str) -> bool: ...


class Groups:
    def __init__(
        self,
        database: Database | None,
        rooms: Rooms,
        catalogue: Catalogue,
        others: Others,
        changed: Callable[[Connection], Awaitable[None]],
    ) -> None:
        """Without a `database` there are roles only. `changed` hears of who belongs to other groups than before."""
        self._database = database
        self._rooms = rooms
        self._catalogue = catalogue
        self._others = others
        self._told = changed
        self._stored: dict[Scope, frozenset[str]] = {}  # channels of the groups of users who are here
        self._unread = False  # the database was away when somebody came
        self._changes = 0
        self._asked: set[Scope] = set()
        self._next: asyncio.Task[Mapping[Scope, frozenset[str]] | None] | None = None
        self._reading = asyncio.Lock()
        others.on(CHANGED, self._change_here)

    # -- of a connection ----------------------------------------------------------------------------------------

    async def came(self, connection: Connection) -> None:
        """Into the rooms of its groups, out of those of others. Without the database, of those that its roles name."""
        scope = connection.identity.scope
        wanted = scope not in self._stored and not connection.identity.anonymous
        if wanted and (read := await self._read_together(scope)) is not None:
            self._stored[scope] = read.get(scope, NONE)
        await self._settle(connection)

    def left(self, connection: Connection) -> None:
        if not self._rooms.members(user_room(*connection.identity.scope)):
            self._stored.pop(connection.identity.scope, None)

    def member(self, identity: Identity) -> Identity:
        """With what is stored as roles more; as far as it is known, which it is of who is connected here."""
        stored = self._stored.get(identity.scope)
        return dataclasses.replace(identity, roles=identity.roles | stored) if stored else identity

    async def looked_up(self, identity: Identity) -> Identity:
        """As `member`, of anybody."""
        if identity.scope in self._stored:
            return self.member(identity)
        stored = (await self._read([identity.scope]) or {}).get(identity.scope, NONE)
        return dataclasses.replace(identity, roles=identity.roles | stored)

    async def serve(self) -> None:
        """For ever."""
        ticks = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            ticks += 1
            if self._unread or ticks >= TICKS_A_REFRESH:
                ticks = 0
                await self.refresh()

    async def refresh(self) -> None:
        """All who are here, as the database has them now."""
        here: dict[Scope, list[Connection]] = defaultdict(list)
        for each in self._rooms.connections:
            here[each.identity.scope].append(each)
        read = await self._read(list(here))
        if read is None:
            return
        self._unread = False
        for scope in self._stored.keys() - here.keys():
            del self._stored[scope]
        for scope, connections in here.items():
            await self._know(scope, read.get(scope, NONE), connections)

    # -- what admins do -----------------------------------------------------------------------------------------

    async def add(self, identity: Identity, name: str, user_id: str) -> dict[str, object]:
        """The member; who is one already stays as they are. Raises Forbidden, InvalidMessage, LimitExceeded."""
        tenant, database = self._administered(identity, name)
        member = GroupMember(tenant=tenant, name=name, user_id=user_id, added_by=identity.user_id, added_at=utc_now())
        try:
            async with database.transaction() as db:
                found = await db.scalar(_one(tenant, name, user_id))
                if found is not None:
                    return found.to_wire()
                await _check_bounds(db, member)
                db.add(member)
        except IntegrityError:  # somebody was first
            async with database.reading() as db:
                found = await db.scalar(_one(tenant, name, user_id))
            member = found or member
        await self._change(identity.tenant, user_id)
        return member.to_wire()

    async def remove(self, identity: Identity, name: str, user_id: str) -> dict[str, object]:
        """Raises Forbidden, InvalidMessage, NotFound."""
        tenant, database = self._administered(identity, name)
        async with database.transaction() as db:
            found = await db.scalar(_one(tenant, name, user_id))
            if found is None:
                raise NotFound(f"No such member of {name!r} is stored")
            await db.execute(delete(GroupMember).where(GroupMember.id == found.id))
        await self._change(identity.tenant, user_id)
        return {"name": name, "user_id": user_id, "removed": True}

    async def members(self, identity: Identity, name: str, after: str, limit: int) -> dict[str, object]:
        """Those that are stored; whose tokens have the role nobody knows. Raises Forbidden, InvalidMessage."""
        tenant, database = self._administered(identity, name)
        of_group = _of_group(tenant, name)
        async with database.reading() as db:
            count = await db.scalar(select(func.count()).select_from(of_group.subquery()))
            found = await db.scalars(
                of_group.where(GroupMember.user_id > after).order_by(GroupMember.user_id).limit(limit + 1)
            )
            members = [each.to_wire() for each in found]
        page = members[:limit]
        return {
            "name": name,
            "channel": HEAD + name,
            "count": count,
            "members": page,
            "next": page[-1]["user_id"] if len(members) > limit else None,
        }

    def _administered(self, identity: Identity, name: str) -> tuple[str, Database]:
        if not identity.has_role(ADMIN):
            raise Forbidden
        if self._database is None or not self._is_group(HEAD + name):
            raise InvalidMessage(details={"name": ["No class of channels is for such groups."]})
        return identity.tenant or "", self._database

    # -- what is so now -----------------------------------------------------------------------------------------

    def _is_group(self, channel: str) -> bool:
        try:
            return self._catalogue.find(channel).group
        except Forbidden:
            return False

    async def _change(self, tenant: str | None, user_id: str) -> None:
        body = {"tenant": tenant, "user_id": user_id}
        await self._change_here(body)
        await self._others.ask_all(CHANGED, body)

    async def _change_here(self, body: Body) -> Body:
        """Somebody's groups are others than before."""
        self._changes += 1
        scope: Scope = (body["tenant"], body["user_id"])
        connections = self._rooms.members(user_room(*scope))
        if connections and (read := await self._read([scope])) is not None:
            await self._know(scope, read.get(scope, NONE), connections)
        return {}

    async def _know(self, scope: Scope, stored: frozenset[str], connections: Sequence[Connection]) -> None:
        if self._stored.get(scope) == stored:
            return
        self._stored[scope] = stored
        for connection in connections:
            await self._settle(connection)
            await self._told(connection)

    async def _settle(self, connection: Connection) -> None:
        roles = self.member(connection.identity).roles
        wanted = {group_room(connection.tenant, role): role for role in sorted(roles) if self._is_group(role)}
        for entered in [each for each in connection.rooms if each.startswith(group_room(connection.tenant, ""))]:
            if entered not in wanted:
                await self._rooms.leave(connection, entered)
        try:
            for room in list(wanted)[:MAX_GROUPS]:
                await self._rooms.enter(connection, room)
        except LimitExceeded as error:
            log.warning("a connection is not in all of its groups", connection=connection.id, reason=str(error))

    async def _read_together(self, scope: Scope) -> Mapping[Scope, frozenset[str]] | None:
        """As `_read`; with all who come during a read, in the next: one is 2 ms of work, and after a restart there may
        be a thousand."""
        self._asked.add(scope)
        if self._next is None:
            self._next = asyncio.create_task(self._read_asked(), name="groups")
        return await asyncio.shield(self._next)

    async def _read_asked(self) -> Mapping[Scope, frozenset[str]] | None:
        async with self._reading:
            asked, self._asked, self._next = self._asked, set(), None
            return await self._read(asked)

    async def _read(self, scopes: Collection[Scope]) -> Mapping[Scope, frozenset[str]] | None:
        """The channels of the stored groups of these users; None where the database is away."""
        if self._database is None:
            return {}
        for _ in range(MOST_READS):
            changes = self._changes
            try:
                async with asyncio.timeout(READ_SECONDS):
                    read = await _channels(self._database, sorted({user_id for _, user_id in scopes}))
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                log.warning("groups could not be read", error=type(error).__name__)
                self._unread = True
                return None
            if changes == self._changes:  # else it may be of before
                return read
        self._unread = True
        return read


async def _channels(database: Database, users: Sequence[str]) -> Mapping[Scope, frozenset[str]]:
    found: dict[Scope, set[str]] = defaultdict(set)
    async with database.reading() as db:
        for first in range(0, len(users), USERS_A_READ):
            some = GroupMember.user_id.in_(users[first : first + USERS_A_READ])
            rows = await db.execute(select(GroupMember.tenant, GroupMember.user_id, GroupMember.name).where(some))
            for tenant, user_id, name in rows:
                found[tenant or None, user_id].add(HEAD + name)
    return {scope: frozenset(names) for scope, names in found.items()}


def _of_group(tenant: str, name: str) -> Select[tuple[GroupMember]]:
    return select(GroupMember).where(GroupMember.tenant == tenant, GroupMember.name == name)


def _one(tenant: str, name: str, user_id: str) -> Select[tuple[GroupMember]]:
    return _of_group(tenant, name).where(GroupMember.user_id == user_id)


async def _check_bounds(db: AsyncSession, member: GroupMember) -> None:
    """Raises LimitExceeded."""
    members = _of_group(member.tenant, member.name)
    groups = select(GroupMember).where(GroupMember.tenant == member.tenant, GroupMember.user_id == member.user_id)
    for rows, most, what in (
        (members, MAX_MEMBERS, "members in the group"),
        (groups, MAX_GROUPS, "groups of the user"),
    ):
        if (await db.scalar(select(func.count()).select_from(rows.subquery())) or 0) >= most:
            raise LimitExceeded(f"There are too many {what}")
