"""Every table there is: importing this module registers them all."""

from __future__ import annotations

from server.storage.database import Model

METADATA = Model.metadata
