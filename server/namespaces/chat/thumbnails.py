"""Small pictures of pictures, and of a PDF's first page; where they are kept is `files`' business.

They come from strangers: one worker thread draws them one at a time, and none that would take much memory or time."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import os
import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from mmap import mmap
from typing import IO, cast

import structlog
from PIL import Image, ImageOps

from server.namespaces.chat import pdf_pages

log = structlog.get_logger(__name__)

BOX = 320
MEDIA_TYPE = "image/jpeg"
SECONDS = 5.0
#: 100 MB when unpacked to four bytes a pixel.
MAX_PIXELS = 25_000_000
#: Each pass over a progressive JPEG costs as much as the picture; cameras and editors write about ten.
MAX_SCANS = 32

_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/webp": "WEBP"}
_SCAN = re.compile(rb"\xff\xda")
#: What a Python needs to start; no secret of the server's is any business of a process that reads strangers' files.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT")

Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)  # up to twice as many, Pillow would only warn


class Thumbnails:
    def __init__(self, *, seconds: float = SECONDS) -> None:
        """`seconds`: for one, from when it is asked for."""
        self._seconds = seconds
        self._worker = ThreadPoolExecutor(1, "thumbnails")
        self._draws_pdf = importlib.util.find_spec("pypdfium2") is not None  # the extra `pdf`

    async def draw(self, content: mmap, media_type: str) -> bytes | None:
        """A JPEG; None where there can be none, or not in time."""
        if media_type not in _FORMATS and not (media_type == "application/pdf" and self._draws_pdf):
            return None
        drawing = asyncio.get_running_loop().run_in_executor(self._worker, _draw, content, media_type, self._seconds)
        try:
            return await asyncio.wait_for(drawing, self._seconds)
        except Exception as error:  # Pillow raises a dozen kinds; whichever it is, the file does without
            log.info("no thumbnail", media_type=media_type, error=type(error).__name__)
            return None

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)


def _draw(content: mmap, media_type: str, seconds: float) -> bytes:
    if media_type == "application/pdf":
        # By its path and without the folder it lies in, whose modules are none of its imports.
        program = [sys.executable, "-P", pdf_pages.__file__, str(2 * BOX)]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        drawn = subprocess.run(  # noqa: S603  # our own program
            program, input=content, capture_output=True, timeout=seconds, check=True, env=environment
        )
        return shrink(io.BytesIO(drawn.stdout), "PNG")
    if media_type == "image/jpeg" and len(_SCAN.findall(content)) > MAX_SCANS:
        raise Image.DecompressionBombError
    return shrink(cast(IO[bytes], content), _FORMATS[media_type])


def shrink(content: IO[bytes], format: str) -> bytes:
    """Upright, on white, and without what the picture tells of its place. Raises whatever Pillow does."""
    with Image.open(content, formats=[format]) as opened:
        opened.draft("RGB", (BOX, BOX))  # JPEGs can be unpacked small
        image = opened.convert("RGBA") if opened.mode in ("1", "P", "PA") else opened  # these shrink badly
        image.thumbnail((BOX, BOX))
        small = ImageOps.exif_transpose(image).convert("RGBA")
    paper = Image.new("RGB", small.size, "white")
    paper.paste(small, mask=small)
    output = io.BytesIO()
    paper.save(output, "JPEG", quality=80)
    return output.getvalue()
