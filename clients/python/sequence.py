"""Numbered items that may come twice, late, or not at all, put into their order. It knows no sockets and no clocks."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

MOST_HELD = 1000


class Sequence(Generic[T]):
    """Hands out each number above `cursor` once, without gaps. Until `cursor` is known, all is held."""

    def __init__(self, cursor: int | None = None, most: int = MOST_HELD) -> None:
        self.cursor = cursor
        self._held: dict[int, T] = {}
        self._most = most
        self._is_behind = False

    def __len__(self) -> int:
        return len(self._held)

    def offer(self, number: int, item: T) -> None:
        """Where too much is held, the newest goes: it is fetched again when the older ones are there."""
        if self.cursor is not None and number <= self.cursor:
            return
        self._held[number] = item
        if len(self._held) > self._most:
            del self._held[max(self._held)]
            self._is_behind = True

    def take(self) -> T | None:
        """The next one, if it is there."""
        if self.cursor is None or self.cursor + 1 not in self._held:
            return None
        self.cursor += 1
        return self._held.pop(self.cursor)

    def skip_to(self, cursor: int) -> None:
        """What is up to there is not wanted, or known not to come."""
        self.cursor = cursor
        for number in [each for each in self._held if each <= cursor]:
            del self._held[number]

    def held(self) -> list[T]:
        """What waits for its turn, in order."""
        return [self._held[number] for number in sorted(self._held)]

    def pause(self) -> None:
        """From here on all is held, until `skip_to` says where to go on. What was held is fetched again."""
        self.cursor = None
        self._held.clear()

    def fall_behind(self) -> None:
        """There is more than was offered."""
        self._is_behind = True

    def caught_up(self) -> None:
        """What is offered now is all there is."""
        self._is_behind = False

    @property
    def gap(self) -> bool:
        """The next one is missing, and a later one known."""
        if self.cursor is None or self.cursor + 1 in self._held:
            return False
        return bool(self._held) or self._is_behind
