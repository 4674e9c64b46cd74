"""What settings make: tokens' rules, storage, the real-time layer on one node or many. `app` puts it together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from server.auth.keys import JwksKeys
from server.auth.tokens import KeySource, SecretKey, TokenAuthority, mint
from server.http import dev
from server.realtime import recovery
from server.realtime.admission import Admission
from server.realtime.cluster import dispatch
from server.realtime.cluster.address import connector
from server.realtime.cluster.dispatch import Dispatch
from server.realtime.cluster.leases import ClusterLease
from server.realtime.cluster.limits import ClusterCounter
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.node import Node
from server.realtime.cluster.presence import ClusterPresence
from server.realtime.cluster.publication import Describe
from server.realtime.cluster.sessions import Sessions
from server.realtime.insight.hooks import Insight
from server.realtime.leases import Lease, SoleLease
from server.realtime.limits import RateLimits
from server.realtime.presence import MemoryPresence, Presence
from server.realtime.server import Bounds, RealtimeServer
from server.settings import HMAC_ALGORITHMS, Settings
from server.storage import files
from server.storage.files import FileStore


def jwks_keys(settings: Settings) -> JwksKeys | None:
    if settings.jwt_jwks_url is None:
        return None
    return JwksKeys(settings.jwt_jwks_url, [each for each in settings.jwt_algorithm if each not in HMAC_ALGORITHMS])


def authority(settings: Settings, jwks: JwksKeys | None) -> TokenAuthority:
    sources: dict[str, KeySource] = {}
    for algorithm in settings.jwt_algorithm:
        if algorithm in HMAC_ALGORITHMS:
            if settings.jwt_secret_key is not None:
                sources[algorithm] = SecretKey(settings.jwt_secret_key, algorithm)
        elif jwks is not None:
            sources[algorithm] = jwks
    return TokenAuthority(sources, issuer=settings.jwt_issuer, audience=settings.jwt_audience)


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


def file_store(settings: Settings) -> FileStore:
    if settings.file_storage_type == "local":
        return files.local(settings.file_storage_path)
    return files.s3(
        settings.s3_bucket_name or "",
        endpoint_url=settings.s3_endpoint_url,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )


def node_of(settings: Settings) -> Node | None:
    return None if settings.redis_url is None else Node(connector(settings.redis_url), settings.redis_channel_prefix)


def lease(node: Node | None, name: str) -> Lease:
    return SoleLease() if node is None else ClusterLease(node, name)


def presence(settings: Settings, node: Node | None, namespace: str, describe: Describe | None = None) -> Presence:
    """`describe`: what is published of who is in a room."""
    if node is None:
        return MemoryPresence(delay=settings.ws_leave_delay)
    return ClusterPresence(node, namespace, describe=describe, delay=settings.ws_leave_delay)


def realtime_server(settings: Settings, authority: TokenAuthority, node: Node | None) -> RealtimeServer:
    counter = None if node is None else ClusterCounter(node)
    limits = RateLimits(settings.rates, enabled=settings.rate_limit_enabled, shared=counter)
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
        insight=Insight(
            record_seconds=settings.admin_record_seconds,
            records=max(100, settings.ws_max_connections),
            messages=settings.admin_record_messages,
        ),
        node=node,
        manager=None if node is None else _manager(settings, node),
        single_session=settings.single_session_per_user,
        share_rate_limit=settings.share_rate_limit,
        ping_interval=settings.ws_ping_interval,
        ping_timeout=settings.ws_pong_timeout,
        most_missed_pongs=settings.ws_max_missed_pongs,
    )


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
