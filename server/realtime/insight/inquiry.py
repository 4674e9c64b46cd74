"""Why a connection did not get a message: asked of the node that had it, and of all that heard the message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from server.errors import InvalidMessage, NotFound
from server.realtime.insight import verdict, views
from server.realtime.insight.census import Census
from server.realtime.insight.gathering import Gathering
from server.realtime.insight.ledger import Entry
from server.realtime.insight.recorder import Record
from server.realtime.insight.verdict import AT_SECONDS, CODES, Verdict
from server.realtime.insight.views import Sight, View
from server.realtime.others import Body
from server.realtime.rooms import parse_room
from server.realtime.server import RealtimeServer

MAX_ENTRIES = 200  # that a node tells of
SAID, JUDGE = "admin said", "admin judge"


class Inquiry:
    def __init__(self, server: RealtimeServer, census: Census, gathering: Gathering) -> None:
        self._insight = server.insight
        self._census = census
        self._gathering = gathering
        gathering.on(SAID, self._said_here)
        gathering.on(JUDGE, self._judge_here)

    async def missed(
        self,
        sight: Sight,
        connection_id: str,
        room: str,
        *,
        seq: int | None = None,
        offset: str | None = None,
        at: float | None = None,
    ) -> View:
        """The message that is meant by one of the three. Raises NotFound where nobody remembers the connection, and
        InvalidMessage for a room's name that several rooms have."""
        known = await self._census.known(sight, connection_id)
        if not known:
            raise NotFound("No such connection")
        namespace = known[0]["namespace"]
        wanted = {"namespace": namespace, "seq": seq, "offset": offset, "at": at}
        room = await self._resolve(known, room, wanted)
        if not sight.covers_room(room) and not any(room in each["known_rooms"] for each in known):
            raise NotFound("No such room")
        said = await self._gathering.ask(SAID, {**wanted, "room": room})
        elsewhere = [entry for each in said.answers[1:] for entry in each["entries"]]
        body = {**wanted, **sight.to_wire(), "room": room, "connection_id": connection_id}
        judged = await self._gathering.ask(JUDGE, {**body, "said": [*said.answers[0]["entries"], *elsewhere]})
        answers = [each for each in judged.answers if each]
        if not answers:
            raise NotFound("No such connection")
        best = min(answers, key=lambda each: (not each["connected_then"], -CODES.index(each["code"])))
        shown = {name: value for name, value in best.items() if name != "connected_then"}
        return {"connection_id": connection_id, "room": room, **shown}

    async def _resolve(self, known: Sequence[View], room: str, wanted: Mapping[str, Any]) -> str:
        """The room as it is called here; what is said to be one may be its name alone."""
        rooms = {each for view in known for each in view["known_rooms"]}
        if room in rooms or (parse_room(room).name and room.count(":") >= 3):
            return room
        named = sorted(each for each in rooms if parse_room(each).name == room)
        if not named:
            said = await self._gathering.ask(SAID, {**wanted, "room": None, "name": room, "tenant": known[0]["tenant"]})
            named = sorted({each for answer in said.answers for each in answer["rooms"]})
        if len(named) > 1:
            raise InvalidMessage(details={"room": [f"Several are named so: {', '.join(named[:10])}"]})
        return named[0] if named else room

    # -- what each node knows -----------------------------------------------------------------------------------

    async def _said_here(self, body: Body) -> Body:
        """To a room, of the message that is meant and what may be it; or the rooms that have a name."""
        ledger, namespace = self._insight.ledger, body["namespace"]
        if body["room"] is None:
            rooms = [each for each in ledger.rooms(namespace) if parse_room(each)[1:] == (body["tenant"], body["name"])]
            return {"rooms": rooms[:MAX_ENTRIES], "entries": []}
        entries = list(ledger.of(namespace, body["room"]))
        found = [each for each in entries if _is_meant(each, body)]
        newest = [each for each in entries[-1:] if each not in found]
        return {"rooms": [], "entries": [list(each) for each in (*found[:MAX_ENTRIES], *newest)]}

    async def _judge_here(self, body: Body) -> Body:
        """By the record that this node has. What it heard itself counts more than what others say."""
        record = self._insight.recorder.find(body["connection_id"])
        if record is None or not Sight.of(body).covers(record.connection):
            return {}
        room = body["room"]
        entries = list(self._insight.ledger.of(body["namespace"], room))
        if not any(_is_meant(each, body) for each in entries):
            entries = sorted({*entries, *map(_entry, body["said"])}, key=lambda each: each.at)
        if body["at"] is not None:
            verdicts = verdict.judge_time(record, room, entries, body["at"])
            found = verdict.gravest(verdicts)
            shown = views.of_verdict(found) | {"message": None}
            messages = [views.of_verdict(each) for each in verdicts]
            for each in messages:
                del each["evidence"]
            return shown | {"messages": messages, "connected_then": _was_there(found, body["at"], record)}
        if body["seq"] is not None:
            found = verdict.judge_number(record, room, entries, body["seq"])
        else:
            found = verdict.judge_offset(record, room, entries, body["offset"])
        at = None if found.entry is None else found.entry.at
        return views.of_verdict(found) | {"messages": None, "connected_then": _was_there(found, at, record)}


def _was_there(found: Verdict, at: float | None, record: Record) -> bool:
    """Whether it was connected to this node then; else another's record may know more."""
    if at is None:
        return found.code not in ("unknown", "no_such_message")
    return verdict.was_connected(record, at)


def _is_meant(entry: Entry, body: Body) -> bool:
    if body["at"] is not None:
        return bool(abs(entry.at - body["at"]) <= AT_SECONDS)
    if body["seq"] is not None:
        return bool(entry.seq == body["seq"])
    return bool(entry.offset == body["offset"])


def _entry(wire: Sequence[Any]) -> Entry:
    at, kind, head, tail, rooms, skip = wire
    return Entry(at, kind, head, tail, tuple(rooms), tuple(skip))
