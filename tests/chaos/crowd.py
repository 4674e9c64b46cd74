"""The crowd, a process of its own: `python -m tests.chaos.crowd PLAN`, the plan in JSON.

It prints how many messages are acked so far, a number a line, and "done" when all are. Told that all is healed, by a
line, everybody has two last words; then it writes what happened and ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.history import REPAIRS, Recorded, Said
from tests.chaos.links import JavaScriptLink, Link, PythonLink
from tests.chaos.members import Member
from tests.support.running import token

SESSIONS = 12
MEMBERS = 16  # each in three sessions, so that a session has three to six
JAVASCRIPT = 4  # every how manieth member is a JavaScript client
REPORT_SECONDS = 0.2
SETTLE_SECONDS = 30  # a bound on waiting for what was lost; the checker then tells


@dataclass(frozen=True)
class Plan:
    """`urls` of the nodes; `rate` in messages a second, of all together; `outcome` is the file to write."""

    seed: int
    messages: int
    rate: float
    urls: list[str]
    outcome: str


class Crowd:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._chance = random.Random(f"{plan.seed} crowd")  # noqa: S311 - to be repeated
        self._recorded = Recorded()
        self._acked = 0
        self._members = [self._member(number) for number in range(MEMBERS)]
        self._seats = [(member, session) for member in self._members for session in member.sessions.values()]

    async def run(self) -> Recorded:
        async with _in_background(*(member.run() for member in self._members)):
            await asyncio.gather(*(session.joined.wait() for _, session in self._seats))
            async with _in_background(self._report()):
                await self._talk()
            print("done", flush=True)  # noqa: T201
            await asyncio.to_thread(sys.stdin.readline)
            last = self._plan.messages // len(self._seats) + 2  # later than any number so far
            await self._last_words(last)
            repairs = self._recorded.counts[REPAIRS]
            await self._last_words(last + 1)
            self._recorded.repairs_after_healing = self._recorded.counts[REPAIRS] - repairs
        for member, session in self._seats:
            self._recorded.acked.setdefault(session.id, []).extend(session.acked)
            self._recorded.counts["never delivered on the wire"] += member.missed(session)
            self._recorded.given.setdefault(session.id, {})[member.name] = session.inbox.given
        self._recorded.fetched = await self._fetched_afresh()
        return self._recorded

    def _member(self, number: int) -> Member:
        sessions = [_session_id(number + step) for step in (0, 1, 5)]
        return self._named(f"user-{number}", sessions, number, javascript=number % JAVASCRIPT == 0)

    def _named(self, name: str, sessions: Sequence[str], node: int, *, javascript: bool = False) -> Member:
        """It goes to that node at first."""
        node %= len(self._plan.urls)
        urls = [*self._plan.urls[node:], *self._plan.urls[:node]]
        identity = token(name, roles=["operator"], lifetime=86_400)
        chance = random.Random(f"{self._plan.seed} {name}")  # noqa: S311 - to be repeated
        link: Link = JavaScriptLink(urls, identity) if javascript else PythonLink(urls, identity, chance)
        return Member(name, link, sessions, self._recorded, self._count)

    def _count(self) -> None:
        self._acked += 1

    async def _report(self) -> None:
        told = -1
        while True:
            if self._acked != told:
                told = self._acked
                print(told, flush=True)  # noqa: T201
            await asyncio.sleep(REPORT_SECONDS)

    async def _talk(self) -> None:
        each, more = divmod(self._plan.messages, len(self._seats))
        pace = self._plan.rate / len(self._seats)
        await asyncio.gather(
            *(
                member.talk(session, each + (place < more), self._chance, pace)
                for place, (member, session) in enumerate(self._seats)
            )
        )

    async def _last_words(self, number: int) -> None:
        """Everybody says one thing in each session, and has heard all others, or will not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await asyncio.gather(*(member.say(session, number) for member, session in self._seats))
                newest: dict[str, int] = {}
                for _, session in self._seats:
                    newest[session.id] = max(newest.get(session.id, 0), session.acked[-1].seq)
                await asyncio.gather(*(member.has(session, newest[session.id]) for member, session in self._seats))

    async def _fetched_afresh(self) -> dict[str, list[Said]]:
        """What a newcomer to each session is given."""
        newcomer = self._named("newcomer", [_session_id(number) for number in range(SESSIONS)], 0)
        async with _in_background(newcomer.run()), asyncio.timeout(SETTLE_SECONDS):
            await asyncio.gather(*(session.joined.wait() for session in newcomer.sessions.values()))
        return {session.id: session.inbox.given for session in newcomer.sessions.values()}


def _session_id(number: int) -> str:
    return f"chaos-{number % SESSIONS}"


@asynccontextmanager
async def _in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """None of it ends by itself; what one of them raises ends the block."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each) for each in work]
        yield
        for each in running:
            each.cancel()


if __name__ == "__main__":
    plan = Plan(**json.loads(sys.argv[1]))
    recorded = asyncio.run(Crowd(plan).run())
    Path(plan.outcome).write_text(json.dumps(recorded.to_json()))
