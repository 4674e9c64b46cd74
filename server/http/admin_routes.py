"""Everything that administrators ask for and do by HTTP, put together (SPEC §9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from server.http import admin, admin_server
from server.http.api import Api
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.insight.census import Census
from server.realtime.insight.gathering import Gathering
from server.realtime.insight.inquiry import Inquiry
from server.realtime.insight.inspector import Inspector
from server.realtime.others import NoOthers
from server.realtime.server import RealtimeServer


def serve(
    app: web.Application,
    realtime: RealtimeServer,
    api: Api,
    *,
    version: str,
    seconds: int,
    lost_sources: Callable[[], Mapping[str, str]],
) -> None:
    """Adds the routes, and what each second does from the app's start. `seconds` of figures are kept; `lost_sources` is
    equipment that this node reads and cannot, its name by code."""
    node, manager = realtime.node, realtime.manager
    gathering = Gathering(node or NoOthers())
    held = manager if isinstance(manager, ClusterFanout) else None
    inspector = Inspector(
        realtime, gathering, version=version, seconds=seconds, redis=node, held=held, lost_sources=lost_sources
    )
    app.on_startup.append(inspector.start)
    census = Census(realtime, gathering)
    app.add_routes(admin.routes(census, Inquiry(realtime, census, gathering), api))
    app.add_routes(admin_server.routes(inspector, census, realtime.served, api))
