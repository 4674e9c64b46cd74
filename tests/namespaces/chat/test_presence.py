from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.identity import Identity
from server.namespaces.chat.presence import Presence
from server.realtime.connection import Connection

CONNECTIONS = [Connection(f"c{number}", "/chat", Identity(f"user{number % 2}"), "") for number in range(4)]
SESSIONS = ["s1", "s2"]


def test_a_user_arrives_with_the_first_connection_and_goes_with_the_last() -> None:
    presence = Presence()
    first, other, second = CONNECTIONS[0], CONNECTIONS[1], CONNECTIONS[2]
    assert presence.enter("s1", first)
    assert presence.enter("s1", other)
    assert not presence.enter("s1", second)
    assert not presence.enter("s1", first)
    assert presence.online("s1") == ["user0", "user1"]
    assert not presence.leave("s1", first)
    assert not presence.leave("s1", first)
    assert presence.leave("s1", second)
    assert presence.online("s1") == ["user1"]


def test_what_was_never_entered_is_not_left() -> None:
    presence = Presence()
    assert not presence.leave("s1", CONNECTIONS[0])
    assert presence.sessions(CONNECTIONS[0]) == presence.online("s1") == []


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(SESSIONS), st.sampled_from(CONNECTIONS))))
def test_arrivals_less_departures_are_who_is_online(steps: list[tuple[bool, str, Connection]]) -> None:
    presence = Presence()
    inside: set[tuple[str, Connection]] = set()
    told: dict[str, set[str]] = {session: set() for session in SESSIONS}
    for entering, session, connection in steps:
        if entering:
            inside.add((session, connection))
            if presence.enter(session, connection):
                assert connection.user_id not in told[session]
                told[session].add(connection.user_id)
        else:
            inside.discard((session, connection))
            if presence.leave(session, connection):
                told[session].remove(connection.user_id)
        for each in SESSIONS:
            assert set(presence.online(each)) == told[each] == {c.user_id for s, c in inside if s == each}
            assert all(presence.holds(each, c) is ((each, c) in inside) for c in CONNECTIONS)
    for connection in CONNECTIONS:
        for session in presence.sessions(connection):
            presence.leave(session, connection)
    assert not presence._sessions
    assert not presence._joined
