from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.identity import Identity
from server.realtime.recovery import Bounds
from tests.support.rooms import opened


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
async def test_who_hears_it(redis_url: str | None, options: dict[str, Any], heard: dict[str, int]) -> None:
    async with opened(redis_url, "a", "b", "c") as room:
        await room.connect()
        for id, name in (("a", "r"), ("b", "r"), ("b", "s"), ("c", "s")):
            await room.fanout.enter_room(room.sids[id], "/x", name)
        await room.fanout.emit("hello", {"n": 1}, **({"namespace": "/x"} | options))
        assert room.heard() == heard


async def test_a_connection_is_a_room_and_can_be_left_out(redis_url: str | None) -> None:
    async with opened(redis_url, "a", "b") as room:
        await room.connect()
        await room.fanout.emit("hello", None, "/x", room=room.sids["a"])
        assert room.heard() == {"a": 1}
        await room.fanout.emit("hello", None, "/x", skip_sid=room.sids["a"])
        assert room.heard() == {"a": 1, "b": 1}


async def test_one_packet_serves_all(redis_url: str | None) -> None:
    async with opened(redis_url, "a", "b") as room:
        await room.connect()
        await room.fanout.emit("hello", {"n": 1}, "/x")
        assert room.sessions["a"].sent[0] is room.sessions["b"].sent[0]
        assert room.sessions["a"].sent == [('42/x,["hello",{"n":1}]',)]


async def test_nothing_is_sent_to_who_is_not_admitted_yet_or_gone(redis_url: str | None) -> None:
    async with opened(redis_url, "a", "b") as room:
        member = room.fanout.join(room.sessions["a"].state, "/x")
        await room.fanout.emit("hello", None, "/x")
        assert room.heard() == {}
        room.fanout.connect(member)
        assert room.fanout.is_connected(member.sid, "/x")
        room.sessions["a"].sent.clear()
        room.fanout.drop(member)
        await room.fanout.emit("hello", None, "/x")
        assert room.heard() == {}


async def test_what_is_sent_to_one_alone_while_it_is_admitted_follows_its_connect(redis_url: str | None) -> None:
    async with opened(redis_url, "a") as room:
        member = room.fanout.join(room.sessions["a"].state, "/x")
        await room.fanout.emit("welcome", None, "/x", room=member.sid)
        room.fanout.connect(member)
        assert room.sessions["a"].sent == [(f'40/x,{{"sid":"{member.sid}"}}',), ('42/x,["welcome"]',)]


async def test_bytes_go_as_attachments(redis_url: str | None) -> None:
    async with opened(redis_url, "a") as room:
        await room.connect()
        await room.fanout.emit("hello", {"b": b"\x01"}, "/x")
        assert room.sessions["a"].sent == [('451-/x,["hello",{"b":{"_placeholder":true,"num":0}}]', b"\x01")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # a URL
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["enter", "leave", "go", "come"]), st.sampled_from("rs"))
    )
)
async def test_rooms_and_members_agree_and_nothing_is_left(
    redis_url: str | None, steps: list[tuple[str, str, str]]
) -> None:
    async with opened(redis_url, "a", "b", "c") as room:
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


async def test_who_asked_for_recovery_gets_an_offset_and_others_do_not(redis_url: str | None) -> None:
    async with opened(redis_url, "a", "b", recovery=Bounds()) as room:
        await room.connect("a")
        await room.connect("b", recoverable=True)
        room.fanout.deliver("/x", ["hello", {"n": 1}], room=None)
        room.fanout.deliver("/x", ["tick", {"n": 2}], room=None, volatile=True)
        assert room.sessions["a"].sent == [('42/x,["hello",{"n":1}]',), ('42/x,["tick",{"n":2}]',)]
        [(numbered,), tick] = room.sessions["b"].sent
        assert re.fullmatch(r'42/x,\["hello",{"n":1},"[0-9a-f-]+"]', numbered)
        assert tick == ('42/x,["tick",{"n":2}]',)


async def test_who_comes_back_gets_what_it_missed_before_its_connect(redis_url: str | None) -> None:
    async with opened(redis_url, "a", "b", "c", recovery=Bounds()) as room:
        await room.connect("a")
        await room.connect("b", recoverable=True)
        room.fanout.enter(room.members["b"], "r")
        dropped = room.members["b"]
        pid = dropped.recoverable.pid if dropped.recoverable is not None else ""
        room.fanout.deliver("/x", ["seen", {}], room="r")
        [(seen,)] = room.sessions["b"].sent
        room.fanout.drop(dropped, resumable=True)
        room.fanout.deliver("/x", ["missed", {}], room="r")
        room.fanout.deliver("/x", ["elsewhere", {}], room="other")
        back = room.fanout.join(room.sessions["c"].state, "/x")
        assert await room.fanout.resume(back, pid, json.loads(seen[5:])[-1], Identity("b"))
        room.fanout.connect(back)
        room.fanout.deliver("/x", ["live", {}], room="r")
        assert back.sid == dropped.sid
        [(missed,), connect, (live,)] = room.sessions["c"].sent
        assert missed.startswith('42/x,["missed",{},"')
        assert connect == (f'40/x,{{"sid":"{back.sid}","pid":"{pid}"}}',)
        assert live.startswith('42/x,["live",{},"')
