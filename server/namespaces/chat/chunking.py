"""Text that comes in pieces and goes out in chunks. When each of them goes is `replies`' business."""

from __future__ import annotations

import re
import unicodedata

MAX_CLUSTER = 32  # code points that are kept together

ZERO_WIDTH_JOINER = "\u200d"
REGIONAL = ("\U0001f1e6", "\U0001f1ff")  # two of these are a flag
#: What belongs to what is before it, beside marks: (non-)joiners, voiced kana marks, skin tones.
_EXTENDS = frozenset("\u200c\u200d\uff9e\uff9f🏻🏼🏽🏾🏿")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Chunks:
    """No chunk ends within what is shown as one character, as far as its rest is known when the chunk is cut."""

    def __init__(self, limit: int) -> None:
        """`limit`: characters in all; what comes beyond is not taken."""
        self._left = limit
        self._half = ""  # the first of a pair of surrogates, whose second is still to come
        self._text = ""
        self._start = 0

    def __len__(self) -> int:
        """Characters that wait."""
        return len(self._text) - self._start

    @property
    def full(self) -> bool:
        return not self._left

    def put(self, piece: str) -> None:
        """NULs are left out, for PostgreSQL stores none; surrogates become what they stand for, or U+FFFD."""
        piece = self._half + piece.replace("\0", "")
        self._half = ""
        if _SURROGATE.search(piece):
            if "\ud800" <= piece[-1] <= "\udbff":
                piece, self._half = piece[:-1], piece[-1]
            piece = _paired(piece)
        piece = piece[: self._left]
        self._left -= len(piece)
        self._text = self._text[self._start :] + piece
        self._start = 0

    def end(self) -> None:
        """Nothing comes any more."""
        if self._half and self._left:
            self._half, rest = "", _paired(self._half)
            self._left -= 1
            self._text += rest

    def take(self, size: int) -> str:
        """The next chunk: of some `size` characters, or all that waits where that is less."""
        end = cut(self._text, self._start, size)
        chunk = self._text[self._start : end]
        self._start = end
        return chunk


def cut(text: str, start: int, size: int) -> int:
    """Where a chunk that begins at `start` ends: after `size` characters, some before that rather than within what is
    shown as one, or right behind that where the chunk is nothing else."""
    end = start + size
    if end >= len(text):
        return len(text)
    for at in range(end, max(start, end - MAX_CLUSTER), -1):
        if not is_joined(text, at, start):
            return at
    for at in range(end + 1, min(len(text), end + MAX_CLUSTER)):
        if not is_joined(text, at, start):
            return at
    return min(len(text), end + MAX_CLUSTER)


def is_joined(text: str, at: int, start: int = 0) -> bool:
    """Whether what is before `at` and what is behind it are shown as one character; at `start` one begins.

    Source: Unicode's UAX #29, of which this has what people write: marks, emoji sequences, flags, Hangul in jamo, and
    line ends.
    """
    before, after = text[at - 1], text[at]
    if after < "\u0300":
        return before == "\r" and after == "\n"
    if after in _EXTENDS or before == ZERO_WIDTH_JOINER or "\U000e0020" <= after <= "\U000e007f":
        return True
    if "\u1100" <= after <= "\u11ff":
        leads = "\u1100" <= before <= "\u115f"
        return leads or (after >= "\u1160" and ("\u1160" <= before <= "\u11ff" or "가" <= before <= "힣"))
    if REGIONAL[0] <= after <= REGIONAL[1]:
        first = at
        while first > start and REGIONAL[0] <= text[first - 1] <= REGIONAL[1]:
            first -= 1
        return (at - first) % 2 == 1
    return unicodedata.category(after).startswith("M")


def _paired(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
