from __future__ import annotations

import asyncio
import os

from clients.python.cli.keyboard import Keyboard


async def test_lines_as_they_are_typed() -> None:
    reading, writing = os.pipe()
    keyboard = Keyboard(reading)
    text = "안녕\r\ntwo\n".encode()
    os.write(writing, text[:2])
    first = asyncio.create_task(keyboard.line())
    await asyncio.sleep(0.02)
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
