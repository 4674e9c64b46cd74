from __future__ import annotations

import asyncio
import os
import select

import pytest

from clients.python.cli.keyboard import MOST_CHARS, MOST_LINES, Keyboard


async def test_lines_as_they_are_typed() -> None:
    reading, writing = os.pipe()
    keyboard = Keyboard(reading)
    text = "안녕\r\ntwo\n".encode()
    os.write(writing, text[:2])
    first = asyncio.create_task(keyboard.line())
    while select.select([reading], [], [], 0)[0]:  # noqa: ASYNC110 - it reads in a thread
        await asyncio.sleep(0)
    os.write(writing, text[2:])
    assert [await first, await keyboard.line()] == ["안녕", "two"]
    os.write(writing, b"last")
    os.close(writing)
    assert [await keyboard.line(), await keyboard.line()] == ["last", None]
    os.close(reading)


async def test_no_input_is_its_end() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    os.close(reading)
    assert await Keyboard(reading).line() is None


async def test_whoever_writes_more_than_is_wanted_waits() -> None:
    """A pipe of endless lines: but for the queue and the pipe nothing is kept, and none is lost."""
    reading, writing = os.pipe()
    keyboard = Keyboard(reading)
    numbers = range(50_000)
    text = b"".join(b"%d\n" % number for number in numbers)
    writing_all = asyncio.create_task(asyncio.to_thread(_write_all, writing, text))
    assert await keyboard.line() == "0"
    while not (keyboard._lines.full() or writing_all.done()):  # noqa: ASYNC110 - a thread fills it
        await asyncio.sleep(0)
    for _ in range(100):  # it would go on filling it
        await asyncio.sleep(0)
    assert keyboard._lines.qsize() == MOST_LINES
    assert [await keyboard.line() for _ in numbers[1:]] == [str(number) for number in numbers[1:]]
    assert await keyboard.line() is None
    await writing_all
    os.close(reading)


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_a_line_without_an_end_is_too_long(end: bytes) -> None:
    reading, writing = os.pipe()
    keyboard = Keyboard(reading)
    writing_all = asyncio.create_task(asyncio.to_thread(_write_all, writing, b"one\n" + b"x" * (MOST_CHARS + 1) + end))
    assert await keyboard.line() == "one"
    with pytest.raises(ValueError, match="more than 65,536 characters"):
        await keyboard.line()
    await writing_all
    os.close(reading)


def _write_all(descriptor: int, text: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
