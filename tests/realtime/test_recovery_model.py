"""Whatever happens: never an event twice, never out of order, never one of a room that it was not in; all that was
missed, or a new session."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.identity import Identity
from server.realtime.recovery import Bounds, Recoverable, Recovery
from server.realtime.rooms import ALL
from tests.realtime.test_recovery import say, texts

NAMES = st.sampled_from("ab")
ROOMS = st.sampled_from("rs")
WAITS, UNNOTICED = 6, 4


@dataclass(eq=False)
class Client:
    """What it ought to see, what it saw, and since when its link is dead. `owed` is all that it was sent and has not
    seen."""

    session: Recoverable
    rooms: set[str] = field(default_factory=set)
    seen: list[str] = field(default_factory=list)
    owed: list[str] = field(default_factory=list)
    offset: str | None = None
    cut_at: float | None = None
    dropped_at: float | None = None

    @property
    def is_there(self) -> bool:
        return self.cut_at is None and self.dropped_at is None

    def see(self, texts: list[str]) -> None:
        self.seen += texts
        if texts:
            self.offset = texts[-1].partition(":")[0]


class Recovering(RuleBasedStateMachine):
    """Clients whose links die at any time, which the server notices up to `UNNOTICED` seconds later."""

    bounds = Bounds(seconds=WAITS, retention=WAITS + UNNOTICED)

    def __init__(self) -> None:
        super().__init__()
        self.recovery = Recovery(self.bounds)
        self.now = 0.0
        self.opened = 0
        self.clients: dict[str, Client] = {}
        self.ended: list[Recoverable] = []
        for name in "ab":
            self.open(name)

    def open(self, name: str) -> None:
        self.opened += 1
        self.clients[name] = Client(self.recovery.open(f"{name}{self.opened}", Identity(name)))

    @rule(name=NAMES)
    def say_goodbye(self, name: str) -> None:
        client = self.clients[name]
        if client.is_there:
            self.recovery.end(client.session)
            self.ended.append(client.session)
            self.open(name)

    @rule(name=NAMES, room=ROOMS)
    def enter(self, name: str, room: str) -> None:
        client = self.clients[name]
        if client.dropped_at is None:
            self.recovery.enter(client.session, room)
            client.rooms.add(room)

    @rule(name=NAMES, room=ROOMS)
    def leave(self, name: str, room: str) -> None:
        """One that is there: what others miss of a room that they are made to leave is lost, as it should be."""
        client = self.clients[name]
        if client.is_there:
            self.recovery.leave(client.session, room)
            client.rooms.discard(room)

    @rule(rooms=st.sets(ROOMS), names=st.sets(NAMES), skip=st.sets(NAMES), size=st.integers(0, 40))
    def emit(self, rooms: set[str], names: set[str], skip: set[str], size: int) -> None:
        """To rooms and to some alone; to neither is to all."""
        sids = {self.clients[name].session.sid for name in names}
        to = [*sids, *rooms] if sids or rooms else [ALL]
        skipped = {name: self.clients[name] for name in skip}
        said = say(
            self.recovery,
            *to,
            skip=tuple(client.session.sid for client in skipped.values()),
            text="x" * size,
            now=self.now,
        )
        for name, client in self.clients.items():
            if name not in skipped and (ALL in to or client.rooms & rooms or client.session.sid in sids):
                if client.is_there:
                    client.see([said])
                else:
                    client.owed.append(said)

    @rule(name=NAMES)
    def cut(self, name: str) -> None:
        client = self.clients[name]
        if client.is_there:
            client.cut_at = self.now

    @rule(name=NAMES)
    def notice(self, name: str) -> None:
        client = self.clients[name]
        if client.dropped_at is None:
            client.dropped_at = self.now
            self.recovery.dropped(client.session, self.now)

    @rule(seconds=st.integers(1, 3))
    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            for name, client in self.clients.items():
                if client.cut_at is not None and self.now - client.cut_at >= UNNOTICED:
                    self.notice(name)

    @rule(name=NAMES, reads=st.integers(0, 30))
    def come_back(self, name: str, reads: int) -> None:
        """`reads`: of what is replayed, before the link dies again."""
        client = self.clients[name]
        if client.is_there:
            return
        found = self.recovery.resume(client.session.pid, client.offset, Identity(name), self.now)
        if found is None:
            assert self.may_be_refused(client)
            if client.dropped_at is None:
                self.recovery.end(client.session)  # the old link, which nobody needs any more
            self.open(name)
            return
        assert found is client.session
        assert set(found.rooms) == {found.sid, ALL} | client.rooms
        assert texts(self.recovery.missed(found, found.after)) == client.owed
        client.see(client.owed[:reads])
        del client.owed[:reads]
        client.dropped_at, client.cut_at = None, self.now if client.owed else None

    def may_be_refused(self, client: Client) -> bool:
        return client.dropped_at is None or self.now >= client.dropped_at + WAITS

    @precondition(lambda self: self.ended)
    @rule()
    def come_back_after_a_goodbye(self) -> None:
        session = self.ended[-1]
        assert self.recovery.resume(session.pid, None, session.identity, self.now) is None

    @invariant()
    def nobody_sees_anything_twice_or_out_of_order(self) -> None:
        for client in self.clients.values():
            offsets = [int(text.partition(":")[0]) for text in client.seen]
            assert offsets == sorted(set(offsets))

    @invariant()
    def the_log_keeps_its_bounds(self) -> None:
        assert self.recovery.logged <= self.bounds.messages
        assert self.recovery._bytes == sum(entry.packet.size for _, _, entry in self.recovery._order)
        assert self.recovery._bytes <= self.bounds.bytes

    def teardown(self) -> None:
        for client in self.clients.values():
            self.recovery.end(client.session)
        self.recovery.prune(self.now + WAITS + UNNOTICED)
        left = (len(self.recovery), self.recovery._rooms, self.recovery.logged, self.recovery._bytes)
        assert left == (0, {}, 0, 0)


class RecoveringWithinBounds(Recovering):
    """Any may be given a new session here, but who is resumed still misses nothing."""

    bounds = Bounds(seconds=WAITS, retention=WAITS + UNNOTICED, messages=6, bytes=150, sessions=1)

    def may_be_refused(self, client: Client) -> bool:
        return True


Recovering.TestCase.settings = RecoveringWithinBounds.TestCase.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None
)
TestRecovering = Recovering.TestCase
TestRecoveringWithinBounds = RecoveringWithinBounds.TestCase
