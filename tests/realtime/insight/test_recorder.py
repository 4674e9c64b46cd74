from __future__ import annotations

from server.identity import Identity
from server.realtime.connection import Connection
from server.realtime.insight.recorder import (
    CONFLATED,
    DROPPED,
    MAX_EVENTS,
    MAX_RUNS,
    NOTABLE_SECONDS,
    Record,
    Recorder,
)
from server.realtime.rooms import EVERYONE, room_name, user_room

ROOM = room_name("acme", "session", "s1")


def connection(id: str = "c1") -> Connection:
    return Connection(id, "/chat", Identity("alice", tenant="acme"), "10.0.0.1", rooms={EVERYONE})


def record() -> Record:
    return Recorder().connected(connection(), "websocket", "/socket.io/", replayed=None)


def happened(each: Record) -> list[str]:
    return [event.what for event in each.shown()]


def said(seq: int) -> str:
    return f'42/chat,["tick",{{"seq":{seq}}}]'


def test_what_becomes_of_a_connection() -> None:
    recorder = Recorder()
    it = recorder.connected(connection(), "polling", "/socket.io/", replayed=None)
    it.joined(ROOM)
    it.left(ROOM)
    it.disconnected("transport close", resumable=True)
    recorder.gone(it)
    assert [event.to_wire() | {"at": 0} for event in it.events] == [
        {"at": 0, "what": "connected", "transport": "polling", "door": "/socket.io/"},
        {"at": 0, "what": "joined", "room": ROOM},
        {"at": 0, "what": "left", "room": ROOM},
        {"at": 0, "what": "disconnected", "reason": "transport close", "resumable": True},
    ]
    assert recorder.find("c1") is it


def test_rooms_that_everybody_is_in_are_not_worth_a_line() -> None:
    it = record()
    for room in (EVERYONE, "c1", user_room("acme", "alice")):
        it.joined(room)
        assert it.implies(room)
    assert happened(it) == ["connected"]
    assert not it.implies(user_room("rival", "alice"))


def test_who_comes_back_goes_on_with_its_record() -> None:
    recorder = Recorder()
    it = recorder.connected(connection(), "websocket", "/socket.io/", replayed=None)
    it.disconnected("transport close", resumable=True)
    recorder.gone(it)
    again = recorder.connected(connection(), "websocket", "/socket.io/", replayed=3)
    assert again is it
    assert (happened(it), it.gone_at, it.recovered) == (["connected", "disconnected", "resumed"], None, True)
    assert len(recorder) == 1


def test_the_oldest_is_given_up_and_what_it_meant_is_kept() -> None:
    it = record()
    it.joined(ROOM)
    for number in range(MAX_EVENTS):
        it.add("told", str(number), 1)
    assert (len(it.events), it.lost) == (MAX_EVENTS, 2)
    assert (it.began_connected, it.began_rooms) == (True, {ROOM})


def test_missed_messages_in_a_row_are_one_line() -> None:
    it = record()
    for seq in (1, 2, 3, 7, 8):
        it.missed(said(seq), ROOM, CONFLATED)
    it.missed(said(9), ROOM, DROPPED)
    it.missed(said(4), "other", CONFLATED)
    assert [(run.room, run.how, run.first_seq, run.last_seq, run.count) for run in it.runs or ()] == [
        (ROOM, CONFLATED, 1, 3, 3),
        (ROOM, CONFLATED, 7, 8, 2),
        (ROOM, DROPPED, 9, 9, 1),
        ("other", CONFLATED, 4, 4, 1),
    ]
    assert (it.conflated, it.dropped) == (6, 1)


def test_missed_messages_without_numbers_are_counted() -> None:
    it = record()
    for _ in range(1000):
        it.missed('42/chat,["typing",{}]', ROOM, DROPPED)
    [run] = it.runs or ()
    assert (run.first_seq, run.count) == (None, 1000)


def test_rows_of_missed_messages_are_bounded() -> None:
    it = record()
    for seq in range(0, 1000, 2):
        it.missed(said(seq), ROOM, DROPPED)
    assert it.runs is not None
    assert (len(it.runs), it.runs[-1].last_seq, it.dropped) == (MAX_RUNS, 998, 500)


def test_a_moment_behind_is_not_worth_a_line() -> None:
    it = record()
    it.behind(1, 10)
    assert happened(it) == ["connected", "behind"]
    it.caught_up(1, 10)
    assert happened(it) == ["connected"]


def test_times_behind_that_cost_messages_are_one_where_they_are_close() -> None:
    it = record()
    for _ in range(50):
        it.behind(1, 10)
        it.missed(said(1), ROOM, DROPPED)
        it.caught_up(7, 70)
    assert happened(it) == ["connected", "caught_up"]
    seconds, *rest = it.events[-1].fields
    assert (seconds < NOTABLE_SECONDS, rest) == (True, [7, 70, 50, 0])


def test_who_goes_while_it_is_behind_is_not_behind_any_more() -> None:
    it = record()
    it.behind(1, 10)
    it.missed(said(1), ROOM, DROPPED)
    it.disconnected("transport error", resumable=True)
    assert happened(it) == ["connected", "caught_up", "disconnected"]
    assert not it.is_behind


def test_who_is_gone_is_forgotten_after_a_while_and_those_here_are_not() -> None:
    now = 1e12  # long after what the records say
    recorder = Recorder(seconds=60, now=lambda: now)
    gone, here = [recorder.connected(connection(id), "websocket", "", replayed=None) for id in ("c1", "c2")]
    gone.disconnected("client disconnect", resumable=False)
    recorder.gone(gone)
    assert list(recorder) == [here]


def test_of_who_is_gone_so_many_are_remembered() -> None:
    recorder = Recorder(most=10)
    for number in range(100):
        it = recorder.connected(connection(f"c{number}"), "websocket", "", replayed=None)
        it.disconnected("client disconnect", resumable=False)
        recorder.gone(it)
    assert len(recorder) == 10
    assert recorder.find("c99") is not None
    assert recorder.find("c0") is None


def test_who_is_gone_with_a_long_record_is_forgotten_sooner() -> None:
    recorder = Recorder(most_events=1000)
    for number in range(100):
        it = recorder.connected(connection(f"c{number}"), "websocket", "", replayed=None)
        for room in range(MAX_EVENTS):
            it.joined(room_name("acme", "session", f"s{room}"))
        it.disconnected("client disconnect", resumable=False)
        recorder.gone(it)
        it.missed(said(number), ROOM, DROPPED)  # what is counted stays as it was
    assert len(recorder) == 4
    assert recorder.find("c99") is not None


def test_who_comes_back_counts_among_the_gone_no_more() -> None:
    recorder = Recorder(most_events=10)
    for _ in range(100):
        it = recorder.connected(connection(), "websocket", "", replayed=0)
        it.disconnected("transport close", resumable=True)
        recorder.gone(it)
        it.events.clear()
    assert recorder.find("c1") is it


def test_all_that_is_known_of_those_who_are_here_is_bounded_too() -> None:
    recorder = Recorder(most_events=1000)
    records = [recorder.connected(connection(f"c{n}"), "websocket", "", replayed=None) for n in range(50)]
    gone = recorder.connected(connection("gone"), "websocket", "", replayed=None)
    gone.disconnected("client disconnect", resumable=False)
    recorder.gone(gone)
    for number in range(100):
        for each in records:
            each.add("told", str(number), 1)
            assert sum(one.size for one in recorder) <= 1000
    assert list(recorder) == records, "who is gone is forgotten first"
    assert {each.events[-1].fields[0] for each in records} == {"99"}
    assert min(len(each.events) for each in records) > 15, "the oldest of all of them, not all of one"
    assert all(each.began_connected and each.lost for each in records)


def test_the_last_that_happened_to_each_is_kept() -> None:
    recorder = Recorder(most_events=10)
    records = [recorder.connected(connection(f"c{n}"), "websocket", "", replayed=None) for n in range(100)]
    for each in records:
        each.joined(ROOM)
        for seq in range(0, 100, 2):
            each.missed(said(seq), ROOM, DROPPED)
    assert all(len(each.events) in (1, 2) for each in records)
    assert sum(len(each.runs or ()) for each in records) < 20
    assert records[0].runs_lost_until > 0


def test_what_is_added_to_a_forgotten_record_counts_for_nobody() -> None:
    recorder = Recorder(most=0, most_events=10)
    it = recorder.connected(connection(), "websocket", "", replayed=None)
    it.disconnected("client disconnect", resumable=False)
    recorder.gone(it)
    other = recorder.connected(connection("other"), "websocket", "", replayed=None)
    other.joined(ROOM)
    for number in range(100):
        it.add("told", str(number), 1)
    assert happened(other) == ["connected", "joined"]
