"""A member of the crowd: what a careful chat client does. It sends each message until it is acked, keeps order by
`seq`, and fetches what the wire did not bring."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.chaos.history import REPAIRS, STRAYS, Recorded, Said
from tests.chaos.inbox import Inbox
from tests.chaos.links import Link, Unanswered

GAP_SECONDS = 2  # a gap that stays so long is fetched
REFUSED_SECONDS = 0.5  # before what was refused is tried again
TEXT = "대출 금리가 얼마인가요? " * 10


class Session:
    """A chat session as one member sees it."""

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.inbox = Inbox()
        self.acked: list[Said] = []
        self.to_fetch = asyncio.Event()
        self.to_fetch.set()
        self.joined = asyncio.Event()  # once, and had all there was then
        self.repairing = False
        self.watched = False  # a gap is given its time to close


class Member:
    """What befalls it is added to `recorded`; that it was acked a message, `on_ack` is told."""

    def __init__(
        self,
        name: str,
        link: Link,
        sessions: Sequence[str],
        recorded: Recorded,
        on_ack: Callable[[], None],
    ) -> None:
        self.name = name
        self.sessions = {session_id: Session(session_id) for session_id in sessions}
        self._changed = asyncio.Event()
        self._link = link
        self._recorded = recorded
        self._counts = recorded.counts
        self._on_ack = on_ack
        self._online = asyncio.Event()
        self._lost_at: float | None = None
        self._heard: dict[str, float] = {}

    async def run(self) -> None:
        """Stays in its sessions until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link.run(self))
            for session in self.sessions.values():
                tasks.create_task(self._keep_up(session))

    # -- what its link hears ------------------------------------------------------------------------------------

    def connected(self, recovered: bool) -> None:
        if self._lost_at is not None:
            self._recorded.seconds_away.append(asyncio.get_running_loop().time() - self._lost_at)
            how = "recovered" if recovered else "not recovered"
            self._counts[how] += 1
            self._recorded.note(f"{self.name} is back, {how}")
        if not recovered:
            for session in self.sessions.values():
                session.to_fetch.set()
        self._lost_at = None
        self._online.set()

    def disconnected(self) -> None:
        if self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time()
        self._online.clear()

    def refused(self, code: str) -> None:
        self._counts[f"connects refused: {code}"] += 1

    def received(self, message: Mapping[str, Any]) -> None:
        session = self.sessions.get(message["session_id"])
        if session is None:
            self._counts[STRAYS] += 1
            return
        said = Said.from_wire(message)
        self._counts["delivered on the wire"] += 1
        now = asyncio.get_running_loop().time()
        first = self._heard.setdefault(said.message_id, now)
        if first != now:
            self._counts["delivered twice on the wire"] += 1
            self._recorded.note(f"{self.name} was sent #{said.seq} of {session.id} again, {now - first:.2f} s later")
        if said.seq > session.inbox.newest + 1 and not session.inbox.has_gap:
            self._counts["gaps on the wire"] += 1
        session.inbox.take([said])
        self._watch_gap(session)
        self._changed.set()

    # -- catching up --------------------------------------------------------------------------------------------

    def _watch_gap(self, session: Session) -> None:
        if session.inbox.has_gap and not session.watched:
            session.watched = True
            asyncio.get_running_loop().call_later(GAP_SECONDS, self._gap_stayed, session, session.inbox.newest)

    def _gap_stayed(self, session: Session, newest: int) -> None:
        session.watched = False
        if session.inbox.newest > newest:
            self._watch_gap(session)
            return
        self._counts[REPAIRS] += 1
        self._recorded.note(f"{self.name} misses what follows #{newest} of {session.id}")
        session.repairing = True
        session.to_fetch.set()

    async def _keep_up(self, session: Session) -> None:
        """Joins at first, after every loss that was not recovered, and when a gap stays."""
        while True:
            await session.to_fetch.wait()
            await self._online.wait()
            session.to_fetch.clear()
            try:
                answer = await self._link.call("join", {"session_id": session.id, "after_seq": session.inbox.newest})
            except Unanswered:
                self._counts["joins unanswered"] += 1
                session.to_fetch.set()
                continue
            if not answer.get("ok"):
                await self._refused("join", answer)
                session.to_fetch.set()
                continue
            new = session.inbox.take(map(Said.from_wire, answer["messages"]))
            if session.repairing:
                self._counts["messages repaired by catch-up"] += new
            if answer["has_more"]:
                session.to_fetch.set()
            else:
                session.repairing = False
                session.joined.set()
                self._watch_gap(session)
            self._changed.set()

    async def _refused(self, event: str, answer: Mapping[str, Any]) -> None:
        self._counts[f"{event} refused: {answer.get('error', {}).get('code')}"] += 1
        await asyncio.sleep(REFUSED_SECONDS)

    # -- sending ------------------------------------------------------------------------------------------------

    async def say(self, session: Session, number: int) -> None:
        """Sends a message, the same one again until it is acked."""
        name = f"{self.name}-{number}"
        payload = {"session_id": session.id, "content": f"{number} {TEXT}", "client_message_id": name}
        while True:
            await self._online.wait()
            try:
                answer = await self._link.call("message", payload)
            except Unanswered:
                self._counts["messages sent again"] += 1
                continue
            if answer.get("ok"):
                session.acked.append(Said(answer["seq"], answer["message_id"], self.name, number))
                self._on_ack()
                return
            await self._refused("message", answer)

    async def talk(self, session: Session, count: int, chance: random.Random, per_second: float) -> None:
        """Says `count` things, one after the other, at most so many a second on average."""
        for number in range(1, count + 1):
            await self.say(session, number)
            await asyncio.sleep(chance.expovariate(per_second))

    def missed(self, session: Session) -> int:
        """How many of the messages it has did not come by the wire."""
        return sum(said.message_id not in self._heard for said in session.inbox.given)

    async def has(self, session: Session, seq: int) -> None:
        """Waits until it was given all up to this."""
        while session.inbox.newest < seq:
            self._changed.clear()
            await self._changed.wait()
