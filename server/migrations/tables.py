"""Every table there is: importing this module registers them all."""

from __future__ import annotations

from server.namespaces.chat import models as _chat
from server.namespaces.monitor import models as _monitor
from server.namespaces.trading import models as _trading
from server.storage.database import Model

METADATA = Model.metadata

__all__ = ["METADATA", "_chat", "_monitor", "_trading"]
