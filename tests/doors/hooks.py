"""The seeds' browser clients, run by Node."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.support.process import Process, running


def play(program: str, *arguments: str) -> AbstractAsyncContextManager[Process]:
    return running("node", Path(__file__).parent / program, *arguments, NODE_NO_WARNINGS="1")
