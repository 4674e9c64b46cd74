from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from server.observability import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def broken() -> None:
    raise RuntimeError("broken")


def test_machines_read_json_with_ids_and_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="INFO", readable=False)
    structlog.get_logger("server.x").info("joined", connection="c1", user="홍길동")
    try:
        broken()
    except RuntimeError:
        logging.getLogger("some.library").exception("failed")
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["connection"], ours["user"], ours["level"]) == ("joined", "c1", "홍길동", "info")
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["logger"]) == ("failed", "some.library")
    assert "RuntimeError: broken" in theirs["exception"]


def test_people_read_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="INFO", readable=True)
    structlog.get_logger("server.x").info("joined", connection="c1")
    line = capsys.readouterr().err
    assert "joined" in line
    assert "connection=c1" in line
    assert "\x1b" not in line  # no colours where nobody sees them


def test_the_level_holds(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="WARNING", readable=False)
    structlog.get_logger("server.x").info("quiet")
    logging.getLogger("aiohttp.access").info("quiet too")
    assert capsys.readouterr().err == ""
