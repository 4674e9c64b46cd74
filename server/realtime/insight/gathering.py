"""One question to every node, this one too, and all their answers. What they mean is for who asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from server.realtime.others import Body, Others

Answer = Callable[[Body], Awaitable[Body]]


@dataclass(frozen=True, slots=True)
class Gathered:
    """This node's answer first. `silent`: nodes that live and gave none."""

    answers: Sequence[Body]
    silent: Sequence[str]


class Gathering:
    def __init__(self, others: Others) -> None:
        self._others = others
        self._here: dict[str, Answer] = {}

    def on(self, verb: str, answer: Answer) -> None:
        """Who answers, here and to other nodes."""
        self._here[verb] = answer
        self._others.on(verb, answer)

    async def ask(self, verb: str, body: Body) -> Gathered:
        """Takes a second at most, where another node is silent."""
        own, others = await asyncio.gather(self._here[verb](body), self._others.ask_each(verb, body))
        answers = {node: None if each is None or "error" in each else each for node, each in others.items()}
        return Gathered(
            [own, *(each for each in answers.values() if each is not None)],
            sorted(node for node, each in answers.items() if each is None),
        )
