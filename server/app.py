"""The only place where parts are wired: settings in, an aiohttp application out. Each part by itself is `parts`'."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta

from aiohttp import web

from server import __version__, extensions, parts
from server.extensions import Extensions
from server.http import admin_routes, asyncapi, dev, health, middleware, pages
from server.http.api import Api
from server.llm.endpoint import Endpoint
from server.llm.endpoint import Options as EndpointOptions
from server.namespaces.chat import namespace as chat
from server.namespaces.chat import routes, routes_files
from server.namespaces.chat.dialect import BANK, CHAT
from server.namespaces.chat.presence import describe
from server.namespaces.chat.replies import Pace
from server.namespaces.chat.service import Options
from server.namespaces.copilot.namespace import CopilotNamespace
from server.namespaces.copilot.planner.llm import LanguageModelPlanner
from server.namespaces.copilot.planner.planning import Planner
from server.namespaces.monitor import namespace as monitor
from server.namespaces.monitor import routes as monitor_routes
from server.namespaces.monitor.alarms import AlarmService
from server.namespaces.monitor.availability import Availability
from server.namespaces.monitor.damping import Damping
from server.namespaces.monitor.dialect import MONITOR
from server.namespaces.monitor.history import History
from server.namespaces.monitor.journal import Journal
from server.namespaces.monitor.sources import KINDS
from server.namespaces.trading import namespace as trading
from server.namespaces.trading import routes as trading_routes
from server.namespaces.trading.dialect import TRADING
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.node import Node
from server.realtime.cluster.outside import Outside
from server.realtime.doors import Door
from server.realtime.engine.dialect import Dialect
from server.realtime.namespace import Namespace
from server.realtime.server import RealtimeServer
from server.settings import Settings
from server.storage.database import Database

SOCKETIO_PATH = "socket.io"

#: Paths of plain WebSockets, the more special ones first (SPEC §1).
DOORS = (
    Door("/ws/monitor", "/monitor", MONITOR),
    Door("/ws/copilot", "/copilot", Dialect(pings=True)),
    Door("/ws/trading/{client_id}", "/trading", TRADING),
    Door("/ws/chat/{session_id}", "/chat", CHAT, enters="join"),
    Door("/api/v1/chat/ws/{session_id}", "/chat", BANK, enters="join"),
)
#: The last one, by WS_DEFAULT_NAMESPACE.
DEFAULT_DOORS = {
    "chat": Door("/ws/{session_id}", "/chat", CHAT, enters="join"),
    "trading": Door("/ws/{client_id}", "/trading", TRADING),
}

REALTIME = web.AppKey("realtime", RealtimeServer)
NAMESPACES = web.AppKey("namespaces", list[Namespace])


def build_app(
    settings: Settings, *, checks: Mapping[str, Callable[[Database], Awaitable[None]]] | None = None
) -> web.Application:
    """`checks` are asked for `/readyz` beside the one that the database answers."""
    added = extensions.load(settings.extensions)
    app = web.Application(
        middlewares=[
            middleware.origins(settings.cors_origins, allow_loopback=settings.debug),
            middleware.errors,
        ]
    )
    app.on_response_prepare.append(middleware.name_origin)
    database = Database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_max_overflow,
    )
    jwks = parts.jwks_keys(settings)
    node = parts.node_of(settings)
    realtime = parts.realtime_server(settings, parts.authority(settings, jwks), node)
    namespaces = _namespaces(settings, database, node, added)
    for namespace in namespaces:
        added.extend(namespace)
        realtime.add(namespace)
    realtime.attach(app, socketio_path=SOCKETIO_PATH)
    realtime.open_doors(app, [*DOORS, DEFAULT_DOORS[settings.ws_default_namespace]])
    if isinstance(realtime.manager, ClusterFanout):
        [channels] = [each for each in namespaces if isinstance(each, trading.TradingNamespace)]
        app.on_startup.append(Outside(realtime.manager, channels.publish_seen, audience=channels.audience).start)
    app[REALTIME] = realtime
    app[NAMESPACES] = namespaces
    app.add_routes(asyncapi.routes(namespaces))
    app.add_routes(_chat_routes(settings, realtime, namespaces))
    app.add_routes(_trading_routes(settings, realtime, namespaces))
    app.add_routes(_monitor_routes(settings, database, realtime, namespaces))
    [machines] = [each.service for each in namespaces if isinstance(each, monitor.MonitorNamespace)]
    admin_routes.serve(
        app,
        realtime,
        _api(settings, realtime, settings.ws_message_size_limit),
        version=__version__,
        seconds=settings.admin_figures_seconds,
        lost_sources=machines.lost,
    )

    more: dict[str, health.Check] = {name: functools.partial(check, database) for name, check in (checks or {}).items()}
    if node is not None:
        more["redis"] = node.check
    app.add_routes(health.routes({"database": database.check, **more}))
    app.add_routes(pages.routes(version=__version__, debug=settings.debug, namespaces=_described(namespaces)))
    if settings.debug and settings.jwt_secret_key is not None:
        app.add_routes(dev.routes(parts.development_mint(settings)))

    async def run(app: web.Application) -> AsyncIterator[None]:
        yield
        if jwks is not None:
            await jwks.close()
        await database.close()

    app.cleanup_ctx.append(run)
    return app


def _described(namespaces: Iterable[Namespace]) -> list[dict[str, object]]:
    return [{"path": each.path, "token": "required" if each.require_auth else "optional"} for each in namespaces]


def _namespaces(settings: Settings, database: Database, node: Node | None, added: Extensions) -> list[Namespace]:
    """Every namespace there is; a new one is listed here."""
    return [
        chat.build(
            database,
            parts.file_store(settings),
            config=settings.config,
            agent_options={
                "openai": {
                    "api_key": settings.openai_api_key,
                    "base_url": settings.openai_base_url,
                    "model": settings.openai_model,
                }
            },
            more_agents=added.agents,
            options=Options(
                auto_create=settings.chat_auto_create_sessions,
                default_agent=settings.chat_default_agent,
                pace=Pace(settings.stream_chunk_size, settings.stream_delay_ms / 1000),
            ),
            max_file_size=settings.max_file_size,
            allowed_file_types=settings.allowed_file_types,
            presence=parts.presence(settings, node, chat.ChatNamespace.path, describe),
            lease=parts.lease(node, "chat files"),
            others=node,
            require_auth=settings.ws_require_auth,
        ),
        monitor.build(
            settings.config,
            plc=settings.plc,
            kinds={**KINDS, **added.sources},
            period=settings.monitor_period,
            lease=parts.lease(node, "equipment"),
            require_auth=settings.monitor_require_auth,
        ),
        trading.build(
            settings.config,
            feed=settings.trading_feed,
            database=database,
            others=node,
            feeds=added.feeds,
            more_classes=added.channel_classes,
            feed_speed=settings.trading_feed_speed,
            feed_seed=settings.trading_feed_seed,
            lease=parts.lease(node, "trading feed"),
            presence=parts.presence(settings, node, trading.TradingNamespace.path),
            max_channels=settings.trading_max_channels,
            require_auth=settings.ws_require_auth,
        ),
        CopilotNamespace(
            planner=_planner(settings),
            max_queries=settings.copilot_max_queries,
            data_timeout=settings.copilot_data_timeout,
            person_timeout=settings.copilot_person_timeout,
            require_auth=settings.ws_require_auth,
        ),
    ]


def _planner(settings: Settings) -> Planner | None:
    """None is the embedded one. Raises ConfigError."""
    if settings.copilot_planner == "embedded":
        return None
    key, url = settings.openai_api_key or "", settings.openai_base_url
    options = EndpointOptions(settings.openai_model or "", key, url)
    return LanguageModelPlanner(Endpoint(options, whose="language model"))


def _api(settings: Settings, realtime: RealtimeServer, max_body: int) -> Api:
    return Api(
        realtime.admission,
        realtime.limits,
        max_body=max_body,
        share_rate_limit=settings.share_rate_limit,
        timeout=settings.ws_handler_timeout,
    )


def _trading_routes(
    settings: Settings, realtime: RealtimeServer, namespaces: Sequence[Namespace]
) -> list[web.RouteDef]:
    [namespace] = [each for each in namespaces if isinstance(each, trading.TradingNamespace)]
    api = _api(settings, realtime, settings.ws_message_size_limit_trading)
    return trading_routes.routes(namespace.service, namespace.statistics, api)


def _monitor_routes(
    settings: Settings, database: Database, realtime: RealtimeServer, namespaces: Sequence[Namespace]
) -> list[web.RouteDef]:
    [namespace] = [each for each in namespaces if isinstance(each, monitor.MonitorNamespace)]
    machines = namespace.equipment.machines
    damping = Damping(
        settings.monitor_flap_raises,
        timedelta(seconds=settings.monitor_flap_window),
        timedelta(seconds=settings.monitor_flap_steady),
    )
    namespace.alarms = AlarmService(database, machines, namespace.alarm)
    namespace.service.journal = Journal(
        database, machines, namespace.alarm, retention_days=settings.monitor_history_days, damping=damping
    )
    history = History(database, machines, namespace.alarms, lambda: namespace.service.snapshot().equipment())
    availability = Availability(database, machines, namespace.equipment.shifts)
    api = _api(settings, realtime, settings.ws_message_size_limit)
    return monitor_routes.routes(
        history, availability, namespace.alarms, api, require_auth=settings.monitor_require_auth
    )


def _chat_routes(settings: Settings, realtime: RealtimeServer, namespaces: Sequence[Namespace]) -> list[web.RouteDef]:
    [namespace] = [each for each in namespaces if isinstance(each, chat.ChatNamespace)]
    api = _api(settings, realtime, settings.ws_message_size_limit)
    service = namespace.service
    return [
        *routes.routes(service, api),
        *routes_files.routes(
            service.files,
            service.conversation.attach,
            api.identify,
            count=functools.partial(api.count, namespace.path, "messages"),
        ),
    ]
