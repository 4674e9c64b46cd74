from __future__ import annotations

import time

import pytest

from server.identity import Identity
from server.realtime.recovery import Bounds
from tests.support.rooms import Room


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
    assert await room.fanout.resume(back, pid, "1", Identity("b"))
    room.fanout.connect(back)
    assert back.sid == dropped.sid
    assert room.sessions["c"].sent == [
        ('42/x,["missed",{},"2"]',),
        (f'40/x,{{"sid":"{back.sid}","pid":"{pid}"}}',),
    ]
    room.fanout.deliver("/x", ["live", {}], room="r")
    assert room.sessions["c"].sent[-1] == ('42/x,["live",{},"3"]',)
