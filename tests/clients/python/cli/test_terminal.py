from __future__ import annotations

import io

import pytest

from clients.python.cli import terminal


def test_what_is_no_terminal_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert not terminal.is_terminal()
    assert terminal.failure("no") == "no"


def test_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    assert terminal.is_terminal()
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.is_terminal()


def test_what_others_write_moves_no_cursor() -> None:
    assert terminal.safe("a\x1b[2Jb\x07\r안녕 🟢\n") == "a�[2Jb��안녕 🟢\n"
