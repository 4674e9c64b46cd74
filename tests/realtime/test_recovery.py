from __future__ import annotations

import pytest

from server.identity import Identity, anonymous
from server.realtime.engine import frames
from server.realtime.recovery import Bounds, Recoverable, Recovery
from server.realtime.rooms import ALL

ALICE = Identity("alice")


def say(recovery: Recovery, *rooms: str, skip: tuple[str, ...] = (), text: str = "", now: float = 0) -> str:
    """Sends an event as the server does; what it says, by which it is known again."""
    if not recovery.watches(rooms):
        return ""
    offset = recovery.next_offset()
    said = f"{offset}:{text}"
    recovery.log(offset, rooms, skip, frames.message(said), now)
    return said


def texts(packets: list[frames.Packet]) -> list[str]:
    return [str(packet.parts[0])[1:] for packet in packets]


def missed(recovery: Recovery, session: Recoverable, offset: str | None, now: float = 0) -> list[str] | None:
    """What a client that comes back is sent; None when it is given a new session."""
    found = recovery.resume(session.pid, offset, session.identity, now)
    return None if found is None else texts(recovery.missed(found, found.after))


@pytest.fixture
def recovery() -> Recovery:
    return Recovery(Bounds(seconds=10, retention=15))


@pytest.fixture
def session(recovery: Recovery) -> Recoverable:
    return recovery.open("sid", ALICE)


# -- who may resume ---------------------------------------------------------------------------------------------


def test_a_dropped_session_is_resumed_with_its_id_and_rooms(recovery: Recovery, session: Recoverable) -> None:
    recovery.enter(session, "r")
    recovery.dropped(session, now=0)
    found = recovery.resume(session.pid, None, ALICE, now=9.9)
    assert found is not None
    assert (found.sid, set(found.rooms)) == ("sid", {"sid", ALL, "r"})


def test_pids_are_long_and_never_the_same(recovery: Recovery) -> None:
    pids = {recovery.open(f"s{number}", ALICE).pid for number in range(100)}
    assert len(pids) == 100
    assert min(map(len, pids)) >= 24


@pytest.mark.parametrize(
    ("owner", "other", "resumed"),
    [
        (ALICE, Identity("alice", roles=frozenset({"admin"})), True),
        (ALICE, Identity("bob"), False),
        (ALICE, Identity("alice", tenant="other"), False),
        (ALICE, anonymous(), False),
        (anonymous(), ALICE, False),
        (anonymous(), anonymous(), True),  # a visitor has another name each time
    ],
)
def test_only_its_user_resumes_a_session(recovery: Recovery, owner: Identity, other: Identity, resumed: bool) -> None:
    session = recovery.open("sid", owner)
    recovery.dropped(session, now=0)
    assert (recovery.resume(session.pid, None, other, now=1) is not None) is resumed
    if not resumed:
        assert recovery.resume(session.pid, None, owner, now=1) is not None, "whoever tries in vain takes nothing away"


@pytest.mark.parametrize("pid", [None, "", "unknown", 5, True, ["pid"], {"pid": 1}])
def test_a_pid_that_nobody_has(recovery: Recovery, session: Recoverable, pid: object) -> None:
    recovery.dropped(session, now=0)
    assert recovery.resume(pid, None, ALICE, now=1) is None


def test_one_whose_client_is_connected_is_nobody_elses(recovery: Recovery, session: Recoverable) -> None:
    assert recovery.resume(session.pid, None, ALICE, now=0) is None
    recovery.dropped(session, now=0)
    assert recovery.resume(session.pid, None, ALICE, now=1) is not None
    assert recovery.resume(session.pid, None, ALICE, now=1) is None


@pytest.mark.parametrize(
    ("pid", "identity", "connected", "held"),
    [
        ("its", ALICE, True, "sid"),
        ("its", ALICE, False, None),
        ("its", Identity("bob"), True, None),
        ("unknown", ALICE, True, None),
        (["its"], ALICE, True, None),
        (None, ALICE, True, None),
    ],
)
def test_who_is_connected_in_a_session(
    recovery: Recovery, session: Recoverable, pid: object, identity: Identity, connected: bool, held: str | None
) -> None:
    if not connected:
        recovery.dropped(session, now=0)
    assert recovery.held_by(session.pid if pid == "its" else pid, identity) == held


def test_its_time_runs_from_its_newest_drop(recovery: Recovery, session: Recoverable) -> None:
    recovery.dropped(session, now=0)
    recovery.resume(session.pid, None, ALICE, now=5)
    recovery.prune(now=10)
    recovery.dropped(session, now=12)
    assert recovery.resume(session.pid, None, ALICE, now=21.9) is not None
    recovery.dropped(session, now=22)
    assert recovery.resume(session.pid, None, ALICE, now=32) is None
    assert len(recovery) == 0


def test_a_session_that_ended_is_gone_with_all_it_kept(recovery: Recovery, session: Recoverable) -> None:
    say(recovery, "sid")
    recovery.dropped(session, now=0)
    recovery.end(session)
    recovery.end(session)
    assert recovery.resume(session.pid, None, ALICE, now=0) is None
    assert not recovery.watches(["sid", ALL])


def test_those_that_wait_are_bounded_and_the_oldest_goes_first() -> None:
    recovery = Recovery(Bounds(sessions=2))
    sessions = [recovery.open(f"s{number}", ALICE) for number in range(3)]
    for now, each in enumerate(sessions):
        recovery.dropped(each, now)
    assert [missed(recovery, each, None, now=3) for each in sessions] == [None, [], []]


# -- offsets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "offset",
    [
        "",
        " 1",
        "-1",
        "+1",
        "1.0",
        "1_0",
        "x",
        "٣",
        "²",
        "4",
        "9" * 16,
        "9" * 5000,
        1,
        1.0,
        True,
        ["1"],
        {"offset": "1"},
    ],
)
def test_an_offset_that_was_never_given_out(recovery: Recovery, session: Recoverable, offset: object) -> None:
    for _ in range(3):
        say(recovery, "sid")
    recovery.dropped(session, now=0)
    assert recovery.resume(session.pid, offset, ALICE, now=0) is None
    assert recovery.resume(session.pid, "3", ALICE, now=0) is not None


def test_who_saw_nothing_missed_everything_since_its_session_began(recovery: Recovery) -> None:
    other = recovery.open("other", ALICE)
    say(recovery, ALL, text="before")
    session = recovery.open("sid", ALICE)
    said = say(recovery, ALL, text="after")
    for each in (session, other):
        recovery.dropped(each, now=0)
    assert missed(recovery, session, None) == [said]


def test_an_offset_from_before_the_session_shows_nothing_of_that_time(recovery: Recovery) -> None:
    recovery.enter(recovery.open("other", ALICE), "r")
    say(recovery, ALL, "r", text="before")
    session = recovery.open("sid", ALICE)
    recovery.enter(session, "r")
    recovery.dropped(session, now=0)
    assert missed(recovery, session, "0") == []


def test_a_new_log_begins_where_it_is_told() -> None:
    """So that an offset of the one before it shows everything since the session began, instead of hiding some."""
    recovery = Recovery(Bounds(), offset=100)
    session = recovery.open("sid", ALICE)
    said = [say(recovery, "sid") for _ in range(3)]
    assert said[0] == "101:"
    recovery.dropped(session, now=0)
    assert missed(recovery, session, "51") == said


# -- what was missed --------------------------------------------------------------------------------------------


def test_of_its_rooms_in_order_and_each_once(recovery: Recovery, session: Recoverable) -> None:
    recovery.enter(session, "r")
    recovery.enter(session, "s")
    seen = say(recovery, "r")
    recovery.dropped(session, now=0)
    said = [say(recovery, *rooms) for rooms in (["s"], ["r", "s", "sid"], [ALL], ["sid"], ["r"])]
    assert missed(recovery, session, seen.partition(":")[0]) == said


def test_not_what_it_was_left_out_of(recovery: Recovery, session: Recoverable) -> None:
    recovery.dropped(session, now=0)
    say(recovery, ALL, skip=("sid",))
    said = [say(recovery, ALL, skip=("other",)), say(recovery, ALL, skip=("r",))]
    recovery.enter(session, "r")
    say(recovery, ALL, skip=("r",))
    assert missed(recovery, session, None) == said


def test_not_of_a_room_before_it_entered_nor_of_one_it_left(recovery: Recovery, session: Recoverable) -> None:
    other = recovery.open("other", ALICE)
    recovery.enter(other, "r")
    say(recovery, "r", text="before")
    recovery.enter(session, "r")
    said = say(recovery, "r", text="then")
    recovery.enter(session, "r")  # twice is once
    recovery.enter(session, "left")
    say(recovery, "left")
    recovery.leave(session, "left")
    recovery.leave(session, "left")
    recovery.dropped(session, now=0)
    assert missed(recovery, session, None) == [said]


def test_what_comes_while_it_is_resumed_is_told_apart(recovery: Recovery, session: Recoverable) -> None:
    recovery.dropped(session, now=0)
    before = say(recovery, ALL)
    found = recovery.resume(session.pid, None, ALICE, now=0)
    assert found is not None
    after, alone = say(recovery, ALL), say(recovery, "sid")
    assert texts(recovery.missed(found, found.after, session.resumed_at)) == [before]
    assert texts(recovery.missed(session, session.resumed_at)) == [after, alone]


# -- bounds -----------------------------------------------------------------------------------------------------


def test_what_no_session_could_miss_is_not_logged(recovery: Recovery, session: Recoverable) -> None:
    assert recovery.watches(["elsewhere", "sid"])
    assert not recovery.watches(["elsewhere"])
    recovery.enter(session, "r")
    assert recovery.watches(["r"])
    recovery.leave(session, "r")
    assert not recovery.watches(["r"])


def test_the_log_forgets_with_time(recovery: Recovery, session: Recoverable) -> None:
    say(recovery, ALL, now=0)
    say(recovery, ALL, now=1)
    recovery.prune(now=14.9)
    assert recovery.logged == 2
    recovery.prune(now=15)
    assert recovery.logged == 1


@pytest.mark.parametrize("bounds", [Bounds(messages=3), Bounds(bytes=3 * frames.message("1:").size)])
def test_who_missed_more_than_is_logged_gets_a_new_session(bounds: Bounds) -> None:
    """And only who did: not who had seen it, nor who is in other rooms."""
    recovery = Recovery(bounds)
    behind, abreast, aside = (recovery.open(sid, ALICE) for sid in ("behind", "abreast", "aside"))
    recovery.enter(behind, "r")
    recovery.enter(abreast, "r")
    said = [say(recovery, "r") for _ in range(4)]
    assert recovery.logged == 3
    for each in (behind, abreast, aside):
        recovery.dropped(each, now=0)
    assert missed(recovery, behind, None) is None
    assert missed(recovery, abreast, "1") == said[1:]
    assert missed(recovery, aside, None) == []


def test_who_entered_after_it_was_given_up_did_not_miss_it() -> None:
    recovery = Recovery(Bounds(messages=1))
    other, session = recovery.open("other", ALICE), recovery.open("sid", ALICE)
    recovery.enter(other, "r")
    say(recovery, "r")
    recovery.enter(session, "r")
    said = say(recovery, "r")
    recovery.dropped(session, now=0)
    assert missed(recovery, session, None) == [said]
