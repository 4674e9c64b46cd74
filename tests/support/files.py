"""Files as people send them and as attackers do, and an S3 to keep them in."""

from __future__ import annotations

import io
import logging
import struct
import urllib.request
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from mmap import mmap

from moto.server import ThreadedMotoServer
from PIL import Image

from server.storage import files
from server.storage.files import FileStore


def picture(format: str, size: tuple[int, int] = (640, 480), color: str = "red", **options: object) -> bytes:
    output = io.BytesIO()
    Image.new("RGB", size, color).save(output, format, **options)
    return output.getvalue()


def claiming_png(width: int, height: int) -> bytes:
    """A few bytes that say they are that large, and would unpack to it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def pdf(
    drawing: bytes = b"1 0 0 rg 0 0 300 400 re f", size: tuple[int, int] = (300, 400), filters: bytes = b""
) -> bytes:
    """One page; `drawing` is its content stream, in the encoding that `filters` names."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents 4 0 R>>" % size,
        b"<</Length %d%s>>stream\n%s\nendstream" % (len(drawing), filters, drawing),
    ]
    output, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(output))
        output += b"%d 0 obj%sendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size 5/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(output)
    return output + b"xref\n0 5\n0000000000 65535 f \n" + table + trailer


def mapped(content: bytes) -> mmap:
    memory = mmap(-1, len(content))
    memory.write(content)
    memory.seek(0)
    return memory


async def chunks(content: bytes, size: int = 65_536) -> AsyncGenerator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@contextmanager
def s3_store() -> Iterator[FileStore]:
    """A bucket of a server that speaks S3 over HTTP."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        urllib.request.urlopen(urllib.request.Request(f"{url}/files", method="PUT")).close()  # noqa: S310
        yield files.s3("files", endpoint_url=url, region="us-east-1", access_key_id="test", secret_access_key="test")
    finally:
        server.stop()
