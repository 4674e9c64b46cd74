"""What happened to messages, as the checker compares it: what was acked, stored, given to users and fetched afresh."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

#: Counts that something is made of.
REPAIRS = "repairs by catch-up"
STRAYS = "messages of sessions not joined"

MAX_NOTES = 20_000


class Said(NamedTuple):
    """A message in its place; `number` counts what its sender says in this session, from 1."""

    seq: int
    message_id: str
    sender: str
    number: int

    @classmethod
    def from_wire(cls, message: Mapping[str, Any]) -> Self:
        return cls(message["seq"], message["message_id"], message["sender_id"], int(message["content"].split()[0]))


@dataclass
class Recorded:
    """What the clients tell. `acked` is by session; `given` by session and member, in the order the user saw it;
    `fetched` is what somebody who joins each session at the end is answered. `notes` are what happened to whom, with
    the time (Unix), for people."""

    acked: dict[str, list[Said]] = field(default_factory=dict)
    given: dict[str, dict[str, list[Said]]] = field(default_factory=dict)
    fetched: dict[str, list[Said]] = field(default_factory=dict)
    repairs_after_healing: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    seconds_away: list[float] = field(default_factory=list)
    notes: list[tuple[float, str]] = field(default_factory=list)

    def note(self, what: str) -> None:
        if len(self.notes) < MAX_NOTES:
            self.notes.append((time.time(), what))

    def to_json(self) -> dict[str, Any]:
        return vars(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        def said(rows: list[list[Any]]) -> list[Said]:
            return [Said(*row) for row in rows]

        return cls(
            acked={session: said(rows) for session, rows in values["acked"].items()},
            given={
                session: {member: said(rows) for member, rows in members.items()}
                for session, members in values["given"].items()
            },
            fetched={session: said(rows) for session, rows in values["fetched"].items()},
            repairs_after_healing=values["repairs_after_healing"],
            counts=Counter(values["counts"]),
            seconds_away=values["seconds_away"],
            notes=[(at, what) for at, what in values["notes"]],
        )


Stored = Mapping[str, list[Said]]  # by session, by `seq`: what the database holds
