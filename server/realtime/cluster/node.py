"""This process as one node among equals: its connections to Redis, who else lives, and what nodes say to each other."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
import structlog
from redis.exceptions import RedisError

from server.errors import AtriumError
from server.realtime.cluster.address import Connect, RedisAway
from server.realtime.cluster.commands import STALLED_SECONDS, Commands
from server.realtime.cluster.complaints import Complaints
from server.realtime.cluster.keys import NODES, Keys
from server.realtime.cluster.listener import Listener
from server.realtime.cluster.scripts import BEAT, Script
from server.realtime.cluster.wills import Wills
from server.realtime.cluster.wire import Arg
from server.realtime.tasks import Tasks

log = structlog.get_logger(__name__)

PULSE_SECONDS = 1.0
DEAD_SECONDS = 8  # and what it left is swept within the 15 s of SPEC §8
START_SECONDS = 2.0  # for Redis to answer before the server serves without it
FAREWELL_SECONDS = 2.0
MAX_QUESTIONS = 10_000  # to other nodes, at once

ID_CHARS = 10

Body = Mapping[str, Any]
Answer = Callable[[Body], Awaitable[Body | None]]
Hook = Callable[[], Awaitable[None]]


class NodeGone(Exception):
    """The other node does not exist any more, or does not answer."""


class Node:
    """`up` says whether Redis can be counted on now. Whatever needs it asks that, does without, or raises RedisAway
    within a second.

    Hooks: `pulses` each second; `returns` when Redis answers again, before anything else uses it, and `breaks` when
    it does not any more; `hearing` when messages come in again, and `deaf` when they do not; `renewals` when what this
    node had in Redis may be gone: it writes it anew; `sweeps`, for each dead node, until one of them has passed on
    every node that lives; `hears` for what is on other channels than this node's own, `direct` for what is on that.
    """

    def __init__(self, connect: Connect, prefix: str) -> None:
        self.id = secrets.token_hex(ID_CHARS // 2)
        self.keys = Keys(prefix)
        self.channel = self.keys.node(self.id)
        self._alive = self.keys.key(NODES, "alive")
        self.commands = Commands(connect, opened=self._commands_opened, closed=self._commands_closed)
        self.listener = Listener(
            connect,
            self._receive,
            patterns=[re.sub(r"([\\*?\[\]^])", r"\\\1", prefix) + ":[^/]*"],
            opened=self._listener_opened,
            closed=self._listener_closed,
        )
        self.pulses: list[Hook] = []
        self.returns: list[Hook] = []
        self.renewals: list[Hook] = []
        self.sweeps: list[Callable[[str], Awaitable[None]]] = []
        self.breaks: list[Callable[[], None]] = []
        self.deaf: list[Callable[[], None]] = []
        self.hearing: list[Hook] = []
        self.hears: Callable[[str, bytes], None] = lambda channel, message: None
        self.direct: Callable[[bytes], None] = lambda message: None
        self._answers: dict[str, Answer] = {}
        self._questions: dict[str, asyncio.Future[Body]] = {}
        self._tasks = Tasks()
        self._wills = Wills(self.id, self.keys, self.commands)
        self._sweeping = False
        self._complaints = Complaints(log)

    @property
    def up(self) -> bool:
        return self.commands.up and self.listener.ready

    # -- Redis --------------------------------------------------------------------------------------------------

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """What the script returns. Raises RedisAway, within a second."""
        return await self.patient(self.commands.run(script, keys, args))

    async def call(self, *args: Arg) -> Any:
        """As `run`, for one command."""
        return await self.patient(self.commands.call(*args))

    async def patient(self, answer: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                return await answer
        except TimeoutError:
            raise RedisAway("no answer in time") from None
        except RedisError as error:
            self._complaints.say("redis refused", reason=str(error))
            raise RedisAway(str(error)) from error

    async def check(self) -> None:
        """Raises RedisAway when Redis is not usable: for `/readyz`."""
        if not self.up:
            raise RedisAway("not connected")
        await self.call("PING")

    # -- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Returns when Redis answers, or after a moment without."""
        self.listener.subscribe(self.channel)
        self._tasks.start(self.commands.serve(), "redis commands")
        self._tasks.start(self.listener.serve(), "redis listener")
        self._tasks.start(self._live(), "beat")
        self._tasks.start(self._pulse(), "pulse")
        try:
            async with asyncio.timeout(START_SECONDS):
                await self.commands.is_ready()
                await self.listener.is_ready()
        except TimeoutError:
            log.warning("redis does not answer: serving without it until it does")

    async def stop(self) -> None:
        """Its clients are gone."""
        if self.commands.up:
            try:
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await self.commands.call("ZREM", self._alive, self.id)
            except (RedisAway, RedisError, TimeoutError):
                log.info("no farewell to redis")
        await self._tasks.close()

    def spawn(self, work: Any, name: str) -> None:
        self._tasks.start(work, name)

    async def _live(self) -> None:
        """Nothing else is waited for here: who does not beat is dead to the others."""
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            if self.commands.ready:
                await self._run_hook(self._beat_and_sweep)

    async def _beat_and_sweep(self) -> None:
        dead = await self._beat()
        if dead and not self._sweeping:
            self._sweeping = True
            self.spawn(self._sweep(dead), "sweep")

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            for hook in self.pulses:
                if self.commands.ready:
                    await self._run_hook(hook)

    async def _run_hook(self, hook: Hook) -> None:
        try:
            await hook()
        except RedisAway as error:
            log.info("no pulse", reason=str(error))
        except Exception:
            log.exception("pulse failed")

    async def _beat(self) -> list[str]:
        """The nodes that are dead."""
        forgotten, dead = await self.run(BEAT, [self._alive], [self.id, DEAD_SECONDS, self.channel])
        if forgotten:
            self.spawn(self._renew(), "renewal")
        return [node.decode() for node in dead]

    async def _sweep(self, dead: Sequence[str]) -> None:
        try:
            for node in dead:
                log.info("a node died", node=node)
                for sweep in self.sweeps:
                    await sweep(node)
                await self.patient(self._wills.execute(node, self._answers))
                await self.call("ZREM", self._alive, node)
        except RedisAway as error:
            log.info("a dead node is not swept yet", reason=str(error))
        except Exception:
            log.exception("a dead node could not be swept")
        finally:
            self._sweeping = False

    async def _renew(self) -> None:
        """Begins anew in a pulse, where it failed."""
        try:
            for hook in self.renewals:
                await hook()
        except RedisAway as error:
            log.info("not renewed yet", reason=str(error))
            await asyncio.sleep(PULSE_SECONDS)
            self.spawn(self._renew(), "renewal")

    async def _commands_opened(self) -> None:
        for hook in self.returns:
            await hook()
        await self._beat()

    def _commands_closed(self) -> None:
        for hook in self.breaks:
            hook()

    async def _listener_opened(self) -> None:
        await self.commands.is_ready()
        for hook in self.hearing:
            await hook()

    def _listener_closed(self) -> None:
        for hook in self.deaf:
            hook()

    # -- what is heard ------------------------------------------------------------------------------------------

    def _receive(self, channel: str, message: bytes) -> None:
        try:
            if channel != self.channel:
                self.hears(channel, message)
            elif message.startswith(b"node "):
                self._spoken(message[5:])
            elif message != b"beat":
                self.direct(message)
        except Exception as error:
            self._complaints.say("what was heard is no use", channel=channel, reason=repr(error)[:200])

    # -- nodes speak --------------------------------------------------------------------------------------------

    def on(self, verb: str, answer: Answer) -> None:
        """Who answers other nodes. AtriumErrors go back as answers."""
        self._answers[verb] = answer

    async def ask(self, node: str, verb: str, body: Body, *, patience: float = STALLED_SECONDS) -> Body:
        """Another node's answer. Raises NodeGone, or RedisAway."""
        if len(self._questions) >= MAX_QUESTIONS:
            raise NodeGone("too many questions")
        question = secrets.token_hex(8)
        future = self._questions[question] = asyncio.get_running_loop().create_future()
        try:
            if not await self._say(node, "ask", question, verb, body):
                raise NodeGone(node)
            async with asyncio.timeout(patience):
                answer: Body = await future
                return answer
        except TimeoutError:
            raise NodeGone(node) from None
        finally:
            del self._questions[question]

    async def ask_all(self, verb: str, body: Body, *, patience: float = STALLED_SECONDS) -> list[Body]:
        """What the other nodes answer; who does not is left out. Without Redis there are none."""
        answers = await self.ask_each(verb, body, patience=patience)
        return [each for each in answers.values() if each is not None]

    async def ask_each(self, verb: str, body: Body, *, patience: float = STALLED_SECONDS) -> Mapping[str, Body | None]:
        """What each of the other nodes answers, None of one that does not. Without Redis there are none."""

        async def answer(node: str) -> Body | None:
            try:
                return await self.ask(node, verb, body, patience=patience)
            except (NodeGone, RedisAway) as reason:
                log.info("a node does not answer", node=node, verb=verb, reason=repr(reason))
                return None

        if not self.up:
            return {}
        try:
            alive = [each.decode() for each in await self.call("ZRANGE", self._alive, 0, -1)]
        except RedisAway:
            return {}
        others = [each for each in alive if each != self.id]
        return dict(zip(others, await asyncio.gather(*map(answer, others)), strict=True))

    def will(self, key: str, verb: str, body: Body) -> None:
        """What another node is to do, as if it had been asked, should this one die before it withdraws the `key`."""
        self._wills.write(key, verb, body)

    def withdraw(self, key: str) -> None:
        self._wills.withdraw(key)

    async def tell(self, node: str, verb: str, body: Body) -> bool:
        """Whether it was there to hear. Raises RedisAway."""
        return await self._say(node, "tell", "", verb, body)

    async def _say(self, node: str, kind: str, question: str, verb: str, body: Body) -> bool:
        message = b"node " + orjson.dumps([kind, self.id, question, verb, body])
        return bool(await self.call("PUBLISH", self.keys.node(node), message))

    def _spoken(self, message: bytes) -> None:
        kind, node, question, verb, body = orjson.loads(message)
        if kind == "answer":
            future = self._questions.get(question)
            if future is not None and not future.done():
                future.set_result(body)
        elif verb in self._answers:
            self._tasks.start(self._answer(kind, node, question, verb, body), f"node {verb}")

    async def _answer(self, kind: str, node: str, question: str, verb: str, body: Body) -> None:
        try:
            answer = await self._answers[verb](body)
        except AtriumError as error:
            answer = {"error": error.to_wire()}
        if kind == "ask":
            try:
                await self._say(node, "answer", question, verb, answer or {})
            except RedisAway as away:
                log.info("no answer to a node", verb=verb, reason=str(away))
