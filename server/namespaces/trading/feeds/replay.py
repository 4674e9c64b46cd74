"""The `replay` feed: a file of recorded ticks, played at real or scaled pace, over and over. It publishes nothing."""

from __future__ import annotations

import asyncio
import csv
import math
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.errors import ConfigError
from server.namespaces.trading.schemas import Tick
from server.timestamps import iso_utc

log = structlog.get_logger(__name__)

HEADER = ["offset", "symbol", "name", "price", "change", "volume"]
MAX_ROWS = 1_000_000
MAX_LAG_SECONDS = 1.0  # after a stall, rows older than this are not caught up with in one burst
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


class Replay:
    """Endless. `speed` 2 plays a minute in half of one. The clock is in seconds, of any origin."""

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        speed: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rows = sorted(rows, key=lambda row: row.offset)
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self.symbols = frozenset(row.symbol for row in rows)

    async def ticks(self) -> AsyncGenerator[Tick, None]:
        started = self._clock()
        while True:
            for row in self._rows:
                early = started + row.offset / self._speed - self._clock()
                if early > 0:
                    await self._sleep(early)
                elif -early > MAX_LAG_SECONDS:
                    started -= early
                yield Tick(row.symbol, row.name, row.price, row.change, row.volume, iso_utc())
            started += (self._rows[-1].offset + PAUSE_SECONDS) / self._speed


def read(path: Path) -> list[Row]:
    """Broken lines are skipped and counted. Raises ConfigError for a file of which nothing can be played."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if not lines or lines[0].split(",") != HEADER:
        raise ConfigError(f"{path}: the first line must be {','.join(HEADER)}")
    if len(lines) > MAX_ROWS:
        raise ConfigError(f"{path}: more than {MAX_ROWS} lines")
    rows = [row for line in lines[1:] if line.strip() and (row := _parse(line)) is not None]
    broken = sum(1 for line in lines[1:] if line.strip()) - len(rows)
    if broken:
        log.warning("broken lines in a recording were skipped", file=str(path), lines=broken)
    if not rows:
        raise ConfigError(f"{path}: no usable line")
    return rows


def _parse(line: str) -> Row | None:
    try:
        [[offset, symbol, name, price, change, volume]] = csv.reader([line], strict=True)
        row = Row(float(offset), symbol, name.strip(), _number(price), _number(change), int(volume))
    except (ValueError, csv.Error):
        return None
    sound = (
        math.isfinite(row.offset)
        and row.offset >= 0
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
