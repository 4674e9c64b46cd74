"""One trading channel's numbers: what may be handed out now, what is missing. It knows no sockets and no clocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clients.python.sequence import Sequence

MOST_RECENT = 4000


@dataclass(frozen=True, slots=True)
class Update:
    """What was published on a channel. `seq` rises by one a message; `conflated` says how many older ones of the same
    key its reader was spared. `data` is what was published; of a `chat_message` it is the payload."""

    channel: str
    type: str
    seq: int
    data: Any
    timestamp: str = ""
    conflated: int = 0
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any], type: str | None = None) -> Update:
        return cls(
            channel=str(wire["channel"]),
            type=type or str(wire.get("type", "message")),
            seq=int(wire["seq"]),
            data=wire.get("data", wire),
            timestamp=str(wire.get("timestamp", "")),
            conflated=int(wire.get("conflated") or 0),
            raw=wire,
        )


class Track:
    """A channel that conflates hands out whatever is new, in the order of each key; one that does not, strictly by
    `seq`. Which of the two it is shows when the first `conflated` comes."""

    def __init__(self, epoch: str | None = None, seq: int | None = None, *, conflates: bool = False) -> None:
        """The last message that was seen before, if any. It begins paused."""
        self.epoch = epoch
        self.conflates = conflates
        self.conflated = 0
        self.missed = 0
        self._since = seq
        self._sequence: Sequence[Update] = Sequence()
        self._recent: OrderedDict[int, None] = OrderedDict()

    @property
    def seq(self) -> int | None:
        """The last one handed out."""
        return self._since if self._sequence.cursor is None else self._sequence.cursor

    @property
    def gap(self) -> bool:
        """It must be asked for what is missing."""
        return not self.conflates and self._sequence.gap

    def pause(self) -> None:
        """It is being asked for: what comes is held until the answer is there, for numbers may have begun anew."""
        self._since = self.seq
        self._sequence.pause()

    def hear(self, update: Update) -> list[Update]:
        """What may be handed out."""
        if update.conflated:
            self.conflates = True
            self.conflated += update.conflated
        cursor = self._sequence.cursor
        if cursor is None or not self.conflates:
            self._sequence.offer(update.seq, update)
            return self._due()
        held = self._sequence.held()  # for a gap that was none
        self._sequence.skip_to(max(update.seq, cursor, *(each.seq for each in held)))
        return self._new([*held, update])

    def caught_up(self, epoch: str, seq: int, messages: Iterable[Update], *, recovered: bool) -> list[Update]:
        """A subscription's ack: with the events above `seq` these are all there is. Of a new epoch all is new."""
        if self.epoch not in (None, "", epoch):
            self._since = None
            self._recent.clear()
        self.epoch = epoch
        before = self._since
        new = sorted((each for each in messages if before is None or each.seq > before), key=lambda each: each.seq)
        if before is not None and not recovered and not self.conflates:
            self.missed += max(0, seq - before - len(new))
        self._sequence.skip_to(max(seq, before or 0))
        self._sequence.caught_up()
        return [*self._new(new), *self._due()]

    def _due(self) -> list[Update]:
        due = []
        while (update := self._sequence.take()) is not None:
            due.append(update)
        return self._new(due)

    def _new(self, updates: Iterable[Update]) -> list[Update]:
        """Those that were not handed out before."""
        new = [update for update in updates if update.seq not in self._recent]
        for update in new:
            self._recent[update.seq] = None
            if len(self._recent) > MOST_RECENT:
                self._recent.popitem(last=False)
        return new
