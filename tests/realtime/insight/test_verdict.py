"""Every verdict there is, from the unhappy ones on."""

from __future__ import annotations

from server.identity import Identity
from server.realtime.connection import Connection
from server.realtime.insight.ledger import AND_MORE, PACED, SENT, VOLATILE, Entry
from server.realtime.insight.recorder import CONFLATED, DROPPED, MAX_EVENTS, Event, Record, Run
from server.realtime.insight.verdict import CODES, TEXTS, gravest, judge_number, judge_offset, judge_time
from server.realtime.rooms import EVERYONE

ROOM, OTHER = "session:0::s1", "session:0::s2"


def record(*events: tuple[float, str, *tuple[object, ...]]) -> Record:
    """Connected at 10 s."""
    connection = Connection("c1", "/chat", Identity("alice"), "10.0.0.1", connected_at=10.0)
    found = Record(connection, "websocket", "/socket.io/")
    found.events = [Event(10.0, "connected", ("websocket", "")), *(Event(at, what, rest) for at, what, *rest in events)]
    found.events = [Event(each.at, each.what, tuple(each.fields)) for each in found.events]
    return found


def came_back() -> Record:
    joined = (20.0, "joined", ROOM)
    return record(joined, (30.0, "disconnected", "x", True), (40.0, "resumed", 2), (40.0, "joined", ROOM))


def entry(seq: int, at: float, *, kind: int = SENT, skip: tuple[str, ...] = (), room: str = ROOM) -> Entry:
    return Entry(at, kind, f'42/chat,["message",{{"seq":{seq}}}]', f'["message",{{}},"{seq}00"]', (room,), skip)


def code(it: Record, *entries: Entry, seq: int = 1, room: str = ROOM) -> str:
    return judge_number(it, room, entries, seq).code


MEMBER = record((20.0, "joined", ROOM))


def test_sent() -> None:
    assert code(MEMBER, entry(1, 30.0)) == "sent"
    assert judge_offset(MEMBER, ROOM, [entry(1, 30.0)], "100").code == "sent"


def test_not_in_the_room_then() -> None:
    found = judge_number(MEMBER, ROOM, [entry(1, 15.0)], 1)
    assert (found.code, [each.what for each in found.evidence]) == ("not_in_room", ["connected", "joined"])
    assert "joined 5.0 s later" in found.text
    left = record((20.0, "joined", ROOM), (25.0, "left", ROOM))
    assert "left 5.0 s before" in judge_number(left, ROOM, [entry(1, 30.0)], 1).text
    assert "never" in judge_number(record(), ROOM, [entry(1, 30.0)], 1).text


def test_in_one_of_several_rooms_that_it_was_sent_to() -> None:
    both = Entry(30.0, SENT, '42/x,["tick",{"seq":1}]', "", (OTHER, ROOM), ())
    assert judge_number(MEMBER, OTHER, [both], 1).code == "sent"


def test_rooms_that_everybody_is_in() -> None:
    assert code(record(), entry(1, 30.0, room=EVERYONE), room=EVERYONE) == "sent"


def test_not_connected_then() -> None:
    assert code(MEMBER, entry(1, 5.0)) == "not_connected"
    gone = record((20.0, "joined", ROOM), (30.0, "disconnected", "client disconnect", False))
    assert code(gone, entry(1, 31.0)) == "not_connected"


def test_replayed_to_who_came_back() -> None:
    back = came_back()
    assert code(back, entry(1, 35.0)) == "replayed"
    assert code(back, entry(1, 35.0, kind=VOLATILE)) == "not_connected"
    assert code(back, entry(1, 35.0, room=OTHER), room=OTHER) == "not_in_room"
    assert code(back, entry(1, 29.0)) == "sent"
    assert code(back, entry(1, 41.0)) == "sent"


def test_replayed_to_who_came_from_another_node() -> None:
    moved = record((40.0, "resumed", 2), (40.0, "joined", ROOM), (50.0, "joined", OTHER))
    del moved.events[0]
    assert code(moved, entry(1, 35.0)) == "replayed"
    assert code(moved, entry(1, 35.0, room=OTHER), room=OTHER) == "not_in_room"


def test_who_came_back_as_somebody_new_got_no_replay() -> None:
    back = record((20.0, "joined", ROOM), (30.0, "disconnected", "x", True), (40.0, "connected", "websocket", ""))
    assert code(back, entry(1, 35.0)) == "not_connected"


def test_what_it_had_already_is_not_sent_again() -> None:
    back = came_back()
    assert code(back, entry(1, 40.1, skip=("c1",))) == "replayed"
    assert code(MEMBER, entry(1, 40.1, skip=("c1",))) == "skipped"
    assert code(MEMBER, entry(1, 40.1, skip=(ROOM,))) == "skipped"


def test_dropped_and_conflated() -> None:
    for how in (DROPPED, CONFLATED):
        it = record((20.0, "joined", ROOM))
        it.runs = [Run(ROOM, how, 5, 9, 5, 30.0, 31.0)]
        assert code(it, entry(7, 30.0, kind=VOLATILE), seq=7) == how
        assert code(it, seq=7) == how, "the ledger may have forgotten it"
        assert code(it, entry(10, 32.0, kind=VOLATILE), seq=10) == "sent"


def test_paced_for_everybody() -> None:
    offered = entry(1, 30.0, kind=PACED)
    assert code(MEMBER, offered) == "conflated"
    assert code(MEMBER, offered, entry(1, 30.1, kind=VOLATILE)) == "sent"


def test_just_before_its_end_it_may_not_have_arrived() -> None:
    gone = record((20.0, "joined", ROOM), (30.5, "disconnected", "transport close", False))
    found = judge_number(gone, ROOM, [entry(1, 30.0)], 1)
    assert (found.code, "may not have arrived" in found.text) == ("sent", True)


def test_what_is_not_known_is_not_judged() -> None:
    assert code(MEMBER, seq=1) == "unknown"
    assert code(MEMBER, entry(5, 30.0), seq=1) == "unknown"
    assert code(MEMBER, entry(5, 30.0), seq=6) == "no_such_message"
    assert judge_offset(MEMBER, ROOM, [entry(5, 30.0)], "7").code == "unknown"
    old = record(*[(20.0 + number, "told", "x", 1) for number in range(MAX_EVENTS)])
    old.lost, old.events = 1, old.events[1:]
    assert code(old, entry(1, 15.0)) == "unknown"


def test_of_names_and_runs_that_were_given_up_nothing_is_said() -> None:
    some = Entry(30.0, SENT, entry(1, 30.0).head, "", (OTHER, AND_MORE), ())
    assert code(MEMBER, some) == "unknown"
    assert code(MEMBER, entry(1, 40.1, skip=("c9", AND_MORE))) == "unknown"
    assert code(MEMBER, entry(1, 40.1, skip=("c1", AND_MORE))) == "skipped"
    it = record((20.0, "joined", ROOM))
    it.runs_lost_until = 31.0
    assert code(it, entry(1, 30.0)) == "unknown"
    assert code(it, entry(1, 32.0)) == "sent"


def test_what_is_about_a_message_is_not_the_message() -> None:
    read = Entry(40.0, SENT, '42/chat,["read",{"session_id":"s1","seq":1}]', "", (ROOM,), ())
    assert code(MEMBER, read) == "unknown"
    assert code(MEMBER, entry(1, 15.0), read) == "not_in_room"


def test_all_that_was_said_about_then() -> None:
    entries = [entry(1, 10.5), entry(2, 21.0), entry(2, 21.0, kind=PACED), entry(3, 22.5), entry(4, 60.0)]
    found = judge_time(MEMBER, ROOM, entries, 21.0)
    assert [(each.code, each.entry.seq) for each in found if each.entry] == [("sent", 2), ("sent", 3)]
    assert judge_time(MEMBER, ROOM, entries, 40.0) == []
    found = judge_time(MEMBER, ROOM, [entry(1, 19.5), entry(2, 21.0)], 20.0)
    assert gravest(found).code == "not_in_room"
    assert gravest([]).code == "unknown"


def test_every_code_has_its_words() -> None:
    assert set(CODES) == set(TEXTS)
