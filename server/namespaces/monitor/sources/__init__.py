"""Where machines are read: one file per kind of source. When they are read is the service's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from server.namespaces.monitor.schemas import Reading


class SourceError(Exception):
    """A machine, or a whole source, could not be read; the message says why, for the log."""


class Source(Protocol):
    """Is used by one task, never concurrently."""

    @property
    def name(self) -> str: ...

    @property
    def codes(self) -> Sequence[str]:
        """The machines it reads."""

    async def read(self) -> Mapping[str, Reading | SourceError]:
        """One reading per machine, connecting first where that is needed. May be cancelled at any await.

        Raises SourceError when none can be read: `close` follows, and a later `read` connects anew.
        """

    async def close(self) -> None:
        """Lets go of what `read` opened, if anything. Never raises."""
