from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.identity import Identity
from server.realtime.fanout import Fanout
from server.realtime.link import Handshake, Link, Member
from server.realtime.recovery import Bounds


class Outbox:
    def __init__(self, sent: list[Any]) -> None:
        self.sent = sent

    def replay(self, packets: Any) -> None:
        self.sent += [packet.parts for packet in packets]

    def breathe(self) -> None:
        """Nothing is corked here."""


class Outlet:
    def broadcast(self, packet: Any, outboxes: Any) -> None:
        for outbox in outboxes:
            outbox.sent.append(packet.parts)


class Session:
    def __init__(self, id: str) -> None:
        self.id = id
        self.sent: list[Any] = []
        self.outbox = Outbox(self.sent)
        self.user_session: dict[str, Any] | None = None
        self.state = Link(self, Handshake("", None, None))  # type: ignore[arg-type]

    def send(self, packet: Any) -> None:
        self.sent.append(packet.parts)


class Room:
    """Some sessions, connected to `/x` unless said otherwise."""

    def __init__(self, *ids: str, recovery: Bounds | None = None) -> None:
        self.sessions = {id: Session(id) for id in ids}
        self.now = 0.0
        self.fanout = Fanout(recovery, clock=lambda: self.now)
        self.fanout.set_server(SimpleNamespace(eio=SimpleNamespace(sessions=self.sessions, outlet=Outlet())))  # type: ignore[arg-type]
        self.sids: dict[str, str] = {}
        self.members: dict[str, Member] = {}

    async def connect(self, *ids: str, recoverable: bool = False) -> None:
        for id in ids or self.sessions:
            member = self.members[id] = self.fanout.join(self.sessions[id].state, "/x")
            self.sids[id] = member.sid
            if recoverable:
                self.fanout.open_recoverable(member, Identity(id))
            self.fanout.connect(member)
            self.sessions[id].sent.clear()

    def heard(self) -> dict[str, int]:
        return {id: len(session.sent) for id, session in self.sessions.items() if session.sent}


@pytest.mark.parametrize(
    ("options", "heard"),
    [
        ({}, {"a": 1, "b": 1, "c": 1}),
        ({"room": "r"}, {"a": 1, "b": 1}),
        ({"room": ["r", "s"]}, {"a": 1, "b": 1, "c": 1}),
        ({"room": "nobody"}, {}),
        ({"namespace": "/y"}, {}),
    ],
)
async def test_who_hears_it(options: dict[str, Any], heard: dict[str, int]) -> None:
    room = Room("a", "b", "c")
    await room.connect()
    for id, name in (("a", "r"), ("b", "r"), ("b", "s"), ("c", "s")):
        await room.fanout.enter_room(room.sids[id], "/x", name)
    await room.fanout.emit("hello", {"n": 1}, **({"namespace": "/x"} | options))
    assert room.heard() == heard


async def test_a_connection_is_a_room_and_can_be_left_out() -> None:
    room = Room("a", "b")
    await room.connect()
    await room.fanout.emit("hello", None, "/x", room=room.sids["a"])
    assert room.heard() == {"a": 1}
    await room.fanout.emit("hello", None, "/x", skip_sid=room.sids["a"])
    assert room.heard() == {"a": 1, "b": 1}


async def test_one_packet_serves_all() -> None:
    room = Room("a", "b")
    await room.connect()
    await room.fanout.emit("hello", {"n": 1}, "/x")
    assert room.sessions["a"].sent[0] is room.sessions["b"].sent[0]
    assert room.sessions["a"].sent == [('42/x,["hello",{"n":1}]',)]


async def test_nothing_is_sent_to_who_is_not_admitted_yet_or_gone() -> None:
    room = Room("a", "b")
    member = room.fanout.join(room.sessions["a"].state, "/x")
    await room.fanout.emit("hello", None, "/x")
    assert room.heard() == {}
    room.fanout.connect(member)
    assert room.fanout.is_connected(member.sid, "/x")
    room.sessions["a"].sent.clear()
    room.fanout.drop(member)
    await room.fanout.emit("hello", None, "/x")
    assert room.heard() == {}


async def test_what_is_sent_to_one_alone_while_it_is_admitted_follows_its_connect() -> None:
    room = Room("a")
    member = room.fanout.join(room.sessions["a"].state, "/x")
    await room.fanout.emit("welcome", None, "/x", room=member.sid)
    room.fanout.connect(member)
    assert room.sessions["a"].sent == [(f'40/x,{{"sid":"{member.sid}"}}',), ('42/x,["welcome"]',)]


async def test_bytes_go_as_attachments() -> None:
    room = Room("a")
    await room.connect()
    await room.fanout.emit("hello", {"b": b"\x01"}, "/x")
    assert room.sessions["a"].sent == [('451-/x,["hello",{"b":{"_placeholder":true,"num":0}}]', b"\x01")]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["enter", "leave", "go", "come"]), st.sampled_from("rs"))
    )
)
async def test_rooms_and_members_agree_and_nothing_is_left(steps: list[tuple[str, str, str]]) -> None:
    room = Room("a", "b", "c")
    expected: dict[str, set[str]] = {}
    for id, step, name in steps:
        if step == "come" and id not in expected:
            await room.connect(id)
            expected[id] = set()
        elif id in expected and step == "go":
            room.fanout.drop(room.members[id])
            del expected[id]
        elif id in expected and step == "enter":
            await room.fanout.enter_room(room.sids[id], "/x", name)
            expected[id].add(name)
        elif id in expected and step == "leave":
            await room.fanout.leave_room(room.sids[id], "/x", name)
            expected[id].discard(name)
        for each, rooms in expected.items():
            assert set(room.fanout.get_rooms(room.sids[each], "/x")) == rooms | {room.sids[each]}
        for each in "rs":
            present = {eio_sid for _, eio_sid in room.fanout.get_participants("/x", each)}
            assert present == {id for id, rooms in expected.items() if each in rooms}
    for id in list(expected):
        room.fanout.drop(room.members[id])
    assert (room.fanout._rooms, room.fanout._namespaces, len(room.fanout)) == ({}, {}, 0)


async def test_who_asked_for_recovery_gets_an_offset_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0)  # where offsets begin
    room = Room("a", "b", recovery=Bounds())
    await room.connect("a")
    await room.connect("b", recoverable=True)
    room.fanout.deliver("/x", ["hello", {"n": 1}], room=None)
    room.fanout.deliver("/x", ["tick", {"n": 2}], room=None, volatile=True)
    assert room.sessions["a"].sent == [('42/x,["hello",{"n":1}]',), ('42/x,["tick",{"n":2}]',)]
    assert room.sessions["b"].sent == [('42/x,["hello",{"n":1},"1"]',), ('42/x,["tick",{"n":2}]',)]


async def test_who_comes_back_gets_what_it_missed_before_its_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0)  # where offsets begin
    room = Room("a", "b", "c", recovery=Bounds())
    await room.connect("a")
    await room.connect("b", recoverable=True)
    room.fanout.enter(room.members["b"], "r")
    dropped = room.members["b"]
    pid = dropped.recoverable.pid if dropped.recoverable is not None else ""
    room.fanout.deliver("/x", ["seen", {}], room="r")
    room.fanout.drop(dropped, resumable=True)
    room.fanout.deliver("/x", ["missed", {}], room="r")
    room.fanout.deliver("/x", ["elsewhere", {}], room="other")
    back = room.fanout.join(room.sessions["c"].state, "/x")
    assert room.fanout.resume(back, pid, "1", Identity("b")) == 1
    room.fanout.connect(back, 1)
    assert back.sid == dropped.sid
    assert room.sessions["c"].sent == [
        ('42/x,["missed",{},"2"]',),
        (f'40/x,{{"sid":"{back.sid}","pid":"{pid}"}}',),
    ]
    room.fanout.deliver("/x", ["live", {}], room="r")
    assert room.sessions["c"].sent[-1] == ('42/x,["live",{},"3"]',)
