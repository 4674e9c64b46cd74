from __future__ import annotations

import pytest

from tests.clients.transcript import README, SCENARIOS, play, shorten, with_transcript
from tests.conftest import Serve


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_readme_shows_what_happens(serve: Serve, scenario: str) -> None:
    """`python -m tests.clients.transcript` renews them."""
    server = await serve()
    text = README.read_text()
    assert with_transcript(text, scenario, await play(scenario, server.url)) == text


def test_what_changes_is_not_shown() -> None:
    lines = ['< news {"channel":"x","timestamp":"now"}'] * 3
    lines += ['< tick {"channel":"ticks:A","seq":5,"data":{"price":1,"symbol":"A"}}'] * 3
    lines += ['= join {"ok":true,"messages":[{"a":1},{"a":2}]}']
    tick = '< tick {"channel":"ticks:A","seq":"…","data":{"price":"…","symbol":"A"}}'
    news = '< news {"channel":"x","timestamp":"…"}'
    assert shorten(lines) == [
        *[news, news, "< … 1 more news"],
        *[tick, tick],
        '= join {"ok":true,"messages":[{"a":1},"…"]}',
    ]
