from __future__ import annotations

import pytest

from server.identity import Identity
from server.realtime.connection import Connection
from server.realtime.insight import views
from server.realtime.insight.ledger import VOLATILE, Entry
from server.realtime.insight.recorder import DROPPED, Event, Recorder, Run
from server.realtime.insight.verdict import Verdict
from server.realtime.insight.views import Sight
from server.realtime.rooms import EVERYONE, parse_room, room_name

ACME = Sight(everywhere=False, tenant="acme")
BOB = Connection("c1", "/chat", Identity("bob", tenant="acme", roles=frozenset({"operator"})), "10.0.0.1")


@pytest.mark.parametrize("tenant", [None, "acme", "a:b", "7:acme:"])
@pytest.mark.parametrize("name", ["s1", "a:b:c", ":", "4:acme:x", "데스크"])
def test_a_rooms_name_says_what_it_was_made_of(tenant: str | None, name: str) -> None:
    assert parse_room(room_name(tenant, "session", name)) == ("session", tenant, name)


@pytest.mark.parametrize("room", [EVERYONE, "", "x:", "x:y", "x:9:short", "x:-1:y", "x:99999:y", "x:²:y"])
def test_a_name_that_was_not_made_so_is_of_no_tenant(room: str) -> None:
    assert parse_room(room).tenant is None
    assert not ACME.covers_room(room)


def test_a_tenant_sees_its_own() -> None:
    assert ACME.covers(BOB)
    assert not Sight(everywhere=False, tenant="rival").covers(BOB)
    assert Sight(everywhere=True, tenant=None).covers(BOB)
    assert Sight.of(ACME.to_wire()) == ACME


def test_of_who_is_gone_its_record() -> None:
    record = Recorder().connected(BOB, "polling", "/socket.io/", replayed=None)
    record.joined("session:4:acme:s1")
    record.disconnected("transport close", resumable=True)
    view = views.of_record(record, None, "n1")
    assert (view["state"], view["reason"], view["recoverable"], view["rooms"]) == ("gone", "transport close", True, [])
    assert (view["known_rooms"], view["roles"]) == (["session:4:acme:s1"], ["operator"])
    assert [each["what"] for each in view["record"]] == ["connected", "joined", "disconnected"]


def test_a_verdict_shows_no_text_of_a_message() -> None:
    entry = Entry(5.0, VOLATILE, '42/chat,["message",{"seq":3,"content":"a secret"}]', "", ("r",), ())
    run = Run("r", DROPPED, 3, 4, 2, 5.0, 6.0)
    view = views.of_verdict(Verdict(DROPPED, "words", entry, [Event(4.0, "joined", ("r",))], [run]))
    assert view["message"] == {"seq": 3, "offset": None, "at": 5.0, "event": "message", "volatile": True}
    assert [each["what"] for each in view["evidence"]] == ["joined", "dropped"]
    assert "secret" not in str(view)
