"""What a server counts of itself since it started. Who may see it, and what other nodes count, is not known here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Statistics:
    """They only grow. A connection is one client in one namespace; a message is one event to or from one client; an
    error is an event that was refused or failed."""

    total_connections: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    errors: int = 0
