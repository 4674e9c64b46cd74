"""The source `furnace`: machines with a temperature each, `celsius`, which says what they are doing.

[[machines]]
code = "FOUNDRY0000001"
name = "Cupola"
source = "furnace"
celsius = 1100
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from server.extensions import Count, Group, Kind, Payload, Reading

HOT = 400
TOO_HOT = 1500


class Furnace(Payload):
    celsius = Count(most=3000, required=True)


class Furnaces:
    def __init__(self, group: Group) -> None:
        self.name = group.name
        self._celsius: Mapping[str, int] = {each.code: each.options["celsius"] for each in group.machines}

    @property
    def codes(self) -> Sequence[str]:
        return list(self._celsius)

    async def read(self) -> Mapping[str, Reading]:
        return {code: _reading(celsius) for code, celsius in self._celsius.items()}

    async def close(self) -> None:
        """There is nothing to let go of."""


def _reading(celsius: int) -> Reading:
    return Reading("error" if celsius > TOO_HOT else "running" if celsius > HOT else "idle")


FURNACE = Kind(options=Payload, machine=Furnace, tag=None, build=Furnaces)
