"""The short form of `make chaos`."""

from __future__ import annotations

import random
from pathlib import Path

from tests.chaos.run import run


async def test_no_acked_message_is_lost_or_doubled_or_out_of_order(postgres_url: str, tmp_path: Path) -> None:
    seed = random.randrange(10**6)  # noqa: S311 - told when it fails
    options = {"messages": 5000, "kills": 5, "rate": 400}
    outcome = await run(seed=seed, **options, database_url=postgres_url, home=tmp_path, say=print)
    outcome.keep(tmp_path / f"{seed}.json")
    print(outcome)  # noqa: T201
    repeat = " ".join(f"--{name} {value}" for name, value in {**options, "seed": seed}.items())
    assert not outcome.violations, f"python -m tests.chaos {repeat}"
    assert outcome.counts["recovered"] > 0
