"""Why a connection did not get a message, or that it did: judged from its record and from what was said to the room.

Pure. What is not known is called unknown: an administrator acts on this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from server.realtime.insight.ledger import AND_MORE, PACED, SENT, Entry
from server.realtime.insight.recorder import CONFLATED, DROPPED, Event, Record, Run, after

#: The gravest first.
CODES = (
    "dropped",
    "not_connected",
    "not_in_room",
    "conflated",
    "unknown",
    "no_such_message",
    "skipped",
    "replayed",
    "sent",
)
AT_SECONDS = 2.0  # around the time that was asked for
MAX_JUDGED = 100
REPLAY_SECONDS = 5.0  # within which what came from elsewhere meanwhile may be replayed
MOVED_SECONDS = 0.5  # within which what a session joins after it is resumed is what it was in
CUT_SECONDS = 5.0  # before its end, what was handed to a socket may not have arrived

#: Events that name a message's number, and are not that message.
ABOUT = frozenset({"read", "message_edited", "message_deleted"})

TEXTS = {
    "dropped": "The connection read too slowly, and the message was given up for it.",
    "not_connected": "The connection was not there when the message was sent.",
    "not_in_room": "The connection was not in the room when the message was sent.",
    "conflated": "A newer message took the place of this one before it was sent.",
    "unknown": "The record does not go back so far.",
    "no_such_message": "No message of this number was sent to the room yet.",
    "skipped": "The message went to the room, but not to this connection: it is who sent it, or had it already.",
    "replayed": "The connection was away, and recovery sent it the message when it came back.",
    "sent": "The message was handed to the connection's socket.",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    code: str
    text: str
    entry: Entry | None = None
    evidence: Sequence[Event] = ()
    runs: Sequence[Run] = field(default_factory=tuple)


def judge_number(record: Record, room: str, entries: Sequence[Entry], seq: int) -> Verdict:
    """Of the message with this number in the room."""
    found = [each for each in entries if each.seq == seq and each.event not in ABOUT]
    if found:
        return _of_one(record, room, found, entries)
    runs = _runs(record, [room], seq)
    if runs:
        return Verdict(runs[0].how, TEXTS[runs[0].how], None, (), runs)
    numbers = [each.seq for each in entries if each.seq is not None and each.event not in ABOUT]
    return _verdict("no_such_message" if numbers and seq > max(numbers) else "unknown")


def judge_offset(record: Record, room: str, entries: Sequence[Entry], offset: str) -> Verdict:
    """Of the message with this recovery offset."""
    found = [each for each in entries if each.offset == offset]
    return _of_one(record, room, found, entries) if found else _verdict("unknown")


def judge_time(record: Record, room: str, entries: Sequence[Entry], at: float) -> list[Verdict]:
    """Of all that was said to the room about then; none where nothing was."""
    about = [each for each in entries if abs(each.at - at) <= AT_SECONDS]
    verdicts: list[Verdict] = []
    seen: set[str] = set()
    for each in about:
        if each.head in seen:
            continue  # a paced one that was sent
        seen.add(each.head)
        verdicts.append(_of_one(record, room, [one for one in about if one.head == each.head], entries))
    return verdicts[:MAX_JUDGED]


def gravest(verdicts: Iterable[Verdict]) -> Verdict:
    return min(verdicts, key=lambda each: CODES.index(each.code), default=_verdict("unknown"))


def was_connected(record: Record, at: float) -> bool:
    return _state(record, at)[0] is True


def _of_one(record: Record, room: str, found: Sequence[Entry], entries: Sequence[Entry]) -> Verdict:
    """`found`: what is known of the one message, more than once where it was paced and sent."""
    entry = next((each for each in found if each.kind != PACED), found[0])
    connected, inside, last = _state(record, entry.at)
    evidence = _evidence(record, room, entry.at)
    if connected is None:
        return _verdict("unknown", entry)
    if not connected:
        return _away(record, entry, last, evidence)
    if not _was_in(record, inside, entry):
        if AND_MORE in entry.rooms:
            return _verdict("unknown", entry, evidence)
        text = TEXTS["not_in_room"] + _distance(record, room, entry.at)
        return Verdict("not_in_room", text, entry, evidence)
    if entry.skip and (record.connection.id in entry.skip or not inside.isdisjoint(entry.skip)):
        had = any(each.what == "resumed" and abs(each.at - entry.at) < REPLAY_SECONDS for each in record.events)
        return _verdict("replayed" if had else "skipped", entry, evidence)
    if runs := _runs(record, entry.rooms, entry.seq, entry.at):
        return Verdict(runs[0].how, TEXTS[runs[0].how], entry, evidence, runs)
    if AND_MORE in entry.skip or entry.at <= record.runs_lost_until:
        return _verdict("unknown", entry, evidence)
    if entry.kind == PACED:
        return _verdict("conflated", entry, evidence)
    return _sent(record, entry, evidence)


def _sent(record: Record, entry: Entry, evidence: Sequence[Event]) -> Verdict:
    end = next((each for each in record.events if each.what == "disconnected" and each.at >= entry.at), None)
    if end is None or end.at - entry.at > CUT_SECONDS:
        return _verdict("sent", entry, evidence)
    back = next((each for each in record.events if each.what == "resumed" and each.at >= end.at), None)
    if back is not None and entry.kind == SENT:
        text = f"{TEXTS['sent']} It was lost {end.at - entry.at:.1f} s later, and recovery sent what had not arrived."
        return Verdict("sent", text, entry, evidence)
    text = f"{TEXTS['sent']} The connection ended {end.at - entry.at:.1f} s later, so it may not have arrived."
    return Verdict("sent", text, entry, evidence)


def _away(record: Record, entry: Entry, last: frozenset[str], evidence: Sequence[Event]) -> Verdict:
    """`last`: the rooms that it was in when it left."""
    back = next((each for each in record.events if each.at >= entry.at and each.what in ("connected", "resumed")), None)
    if back is None or back.what != "resumed" or entry.kind != SENT:
        return _verdict("not_connected", entry, evidence)
    if back is record.events[0]:  # it came from another node, in the rooms that it was in there
        moved = (each for each in record.events if each.what == "joined" and each.at - back.at < MOVED_SECONDS)
        last = frozenset(each.fields[0] for each in moved)
    if not _was_in(record, last, entry):
        return _verdict("unknown" if AND_MORE in entry.rooms else "not_in_room", entry, evidence)
    return _verdict("replayed", entry, evidence)


def _was_in(record: Record, inside: frozenset[str], entry: Entry) -> bool:
    """One of the rooms that the message was sent to, as far as they are known."""
    return not inside.isdisjoint(entry.rooms) or any(map(record.implies, entry.rooms))


def _state(record: Record, at: float) -> tuple[bool | None, frozenset[str], frozenset[str]]:
    """Whether it was connected (None: the record does not go back so far), the rooms it was in, and those that it was
    in at its last end."""
    connected, inside = record.began_connected, record.began_rooms
    last: frozenset[str] = frozenset()
    if record.lost and record.events and at < record.events[0].at:
        return None, inside, last
    for event in record.events:
        if event.at > at:
            break
        if event.what == "disconnected":
            last = inside
        connected, inside = after(event, connected, inside)
    return connected, inside, last


def _runs(record: Record, rooms: Sequence[str], seq: int | None, at: float | None = None) -> list[Run]:
    """By number, or by time where there is none; what was dropped before what was conflated."""
    found = []
    for run in record.runs or ():
        if run.room not in rooms:
            continue
        if seq is not None and run.first_seq is not None and run.last_seq is not None:
            if run.first_seq <= seq <= run.last_seq:
                found.append(run)
        elif seq is None and run.first_seq is None and at is not None and run.since - AT_SECONDS <= at <= run.until:
            found.append(run)
    return sorted(found, key=lambda run: (DROPPED, CONFLATED).index(run.how))


def _evidence(record: Record, room: str, at: float) -> list[Event]:
    """What happened to it around then, and to its being in the room."""
    about = [each for each in record.shown() if abs(each.at - at) <= 30 and each.what not in ("joined", "left")]
    membership = [each for each in record.events if each.what in ("joined", "left") and each.fields[0] == room]
    return sorted({*about[-10:], *membership[-10:]}, key=lambda each: each.at)


def _distance(record: Record, room: str, at: float) -> str:
    moves = [each for each in record.events if each.what in ("joined", "left") and each.fields[0] == room]
    before = [each for each in moves if each.at <= at]
    later = [each for each in moves if each.at > at and each.what == "joined"]
    if before:
        return f" It left {at - before[-1].at:.1f} s before."
    return f" It joined {later[0].at - at:.1f} s later." if later else " It was never in it."


def _verdict(code: str, entry: Entry | None = None, evidence: Sequence[Event] = ()) -> Verdict:
    return Verdict(code, TEXTS[code], entry, evidence)
