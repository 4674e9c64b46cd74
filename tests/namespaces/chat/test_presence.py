from __future__ import annotations

import json

import pytest

from server.identity import Identity
from server.namespaces.chat.presence import describe, note, session_of, session_room
from server.realtime.connection import Connection
from server.realtime.rooms import EVERYONE, user_room

ALICE = Connection("c1", "/chat", Identity("alice"), "", connected_at=1761820200.0)


@pytest.mark.parametrize("tenant", [None, "acme", "a:b", ":"])
@pytest.mark.parametrize("name", ["s1", "", "a:b:c", "0::s1"])
def test_a_sessions_room_names_it(tenant: str | None, name: str) -> None:
    assert session_of(session_room(tenant, name)) == name
    assert session_of(user_room(tenant, name)) is None


def test_rooms_that_are_nobodys() -> None:
    assert session_of(EVERYONE) is None
    assert describe(EVERYONE) is None


def test_a_session_shows_its_users() -> None:
    shown = describe(session_room("acme", "s1"))
    assert shown is not None
    assert shown.key == "ws:sessions:s1"
    assert json.loads(shown.text(["앨리스".encode(), b"bob"], [])) == ["앨리스", "bob"]


def test_a_user_shows_the_newest_connection() -> None:
    shown = describe(user_room(None, "alice"))
    assert shown is not None
    assert shown.key == "ws:connections:alice"
    later = Connection("c2", "/chat", ALICE.identity, "", connected_at=ALICE.connected_at + 1)
    notes = [note(each, session).encode() for each, session in ((later, None), (ALICE, "s1"))]
    text = json.loads(shown.text([b"alice"], notes))
    assert text.pop("last_ping").endswith("Z")
    assert text == {"connection_id": "c2", "session_id": None, "connected_at": "2025-10-30T10:30:01.000Z"}
    assert json.loads(shown.text([b"alice"], notes[1:]))["session_id"] == "s1"


def test_a_tenants_user_is_another() -> None:
    shown = describe(user_room("acme", "alice"))
    assert shown is not None
    assert shown.key == "ws:connections:acme:alice"
