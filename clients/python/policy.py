"""When a client that lost its connection comes back, and when it gives up: the seeds' policies, by name.

python-socketio's own reconnecting is not used: it asks nobody whether the server wants it back, waits one second for an
answer to its CONNECT, forgets what `server_draining` said, and goes on with a token that was refused.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """The first attempt comes after `first` seconds, each further one after `factor` times as long, `longest` at most;
    after `attempts` that failed it gives up, None: never. `jitter` is the share by which a delay may be shorter, so
    that not all clients of a server that died come back in the same instant."""

    first: float
    factor: float = 1.0
    longest: float = 30.0
    attempts: int | None = None
    jitter: float = 0.0

    def delay(self, failed: int, chance: random.Random) -> float | None:
        """Seconds until the next attempt, after so many that failed; None: give up."""
        if self.attempts is not None and failed >= self.attempts:
            return None
        exponent = min(failed, 64)  # beyond, a float overflows long after `longest` is reached
        return min(self.first * self.factor**exponent, self.longest) * (1 - self.jitter * chance.random())


NEVER = ReconnectPolicy(first=0.0, attempts=0)

POLICIES: Mapping[str, ReconnectPolicy] = MappingProxyType(
    {
        "default": ReconnectPolicy(first=1.0, factor=2.0, jitter=0.5),
        "copilot": ReconnectPolicy(first=1.0, factor=2.0, attempts=10),
        "bank": ReconnectPolicy(first=1.0, factor=2.0, attempts=5),
        "monitor": ReconnectPolicy(first=3.0, attempts=5),
        "none": NEVER,
    }
)

#: Of who names none.
BY_NAMESPACE: Mapping[str, str] = MappingProxyType(
    {"/copilot": "copilot", "/chat": "bank", "/monitor": "monitor", "/trading": "default"}
)


def choose(policy: str | ReconnectPolicy | None, namespace: str) -> ReconnectPolicy:
    """Raises ValueError for a name that there is not."""
    if isinstance(policy, ReconnectPolicy):
        return policy
    name = policy or BY_NAMESPACE.get(namespace, "default")
    try:
        return POLICIES[name]
    except KeyError:
        raise ValueError(f"no reconnect policy {name!r}: there are {', '.join(POLICIES)}") from None
