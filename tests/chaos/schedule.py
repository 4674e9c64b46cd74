"""What goes wrong, and when: the same for the same seed."""

from __future__ import annotations

import random
from typing import NamedTuple

QUIET = 0.05  # of the messages, at the start and at the end: nothing goes wrong there

#: How long each lasts, in seconds.
LASTS = {
    "kill a node": (1, 5),
    "restart Redis empty": (0, 0),
    "kill Redis": (1, 5),
    "cut a link": (0, 0),
    "refuse a link": (1, 5),
    "slow a link by 200 ms": (1, 8),
    "swallow a link": (1, 8),
    "drop a node's clients": (0, 0),
}
KILL = "kill a node"


class Fault(NamedTuple):
    """`after` so many acked messages; `node` whose link or process it is."""

    after: int
    what: str
    node: int
    seconds: float

    def __str__(self) -> str:
        where = "" if "Redis" in self.what else f" ({self.node})"
        return f"{self.what}{where}{f' for {self.seconds} s' if self.seconds else ''}"


def schedule(seed: int, *, messages: int, kills: int, nodes: int) -> list[Fault]:
    """In the order of `after`. As many other faults as kills, of every kind in turn; the nodes take turns too, because
    none of its clients is left on a node that was killed."""
    chance = random.Random(f"{seed} schedule")  # noqa: S311 - to be repeated
    others = [what for what in LASTS if what != KILL]
    chance.shuffle(others)
    whats = [KILL] * kills + [others[turn % len(others)] for turn in range(kills)]
    first = chance.randrange(nodes)
    faults = []
    for turn, what in enumerate(whats):
        place = (turn % kills + chance.random()) / kills  # spread evenly, each within its part
        after = round(messages * (QUIET + (1 - 2 * QUIET) * place))
        faults.append(Fault(after, what, (first + turn) % nodes, round(chance.uniform(*LASTS[what]), 1)))
    return sorted(faults)
