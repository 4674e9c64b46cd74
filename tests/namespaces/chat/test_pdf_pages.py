from __future__ import annotations

import io
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from server.namespaces.chat import pdf_pages
from server.namespaces.chat.pdf_pages import MEMORY_BYTES, first_page
from tests.support.files import pdf

PROGRAM = [sys.executable, "-P", pdf_pages.__file__, "100"]


def run(content: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(PROGRAM, input=content, capture_output=True, timeout=20, check=False)


@pytest.mark.parametrize(
    ("size", "drawn"), [((300, 400), (75, 100)), ((1_000_000, 1), (100, 1)), ((3, 2), (100, 67)), ((0, 0), (78, 100))]
)
def test_the_first_page_fits_the_box(size: tuple[int, int], drawn: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(first_page(pdf(size=size), 100)), formats=["PNG"]) as image:
        assert abs(image.width - drawn[0]) <= 1
        assert abs(image.height - drawn[1]) <= 1


@pytest.mark.parametrize("content", [b"", b"%PDF-1.4 and nothing", pdf()[:60]])
def test_what_is_no_pdf(content: bytes) -> None:
    with pytest.raises(pypdfium2.PdfiumError):
        first_page(content, 100)


def test_the_program_draws_what_it_is_given() -> None:
    done = run(pdf())
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout), formats=["PNG"]) as image:
        assert image.size == (75, 100)
        assert image.getpixel((40, 50)) == (255, 0, 0)


def test_a_page_that_unpacks_to_gigabytes_ends_the_program_and_nothing_else() -> None:
    step, drawing = zlib.compressobj(9), b"0 0 m 9 9 l S\n" * 100_000
    first, again = (step.compress(drawing) + step.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    program = subprocess.Popen(PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert program.stdin is not None
    with program.stdin as page:
        page.write(pdf(first + again * 700, filters=b"/Filter/FlateDecode"))
    status, most = Path(f"/proc/{program.pid}/status"), 0
    while program.poll() is None:  # what the kernel says of a child that ended counts the memory of who started it too
        if (peak := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())) is not None:
            most = max(most, int(peak[1]))
    assert program.returncode != 0, "it has no bounds"
    assert 0 < most << 10 < MEMORY_BYTES + (50 << 20)
