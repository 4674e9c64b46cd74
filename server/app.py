"""The only place where parts are wired: settings in, an aiohttp application out."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta

from aiohttp import web

from server import extensions
from server.auth.keys import JwksKeys
from server.auth.tokens import KeySource, SecretKey, TokenAuthority, mint
from server.extensions import Extensions
from server.http import admin, dev, health, middleware
from server.http.api import Api
from server.namespaces.chat import namespace as chat
from server.namespaces.chat import routes, routes_files
from server.namespaces.chat.dialect import BANK, CHAT
from server.namespaces.chat.presence import describe
from server.namespaces.chat.replies import Pace
from server.namespaces.chat.service import Options
from server.namespaces.copilot.namespace import CopilotNamespace
from server.namespaces.copilot.planner.llm import LanguageModelPlanner
from server.namespaces.copilot.planner.llm_endpoint import Endpoint
from server.namespaces.copilot.planner.llm_endpoint import Options as EndpointOptions
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
from server.realtime import recovery
from server.realtime.admission import Admission
from server.realtime.cluster import dispatch
from server.realtime.cluster.address import connector
from server.realtime.cluster.dispatch import Dispatch
from server.realtime.cluster.leases import ClusterLease
from server.realtime.cluster.limits import ClusterCounter
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.node import Node
from server.realtime.cluster.outside import Outside
from server.realtime.cluster.presence import ClusterPresence
from server.realtime.cluster.publication import Describe
from server.realtime.cluster.roster import ClusterRoster
from server.realtime.cluster.sessions import Sessions
from server.realtime.connection import Connection
from server.realtime.doors import Door
from server.realtime.engine.dialect import Dialect
from server.realtime.leases import Lease, SoleLease
from server.realtime.limits import RateLimits
from server.realtime.namespace import Namespace
from server.realtime.presence import MemoryPresence, Presence
from server.realtime.roster import Roster
from server.realtime.server import Bounds, RealtimeServer
from server.settings import HMAC_ALGORITHMS, Settings
from server.storage import files
from server.storage.database import Database
from server.storage.files import FileStore

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
ROSTER = web.AppKey("roster", Roster)


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
    jwks = _jwks(settings)
    node = _node(settings)
    counter = None if node is None else ClusterCounter(node)
    limits = RateLimits(settings.rates, enabled=settings.rate_limit_enabled, shared=counter)
    realtime = _realtime(settings, _authority(settings, jwks), limits, node)
    namespaces = _namespaces(settings, database, node, added)
    for namespace in namespaces:
        added.extend(namespace)
        realtime.add(namespace)
    app[ROSTER] = _roster(node, lambda: itertools.chain.from_iterable(each.connections for each in namespaces))
    realtime.attach(app, socketio_path=SOCKETIO_PATH)
    realtime.open_doors(app, [*DOORS, DEFAULT_DOORS[settings.ws_default_namespace]])
    if isinstance(realtime.manager, ClusterFanout):
        [channels] = [each for each in namespaces if isinstance(each, trading.TradingNamespace)]
        app.on_startup.append(Outside(realtime.manager, channels.publish_seen, audience=channels.audience).start)
    app[REALTIME] = realtime
    app.add_routes(_chat_routes(settings, realtime, namespaces))
    app.add_routes(_trading_routes(settings, realtime, namespaces))
    app.add_routes(_monitor_routes(settings, database, realtime, namespaces))
    app.add_routes(admin.routes(app[ROSTER], _api(settings, realtime, settings.ws_message_size_limit)))

    more: dict[str, health.Check] = {name: functools.partial(check, database) for name, check in (checks or {}).items()}
    if node is not None:
        more["redis"] = node.check
    app.add_routes(health.routes({"database": database.check, **more}))
    if settings.debug and settings.jwt_secret_key is not None:
        app.add_routes(dev.routes(development_mint(settings)))

    async def run(app: web.Application) -> AsyncIterator[None]:
        yield
        if jwks is not None:
            await jwks.close()
        await database.close()

    app.cleanup_ctx.append(run)
    return app


def _namespaces(settings: Settings, database: Database, node: Node | None, added: Extensions) -> list[Namespace]:
    """Every namespace there is; a new one is listed here."""
    return [
        chat.build(
            database,
            _store(settings),
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
            presence=_presence(settings, node, chat.ChatNamespace.path, describe),
            lease=_lease(node, "chat files"),
            others=node,
            require_auth=settings.ws_require_auth,
        ),
        monitor.build(
            settings.config,
            plc=settings.plc,
            kinds={**KINDS, **added.sources},
            period=settings.monitor_period,
            lease=_lease(node, "equipment"),
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
            lease=_lease(node, "trading feed"),
            presence=_presence(settings, node, trading.TradingNamespace.path),
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
    return LanguageModelPlanner(Endpoint(EndpointOptions(settings.openai_model or "", key, url)))


def development_mint(settings: Settings) -> dev.Mint:
    """Mints what this server accepts. Raises ValueError where it holds no secret to sign with."""
    secret = settings.jwt_secret_key
    algorithm = next((each for each in settings.jwt_algorithm if each in HMAC_ALGORITHMS), None)
    if secret is None or algorithm is None:
        raise ValueError("no secret to sign with: this server's tokens come from JWT_JWKS_URL")

    def sign(sub: str, roles: Sequence[str], tenant: str | None, lifetime: float = dev.LIFETIME_SECONDS) -> str:
        return mint(
            secret,
            sub,
            roles=roles,
            tenant=tenant,
            lifetime=lifetime,
            algorithm=algorithm,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        )

    return sign


def _jwks(settings: Settings) -> JwksKeys | None:
    if settings.jwt_jwks_url is None:
        return None
    return JwksKeys(settings.jwt_jwks_url, [each for each in settings.jwt_algorithm if each not in HMAC_ALGORITHMS])


def _authority(settings: Settings, jwks: JwksKeys | None) -> TokenAuthority:
    sources: dict[str, KeySource] = {}
    for algorithm in settings.jwt_algorithm:
        if algorithm in HMAC_ALGORITHMS:
            if settings.jwt_secret_key is not None:
                sources[algorithm] = SecretKey(settings.jwt_secret_key, algorithm)
        elif jwks is not None:
            sources[algorithm] = jwks
    return TokenAuthority(sources, issuer=settings.jwt_issuer, audience=settings.jwt_audience)


def _recovery(settings: Settings) -> recovery.Bounds | None:
    if not settings.recovery_seconds:
        return None
    unnoticed = settings.ws_max_missed_pongs * (settings.ws_ping_interval + settings.ws_pong_timeout)
    return recovery.Bounds(
        seconds=settings.recovery_seconds,
        retention=settings.recovery_seconds + unnoticed,
        messages=settings.recovery_messages,
        bytes=settings.recovery_bytes,
        sessions=max(100, settings.ws_max_connections),
    )


def _node(settings: Settings) -> Node | None:
    return None if settings.redis_url is None else Node(connector(settings.redis_url), settings.redis_channel_prefix)


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


def _store(settings: Settings) -> FileStore:
    if settings.file_storage_type == "local":
        return files.local(settings.file_storage_path)
    return files.s3(
        settings.s3_bucket_name or "",
        endpoint_url=settings.s3_endpoint_url,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )


def _presence(settings: Settings, node: Node | None, namespace: str, describe: Describe | None = None) -> Presence:
    """`describe`: what is published of who is in a room."""
    if node is None:
        return MemoryPresence(delay=settings.ws_leave_delay)
    return ClusterPresence(node, namespace, describe=describe, delay=settings.ws_leave_delay)


def _roster(node: Node | None, here: Callable[[], Iterable[Connection]]) -> Roster:
    return Roster(here) if node is None else ClusterRoster(node, here)


def _lease(node: Node | None, name: str) -> Lease:
    return SoleLease() if node is None else ClusterLease(node, name)


def _manager(settings: Settings, node: Node) -> ClusterFanout:
    recovery = _recovery(settings)
    bounds = dispatch.Bounds(
        log=settings.recovery_messages, log_bytes=settings.recovery_bytes, bytes=settings.redis_held_bytes
    )
    sessions = None
    if recovery is not None:
        bounds = dataclasses.replace(bounds, retention=recovery.retention)
        sessions = Sessions(node, seconds=recovery.seconds, unnoticed=recovery.retention - recovery.seconds)
    return ClusterFanout(
        node, Dispatch(node.id, node.keys, node.commands, bounds), sessions, most_held=settings.ws_outbox_messages
    )


def _realtime(settings: Settings, authority: TokenAuthority, limits: RateLimits, node: Node | None) -> RealtimeServer:
    admission = Admission(
        authority,
        limits,
        max_connections=settings.ws_max_connections,
        exempt_loopback=settings.debug,
    )
    return RealtimeServer(
        admission,
        limits,
        bounds=Bounds(
            message_bytes=settings.ws_message_size_limit,
            namespace_message_bytes={"/trading": settings.ws_message_size_limit_trading},
            rooms_per_connection=settings.ws_max_rooms,
            handler_timeout=settings.ws_handler_timeout,
            max_connections=settings.ws_max_connections,
            outbox_messages=settings.ws_outbox_messages,
            outbox_bytes=settings.ws_outbox_bytes,
        ),
        recovery=_recovery(settings),
        node=node,
        manager=None if node is None else _manager(settings, node),
        single_session=settings.single_session_per_user,
        share_rate_limit=settings.share_rate_limit,
        ping_interval=settings.ws_ping_interval,
        ping_timeout=settings.ws_pong_timeout,
        most_missed_pongs=settings.ws_max_missed_pongs,
    )
