from __future__ import annotations

import inspect

from server.realtime.delivery import Delivery
from server.realtime.namespace import Namespace


def test_a_namespace_is_a_delivery() -> None:
    def accepts(delivery: type[Delivery]) -> inspect.Signature:
        return inspect.signature(delivery.emit)

    assert accepts(Namespace) == accepts(Delivery)  # type: ignore[arg-type] # the types agree by shape
