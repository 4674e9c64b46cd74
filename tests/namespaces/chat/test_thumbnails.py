from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from server.namespaces.chat import thumbnails
from server.namespaces.chat.thumbnails import BOX, MAX_PIXELS, MAX_SCANS, Thumbnails
from tests.support.files import claiming_png, mapped, pdf, picture


@pytest.fixture
def drawer() -> Iterator[Thumbnails]:
    drawer = Thumbnails(seconds=20)
    yield drawer
    drawer.close()


async def drawn(drawer: Thumbnails, content: bytes, media_type: str) -> Image.Image | None:
    thumbnail = await drawer.draw(mapped(content), media_type)
    return None if thumbnail is None else Image.open(io.BytesIO(thumbnail), formats=["JPEG"])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP"])
async def test_a_picture_fits_the_box(drawer: Thumbnails, format: str) -> None:
    small = await drawn(drawer, picture(format, (1600, 400)), f"image/{format.lower()}")
    assert small is not None
    assert small.size == (BOX, BOX // 4)
    red, green, blue = small.convert("RGB").getpixel((50, 50))  # type: ignore[misc]
    assert red > 240
    assert max(green, blue) < 16


async def test_a_small_picture_stays_small(drawer: Thumbnails) -> None:
    small = await drawn(drawer, picture("PNG", (1, 1)), "image/png")
    assert small is not None
    assert small.size == (1, 1)


async def test_the_largest_picture_there_is_one_of(drawer: Thumbnails) -> None:
    assert await drawn(drawer, white((MAX_PIXELS // 5_000, 5_000)), "image/png") is not None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
async def test_every_kind_of_pixel_is_drawn_on_white(drawer: Thumbnails, mode: str) -> None:
    output = io.BytesIO()
    Image.new(mode, (400, 400)).save(output, "PNG")  # black, or wholly transparent
    small = await drawn(drawer, output.getvalue(), "image/png")
    assert small is not None
    white = mode in ("LA", "RGBA")
    assert small.convert("L").getpixel((5, 5)) == (255 if white else 0)


async def test_it_is_upright_and_tells_nothing_of_its_place(drawer: Thumbnails) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "at home"
    small = await drawn(drawer, picture("JPEG", (800, 400), exif=exif), "image/jpeg")
    assert small is not None
    assert small.size == (BOX // 2, BOX)
    assert not small.getexif()


async def test_the_first_page_of_a_pdf(drawer: Thumbnails) -> None:
    small = await drawn(drawer, pdf(), "application/pdf")
    assert small is not None
    assert small.size == (BOX * 3 // 4, BOX)


async def test_without_the_extra_a_pdf_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails.importlib.util, "find_spec", lambda name: None)
    drawer = Thumbnails()
    assert await drawn(drawer, pdf(), "application/pdf") is None
    drawer.close()


def white(size: tuple[int, int]) -> bytes:
    output = io.BytesIO()
    Image.new("1", size, 1).save(output, "PNG")
    return output.getvalue()


def many_scans() -> bytes:
    content = picture("JPEG", progressive=True)
    scan = content.rindex(b"\xff\xda")
    return content[:scan] + content[scan:-2] * (MAX_SCANS + 1) + content[-2:]


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (claiming_png(60_000, 60_000), "image/png"),
        (white((MAX_PIXELS // 5_000 + 1, 5_000)), "image/png"),  # Pillow itself would only warn
        (claiming_png(2**31 - 1, 2**31 - 1), "image/png"),
        (claiming_png(0, 10), "image/png"),
        (many_scans(), "image/jpeg"),
        (b"\xff\xd8\xff and no more", "image/jpeg"),
        (picture("JPEG")[:500], "image/jpeg"),
        (picture("PNG"), "image/jpeg"),  # only what it was found to be is tried
        (b"%PDF-1.4 and no more", "application/pdf"),
        (b"text", "text/plain"),
        (os.urandom(1000), "image/gif"),
    ],
)
async def test_what_has_none(drawer: Thumbnails, content: bytes, media_type: str) -> None:
    assert await drawn(drawer, content, media_type) is None


async def test_nobody_waits_for_long_and_the_next_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    draw = thumbnails._draw
    monkeypatch.setattr(thumbnails, "_draw", lambda *given: (go_on.wait(20), draw(*given))[1])
    drawer = Thumbnails(seconds=0.05)
    assert await asyncio.gather(*(drawn(drawer, picture("PNG"), "image/png") for _ in range(3))) == [None] * 3
    go_on.set()
    drawer._seconds = 20
    assert await drawn(drawer, picture("PNG"), "image/png") is not None
    drawer.close()


async def test_a_program_that_hangs_or_dies_is_no_thumbnail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, drawer: Thumbnails
) -> None:
    program = tmp_path / "program.py"
    monkeypatch.setattr(thumbnails.pdf_pages, "__file__", str(program))
    for source in ("import os; os.abort()", "raise SystemExit(1)", "print('no picture')"):
        await asyncio.to_thread(program.write_text, source)
        assert await drawn(drawer, pdf(), "application/pdf") is None
    impatient = Thumbnails(seconds=0.3)
    await asyncio.to_thread(program.write_text, "import time; time.sleep(60)")
    assert await drawn(impatient, pdf(), "application/pdf") is None
    impatient.close()


async def test_the_program_is_given_no_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, drawer: Thumbnails
) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", "secret")
    program, told = tmp_path / "program.py", tmp_path / "told"
    monkeypatch.setattr(thumbnails.pdf_pages, "__file__", str(program))
    await asyncio.to_thread(program.write_text, f"import os; open({str(told)!r}, 'w').write(repr(dict(os.environ)))")
    await drawn(drawer, pdf(), "application/pdf")
    assert "secret" not in await asyncio.to_thread(told.read_text)
