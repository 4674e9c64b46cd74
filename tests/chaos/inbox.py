"""A client's order of one session: by `seq`, each message once, nothing before what comes before it (SPEC §4)."""

from __future__ import annotations

from collections.abc import Iterable

from tests.chaos.history import Said


class Inbox:
    """`given` is what the user saw, and nothing up to `newest` is missing in it. What comes early waits until the gap
    before it is closed."""

    def __init__(self) -> None:
        self.given: list[Said] = []
        self.newest = 0
        self._known: set[str] = set()
        self._waiting: dict[int, Said] = {}

    @property
    def has_gap(self) -> bool:
        return bool(self._waiting)

    def knows(self, said: Said) -> bool:
        return said.message_id in self._known

    def take(self, messages: Iterable[Said]) -> int:
        """How many of them were new."""
        new = 0
        for said in messages:
            if said.message_id in self._known:
                continue
            self._known.add(said.message_id)
            new += 1
            if said.seq <= self.newest or said.seq in self._waiting:
                self.given.append(said)  # a seq used twice: the user sees it, and so does the checker
                continue
            self._waiting[said.seq] = said
            while following := self._waiting.pop(self.newest + 1, None):
                self.given.append(following)
                self.newest = following.seq
        return new
