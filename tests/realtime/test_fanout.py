from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.fanout import Fanout


class Session:
    def __init__(self, id: str) -> None:
        self.id = id
        self.sent: list[Any] = []

    def send(self, packet: Any) -> None:
        self.sent.append(packet.data)


class Room:
    """Some sessions, connected to `/x` unless said otherwise."""

    def __init__(self, *ids: str) -> None:
        self.sessions = {id: Session(id) for id in ids}
        self.fanout = Fanout()
        self.fanout.set_server(SimpleNamespace(eio=SimpleNamespace(sessions=self.sessions)))  # type: ignore[arg-type]
        self.sids: dict[str, str] = {}

    async def connect(self, *ids: str) -> None:
        for id in ids or self.sessions:
            sid = await self.fanout.pre_connect(id, "/x")
            assert sid is not None
            self.sids[id] = await self.fanout.connect(sid, "/x")

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
    assert room.sessions["a"].sent == ['42/x,["hello",{"n":1}]']


async def test_nothing_is_sent_to_who_is_not_admitted_yet_or_leaving() -> None:
    room = Room("a", "b")
    sid = await room.fanout.pre_connect("a", "/x")
    assert sid is not None
    await room.fanout.emit("hello", None, "/x")
    await room.fanout.connect(sid, "/x")
    assert room.fanout.is_connected(sid, "/x")
    room.fanout.pre_disconnect(sid, "/x")
    await room.fanout.emit("hello", None, "/x")
    assert room.heard() == {}


async def test_a_session_enters_a_namespace_once() -> None:
    room = Room("a")
    await room.connect()
    assert await room.fanout.pre_connect("a", "/x") is None
    assert await room.fanout.pre_connect("gone", "/x") is None


async def test_bytes_go_as_attachments() -> None:
    room = Room("a")
    await room.connect()
    await room.fanout.emit("hello", {"b": b"\x01"}, "/x")
    assert room.sessions["a"].sent == ['451-/x,["hello",{"b":{"_placeholder":true,"num":0}}]', b"\x01"]


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
            await room.fanout.disconnect(room.sids[id], "/x")
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
        await room.fanout.disconnect(room.sids[id], "/x")
    assert (room.fanout._rooms, room.fanout._namespaces, len(room.fanout)) == ({}, {}, 0)
