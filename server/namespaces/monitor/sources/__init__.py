"""Where machines are read: one file per kind of source. When they are read is the service's business."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from server.namespaces.monitor.catalogue import Kind, Source, SourceError

__all__ = ["KINDS", "Source", "SourceError"]


def _within(module: str) -> Callable[[], Kind]:
    """Their protocols come with an extra and are slow to import."""

    def kind() -> Kind:
        try:
            found: Kind = import_module(f"{__name__}.{module}").KIND
        except ImportError as error:
            raise ImportError(f"needs the extra plc: pip install 'atrium[plc]' ({error})") from error
        return found

    return kind


KINDS: Mapping[str, Callable[[], Kind]] = {name: _within(name) for name in ("simulated", "modbus", "opcua", "mqtt")}
