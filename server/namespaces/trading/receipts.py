"""What publishers were told, by idempotency key, for a while: a message sent twice is published once. Nothing else."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

LIFETIME_SECONDS = 300
MAX_RECEIPTS = 100_000

Key = tuple[str | None, str, str, str]
Receipt = Mapping[str, object]


class Receipts:
    """Keys are tenant, user, channel and idempotency key. Bounded: the oldest go first, even before their time."""

    def __init__(self, *, most: int = MAX_RECEIPTS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._receipts: OrderedDict[Key, tuple[float, Receipt]] = OrderedDict()  # oldest first

    def __len__(self) -> int:
        return len(self._receipts)

    def get(self, key: Key) -> Receipt | None:
        self._drop()
        found = self._receipts.get(key)
        return None if found is None else found[1]

    def put(self, key: Key, receipt: Receipt) -> None:
        self._receipts[key] = (self._clock() + LIFETIME_SECONDS, receipt)
        self._drop()

    def _drop(self) -> None:
        now = self._clock()
        while self._receipts:
            oldest = next(iter(self._receipts))
            if len(self._receipts) <= self._most and self._receipts[oldest][0] > now:
                return
            del self._receipts[oldest]
