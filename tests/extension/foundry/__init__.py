"""A foundry, as an extension: one of everything that a package can add to Atrium.

Put it where Python finds it and name it; `config/` stays as it is, but for machines of its own:

    ATRIUM_EXTENSIONS=foundry TRADING_FEED=metals python -m server serve

    /trading    prices of copper and zinc (`ticks:COPPER`), and channels `melts:*` where publishers tell of a melt
    /monitor    event `melting_point {metal}`; furnaces, `source = "furnace"` in `equipment.toml`
    /chat       agent 70, the Founder, who knows melting points too
"""

from __future__ import annotations

from server.extensions import Extensions

from .feed import metals
from .furnace import FURNACE
from .melting_point import MeltingPoint, melting_point


def register(atrium: Extensions) -> None:
    atrium.event("/monitor", "melting_point", MeltingPoint)(melting_point)
    atrium.channel_class(
        "melts:*", {"subscribe": ["any"], "publish": ["role:publisher"], "history": {"count": 10, "seconds": 3600}}
    )
    atrium.feed("metals", metals)
    atrium.agent(70, "Founder", f"{__name__}.founder.Founder", greeting="Glück auf!")
    atrium.source("furnace", FURNACE)
