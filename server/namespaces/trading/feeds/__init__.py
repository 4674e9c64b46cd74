"""Where ticks come from: one file per kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from server.namespaces.trading.feeds import random_walk, replay
from server.namespaces.trading.feeds.broadcast import Feed

SAMPLE = Path("feeds", "krx-sample.csv")


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """`config` is the folder of the configuration files; a feed makes what it can of speed (1 is real pace) and
    seed."""

    config: Path
    speed: float
    seed: int


#: Makes a feed at the server's start, before there is a loop. Raises ConfigError.
Build = Callable[[FeedOptions], Feed]


def _random(options: FeedOptions) -> Feed:
    listings = random_walk.listings(replay.read(options.config / SAMPLE))
    return random_walk.RandomWalk(listings, seed=options.seed, rate=random_walk.TICKS_PER_SECOND * options.speed)


def _replay(options: FeedOptions) -> Feed:
    return replay.Replay(replay.read(options.config / SAMPLE), speed=options.speed)


FEEDS: Mapping[str, Build] = {"random": _random, "replay": _replay}
