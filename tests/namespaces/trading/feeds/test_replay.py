from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.errors import ConfigError
from server.namespaces.trading.feeds import replay as module
from server.namespaces.trading.feeds.pace import MAX_LAG_SECONDS, Pace
from server.namespaces.trading.feeds.replay import PAUSE_SECONDS, Replay, Row, read
from server.namespaces.trading.schemas import Tick

SAMPLE = Path("config/feeds/krx-sample.csv")
HEADER = "offset,symbol,name,price,change,volume\n"


class Time:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def pace(self) -> Pace:
        return Pace(lambda: self.now, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def row(offset: float, price: int = 1) -> Row:
    return Row(offset, "005930", "삼성전자", price, 0, 1)


async def take(replay: Replay, count: int, time: Time) -> list[tuple[float, Tick]]:
    taken = []
    ticks = replay.ticks()
    async for tick in ticks:
        taken.append((time.now - 100, tick))
        if len(taken) == count:
            break
    await ticks.aclose()
    return taken


# -- playing ------------------------------------------------------------------------------------------------------


async def test_rows_are_played_in_order_when_they_are_due_and_over_again() -> None:
    time = Time()
    replay = Replay([row(2, 3), row(0, 1), row(0.5, 2)], pace=time.pace)
    taken = await take(replay, 7, time)
    assert [tick.price for _, tick in taken] == [1, 2, 3, 1, 2, 3, 1]
    lap = 2 + PAUSE_SECONDS
    assert [at for at, _ in taken] == pytest.approx([0, 0.5, 2, lap, lap + 0.5, lap + 2, 2 * lap])


async def test_speed_scales_the_pace() -> None:
    time = Time()
    taken = await take(Replay([row(0), row(10)], speed=10, pace=time.pace), 3, time)
    assert [at for at, _ in taken] == pytest.approx([0, 1, 1 + PAUSE_SECONDS / 10])


async def test_a_late_row_does_not_delay_the_next() -> None:
    time = Time()
    ticks = Replay([row(0), row(0.2), row(0.4)], pace=time.pace).ticks()
    await anext(ticks)
    time.now += 0.3
    await anext(ticks)
    await anext(ticks)
    await ticks.aclose()
    assert time.slept == pytest.approx([0, 0.1])  # the first only gives way


async def test_after_a_long_stall_it_goes_on_instead_of_catching_up() -> None:
    time = Time()
    ticks = Replay([row(number / 10) for number in range(100)], pace=time.pace).ticks()
    await anext(ticks)
    time.now += 5 + MAX_LAG_SECONDS
    for _ in range(3):
        await anext(ticks)
    await ticks.aclose()
    assert time.slept == pytest.approx([0, 0.1, 0.1])


async def test_rows_of_one_moment_do_not_spin() -> None:
    time = Time()
    await take(Replay([row(0), row(0)], speed=100, pace=time.pace), 6, time)
    assert time.slept == pytest.approx([PAUSE_SECONDS / 100] * 2)


async def test_a_tick_is_stamped_when_it_is_played() -> None:
    time = Time()
    [(_, tick)] = await take(Replay([Row(0, "005930", "삼성전자", 53400, -300, 12)], pace=time.pace), 1, time)
    wire = tick.to_wire()
    assert wire.pop("time") is not None
    assert wire == {"symbol": "005930", "name": "삼성전자", "price": 53400, "change": -300, "volume": 12}


# -- reading ------------------------------------------------------------------------------------------------------


def tick_size(price: float) -> int:
    """KRX since January 2023."""
    for bound, size in ((2000, 1), (5000, 5), (20_000, 10), (50_000, 50), (200_000, 100), (500_000, 500)):
        if price < bound:
            return size
    return 1000


def test_the_sample_holds_plausible_trades() -> None:
    with capture_logs() as logs:
        rows = read(SAMPLE)
    assert not logs
    assert len(rows) == 600
    assert len({each.symbol for each in rows}) == 8
    assert 50 < rows[-1].offset < 70
    assert [each.offset for each in rows] == sorted(each.offset for each in rows)
    for each in rows:
        assert isinstance(each.price, int)
        assert each.price % tick_size(each.price) == 0
        assert abs(each.change) < 0.3 * each.price
        assert each.volume > 0
    closes = {(each.symbol, each.price - each.change) for each in rows}
    assert len(closes) == 8


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "ticks.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "line",
    [
        "x,005930,삼성전자,1,0,1",
        "nan,005930,삼성전자,1,0,1",
        "inf,005930,삼성전자,1,0,1",
        "-1,005930,삼성전자,1,0,1",
        "1,,삼성전자,1,0,1",
        "1,00 5930,삼성전자,1,0,1",
        "1,005930*,삼성전자,1,0,1",
        "1,005930,,1,0,1",
        "1,005930,a\x07b,1,0,1",
        "1,005930,삼성전자,0,0,1",
        "1,005930,삼성전자,-5,0,1",
        "1,005930,삼성전자,nan,0,1",
        "1,005930,삼성전자,1,,1",
        "1,005930,삼성전자,1,0,1.5",
        "1,005930,삼성전자,1,0,-1",
        "1,005930,삼성전자,1,0",
        "1,005930,삼성전자,1,0,1,1",
        '1,005930,"삼성,1,0,1',
        "1,005930,삼성전자,inf,0,1",
        "1,005930,삼성전자,1,-inf,1",
        "1,005930,삼성전자,1_000,0,1",
        "1e300,005930,삼성전자,1,0,1",
        "1,005930,삼성전자,1,0,9007199254740992",
        "1,005930,삼성전자,1,0," + "9" * 5000,
        "1,005930," + "a" * 200_000 + ",1,0,1",
        "1,00\x005930,삼성전자,1,0,1",
        "garbage",
    ],
)
def test_a_broken_line_is_skipped_and_counted(tmp_path: Path, line: str) -> None:
    text = f"{HEADER}0,005930,삼성전자,53400,-300,12\n{line}\n\n{line}\n2.5,AAPL,Apple,187.25,1.5,3\n"
    with capture_logs() as logs:
        rows = read(written(tmp_path, text))
    assert rows == [Row(0, "005930", "삼성전자", 53400, -300, 12), Row(2.5, "AAPL", "Apple", 187.25, 1.5, 3)]
    assert [(entry["log_level"], entry["lines"]) for entry in logs] == [("warning", 2)]
    assert rows.broken == 2
    assert Replay(rows).broken == 2


def test_a_spreadsheets_way_of_writing_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, f'\ufeff{HEADER}0,005930,"삼성, 전자",53400,-300,12\n'.replace("\n", "\r\n"))
    assert read(path) == [Row(0, "005930", "삼성, 전자", 53400, -300, 12)]


def test_columns_have_any_order_and_later_ones_are_not_looked_at(tmp_path: Path) -> None:
    text = "symbol, name,currency,offset,price,change,volume,venue\n005930,삼성전자,KRW,1.5,53400,-300,12,XKRX\n"
    assert read(written(tmp_path, text)) == [Row(1.5, "005930", "삼성전자", 53400, -300, 12)]


def test_too_much_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, HEADER + "0,005930,삼성전자,53400,-300,12\n" * 5)
    monkeypatch.setattr(module, "MAX_ROWS", 5)
    assert len(read(path)) == 5
    monkeypatch.setattr(module, "MAX_ROWS", 4)
    with pytest.raises(ConfigError, match=r"ticks\.csv: more than 4 ticks"):
        read(path)
    monkeypatch.setattr(module, "MAX_CHARS", len(path.read_text()) - 1)
    with pytest.raises(ConfigError, match=r"ticks\.csv: more than \d+ characters"):
        read(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER.replace("name", "symbol"),
        f"{HEADER[:-1]},volume\n0,A,a,1,0,1,1\n",
        "\n" + HEADER,
        "a,b\n1,2\n",
        HEADER,
        f"{HEADER}garbage\n",
        b"\xff\xfe\x00\x01",
    ],
)
def test_a_file_of_which_nothing_can_be_played_is_a_fault(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ConfigError, match=r"ticks\.csv"):
        read(written(tmp_path, text))


def test_no_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ticks\.csv"):
        read(tmp_path / "ticks.csv")
