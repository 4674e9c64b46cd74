"""Draws the first page of a PDF: a program of its own, run by `thumbnails`.

A PDF from a stranger may unpack to a gigabyte, take minutes, or crash the library. A thread has no limits of memory and
time and takes the server with it; a process has, and does not.
"""

from __future__ import annotations

import io
import sys
from contextlib import suppress

MEMORY_BYTES = 768 << 20
CPU_SECONDS = 4


def first_page(content: bytes, box: int) -> bytes:
    """As a PNG of at most `box` times `box`. Raises whatever the library does."""
    import pypdfium2  # an extra, and only this process shall load it

    document = pypdfium2.PdfDocument(content)
    page = document[0]
    page_image = page.render(scale=box / max(page.get_size()), may_draw_forms=False).to_pil()
    page_image.thumbnail((box, box))  # it rounds up
    output = io.BytesIO()
    page_image.save(output, "PNG")
    page.close()
    document.close()
    return output.getvalue()


def main() -> None:
    with suppress(ImportError):  # Windows has none
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.buffer.write(first_page(sys.stdin.buffer.read(), int(sys.argv[1])))


if __name__ == "__main__":
    main()
