from __future__ import annotations

from server.realtime.cluster.node import Node
from server.realtime.others import Body, NoOthers, Others


async def test_where_there_are_no_others_nobody_answers() -> None:
    others: Others = NoOthers()

    async def answer(body: Body) -> Body:
        return body

    others.on("verb", answer)
    assert await others.ask_all("verb", {}) == []


def test_a_node_has_others() -> None:
    kind: type[Others] = Node
    assert kind is Node
