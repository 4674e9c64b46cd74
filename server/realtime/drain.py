"""How a node goes away (SPEC §8): its clients are told, finish what they began, and leave one after the other.

Nobody is sent a Socket.IO DISCONNECT, a long-polling client not even an Engine.IO CLOSE: stock clients would stay away.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection

import structlog
from socketio import packet as wire

from server.realtime import packets
from server.realtime.engine import frames, protocol
from server.realtime.engine.server import Engine
from server.realtime.engine.session import Session
from server.realtime.link import Link
from server.realtime.workers import Inbox

log = structlog.get_logger(__name__)

SECONDS_A_CLIENT = 0.005  # 200 a second come to the other nodes: a handshake with a token takes some 1 ms of a core
MOST_SPREAD_SECONDS = 5.0
MOST_SECONDS = 15.0  # a handler has 10 by default; what follows takes 3, and a node has 25
POLL_SECONDS = 0.5  # for a client that polls to be back
POLL_CHECK_SECONDS = 0.02

CONNECT = str(wire.CONNECT)


def plan(count: int, chance: random.Random) -> list[float]:
    """When each of so many clients goes, in seconds from now: every one in a turn of its own, in no order."""
    turn = min(SECONDS_A_CLIENT, MOST_SPREAD_SECONDS / max(count, 1))
    turns = list(range(count))
    chance.shuffle(turns)
    return [(number + chance.random()) * turn for number in turns]


class Drain:
    """Of one engine, once. Its sessions end as if their transports were lost, so that they can be resumed elsewhere."""

    def __init__(
        self,
        engine: Engine,
        last_words: Callable[[Session], None],
        *,
        most_seconds: float = MOST_SECONDS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: random.Random | None = None,
    ) -> None:
        self._engine = engine
        self._last_words = last_words
        self._most_seconds = most_seconds
        self._sleep = sleep
        self._chance = chance or random.Random()  # noqa: S311 - it spreads load
        self._delays: dict[Session, float] = {}
        self._finishing: set[Session] = set()
        self._announced: set[Session] = set()
        self._told: set[Session] = set()
        self._on_message = engine.on_message

    async def run(self) -> None:
        """Ends every session, at the latest after `most_seconds`."""
        self._engine.max_sessions = 0
        self._engine.on("message", self._message)
        sessions = list(self._engine.sessions.values())
        if not sessions:
            return
        self._delays = dict(zip(sessions, plan(len(sessions), self._chance), strict=True))
        for session in sessions:
            if session.transport == "websocket":  # a poll may be the last one: it gets all there is to say together
                self._announce(session)
        leaving = [
            asyncio.create_task(self._leave(session, delay), name="drain") for session, delay in self._delays.items()
        ]
        _, late = await asyncio.wait(leaving, timeout=self._most_seconds)
        if late:
            log.warning("clients were cut off", late=len(late))
        for task in late:
            task.cancel()
        for outcome in await asyncio.gather(*leaving, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("drain failed", exc_info=outcome)
        for session in sessions:
            self._end(session)

    def _message(self, session: Session, data: str | bytes) -> Awaitable[None] | None:
        """What comes too late is neither handled nor answered: its client says it again elsewhere. To a CONNECT a
        refusal would be an answer, after which stock clients do not come back; the end of their transport follows."""
        if session in self._finishing or (isinstance(data, str) and data.startswith(CONNECT)):
            return None
        return self._on_message(session, data)

    async def _leave(self, session: Session, delay: float) -> None:
        await self._sleep(delay)
        if session.closed:
            return
        self._finishing.add(session)
        inboxes = _inboxes(session.state)
        for inbox in inboxes:
            await inbox.drained()
        await self._give_poll(session)
        self._end(session)
        for inbox in inboxes:  # its namespaces hear that it went
            await inbox.drained()

    async def _give_poll(self, session: Session) -> None:
        """Who polls has got all that was sent to it once it waits for more."""
        waits = POLL_SECONDS
        while session.transport == "polling" and not session.polling and not session.closed and waits > 0:
            await asyncio.sleep(POLL_CHECK_SECONDS)
            waits -= POLL_CHECK_SECONDS
        if session.polling and not session.closed:
            self._say_last_words(session)
            session.send(frames.NOOP)  # where there was nobody to speak to
            while session.polling:  # noqa: ASYNC110 - for a few turns of the loop; its next poll finds no session
                await asyncio.sleep(0)

    def _announce(self, session: Session) -> None:
        """In no log: nobody who comes back wants to hear it."""
        self._announced.add(session)
        payload = {"reconnect_after_ms": max(1, round(self._delays[session] * 1000))}
        for namespace, member in session.state.members.items():
            if member.connected:
                session.send(frames.message(*packets.encode(wire.EVENT, namespace, ["server_draining", payload])))

    def _say_last_words(self, session: Session) -> None:
        if session in self._told:
            return
        self._told.add(session)
        if session not in self._announced:
            self._announce(session)
        self._last_words(session)

    def _end(self, session: Session) -> None:
        if not session.closed:
            self._say_last_words(session)
            session.end(self._engine.reason.TRANSPORT_CLOSE, protocol.GOING_AWAY)


def _inboxes(link: Link) -> Collection[Inbox]:
    return [member.inbox for member in link.members.values() if member.inbox is not None]
