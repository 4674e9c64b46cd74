"""Durations by the thousand, in a bounded place: buckets that are 2 % wide, so that percentiles are 1 % off at most."""

from __future__ import annotations

import math
from collections import Counter

WIDTH = 1.02
LEAST = 1e-6  # seconds: what is shorter counts as this long
LOG = math.log(WIDTH)


class Histogram:
    """In seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        self._buckets: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        self.count += 1
        self.longest = max(self.longest, seconds)
        self._buckets[round(math.log(max(seconds, LEAST) / LEAST) / LOG)] += 1

    def percentile(self, share: float) -> float | None:
        """`share` of all were no longer; None where there are none."""
        wanted, seen = math.ceil(share * self.count), 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= max(wanted, 1):
                return min(LEAST * WIDTH**bucket, self.longest)
        return None
