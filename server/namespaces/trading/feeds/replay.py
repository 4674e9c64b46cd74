"""The `replay` feed: a file of recorded ticks, played at real or scaled pace, over and over. It publishes nothing."""

from __future__ import annotations

import csv
import math
import re
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.errors import ConfigError
from server.namespaces.trading.feeds.pace import Pace
from server.namespaces.trading.schemas import Tick
from server.timestamps import iso_utc

log = structlog.get_logger(__name__)

HEADER = ("offset", "symbol", "name", "price", "change", "volume")
MAX_CHARS = 100_000_000
MAX_ROWS = 1_000_000
MAX_OFFSET_SECONDS = 7 * 86_400.0
PAUSE_SECONDS = 1.0  # between the last row and the first again, at real pace
_SYMBOL = re.compile(r"[A-Za-z0-9._-]{1,32}")


@dataclass(frozen=True, slots=True)
class Row:
    """`offset` is in seconds from the recording's start."""

    offset: float
    symbol: str
    name: str
    price: int | float
    change: int | float
    volume: int


class Recording(list[Row]):
    """The rows of a file. `broken`: how many of its lines are none."""

    broken = 0


class Replay:
    """Endless. `speed` 2 plays a minute in half of one."""

    def __init__(self, rows: Sequence[Row], *, speed: float = 1.0, pace: Callable[[], Pace] = Pace) -> None:
        self.symbols = frozenset(row.symbol for row in rows)
        self.broken = rows.broken if isinstance(rows, Recording) else 0
        self._rows = sorted(rows, key=lambda row: row.offset)
        self._speed = speed
        self._pace = pace

    async def ticks(self) -> AsyncGenerator[Tick, None]:
        pace = self._pace()
        begun = 0.0
        while True:
            for row in self._rows:
                await pace.until((begun + row.offset) / self._speed)
                yield Tick(row.symbol, row.name, row.price, row.change, row.volume, iso_utc())
            begun += self._rows[-1].offset + PAUSE_SECONDS


def read(path: Path) -> Recording:
    """A CSV file with a header: the columns of HEADER in any order, others between them are not looked at. Broken
    lines are skipped and counted. Raises ConfigError for a file of which nothing can be played."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            text = file.read(MAX_CHARS + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(text) > MAX_CHARS:
        raise ConfigError(f"{path}: more than {MAX_CHARS} characters")
    recording = _read(path, iter(text.split("\n")))
    if recording.broken:
        log.warning("broken lines in a recording were skipped", file=str(path), lines=recording.broken)
    if not recording:
        raise ConfigError(f"{path}: no usable line")
    return recording


def _read(path: Path, lines: Iterator[str]) -> Recording:
    header = [column.strip() for column in _cells(next(lines, "")) or ()]
    if any(header.count(column) != 1 for column in HEADER):
        raise ConfigError(f"{path}:1: the first line must name the columns {','.join(HEADER)}")
    places = [header.index(column) for column in HEADER]
    recording = Recording()
    for line in lines:
        if not line.strip():
            continue
        cells = _cells(line)
        row = _row([cells[place] for place in places]) if cells and len(cells) == len(header) else None
        if row is None:
            recording.broken += 1
        elif len(recording) == MAX_ROWS:
            raise ConfigError(f"{path}: more than {MAX_ROWS} ticks")
        else:
            recording.append(row)
    return recording


def _cells(line: str) -> list[str] | None:
    try:
        return next(csv.reader([line], strict=True), None)
    except csv.Error:
        return None


def _row(cells: Sequence[str]) -> Row | None:
    offset, symbol, name, price, change, volume = cells
    if "_" in f"{offset}{price}{change}{volume}":  # Python's way of writing numbers
        return None
    try:
        row = Row(
            float(offset), sys.intern(symbol), sys.intern(name.strip()), _number(price), _number(change), int(volume)
        )
    except ValueError:
        return None
    sound = (
        0 <= row.offset <= MAX_OFFSET_SECONDS
        and _SYMBOL.fullmatch(symbol) is not None
        and 0 < len(row.name) <= 100
        and row.name.isprintable()
        and row.price > 0
        and 0 <= row.volume < 2**53
    )
    return row if sound else None


def _number(text: str) -> int | float:
    """Raises ValueError, for infinity and NaN too."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
