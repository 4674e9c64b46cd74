"""Every setting, typed, from the environment (SPEC §10). Lower code never reads it: it is given values."""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson
from dotenv import dotenv_values
from marshmallow import ValidationError, fields, validate
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from server.realtime.cluster.address import connector
from server.realtime.limits import Rate

HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")
PUBLIC_KEY_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
MIN_SECRET_BYTES = 32  # RFC 7518 §3.2: a key at least as long as the hash
DEVELOPMENT_SECRET = "dev-secret"  # noqa: S105 - a file name


class SettingsError(Exception):
    """Every fault at once, by variable name."""

    def __init__(self, faults: Mapping[str, list[str]]) -> None:
        self.faults = dict(faults)
        lines = (f"  {name}: {' '.join(messages)}" for name, messages in sorted(self.faults.items()))
        super().__init__("\n".join(("Settings are not usable:", *lines)))


class _List(fields.Field[list[str]]):
    """`a,b` or `["a", "b"]`, as the seeds write both."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[str]:
        if not value.strip().startswith("["):
            return [item for item in (part.strip() for part in value.split(",")) if item]
        try:
            items = orjson.loads(value)
        except ValueError:
            items = None
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ValidationError("Not a list of texts.")
        return items


def _setting(
    default: object,
    field: fields.Field[Any],
    name: str,
    *aliases: str,
    secret: bool = False,
) -> Any:
    metadata = {"names": (name, *aliases), "field": field, "secret": secret}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _number(default: float, name: str, *aliases: str, least: float = 0, most: float | None = None) -> Any:
    kind = fields.Float if isinstance(default, float) else fields.Integer
    return _setting(default, kind(validate=validate.Range(min=least, max=most)), name, *aliases)


def _text(default: str | None, name: str, *aliases: str, secret: bool = False) -> Any:
    return _setting(default, fields.String(), name, *aliases, secret=secret)


def _choice(default: str, name: str, *choices: str) -> Any:
    return _setting(default, fields.String(validate=validate.OneOf(choices)), name)


def _flag(default: bool, name: str, *aliases: str) -> Any:
    return _setting(default, fields.Boolean(), name, *aliases)


def _list(default: list[str], name: str, *aliases: str) -> Any:
    return _setting(default, _List(), name, *aliases)


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations in seconds and sizes in bytes, unless the name says otherwise."""

    debug: bool = _flag(False, "DEBUG")
    host: str = _text("0.0.0.0", "HOST")  # noqa: S104 - the Heroku way: the platform decides who reaches it
    port: int = _number(8000, "PORT", "SERVICE_PORT", most=65535)
    log_level: str = _choice("INFO", "LOG_LEVEL", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    data_dir: str = _text("var", "DATA_DIR")
    config_dir: str = _text("config", "CONFIG_DIR")

    database_url: str = _text("", "DATABASE_URL", secret=True)
    database_pool_size: int = _number(20, "DATABASE_POOL_SIZE", least=1, most=1000)
    database_max_overflow: int = _number(40, "DATABASE_MAX_OVERFLOW", most=1000)
    redis_url: str | None = _text(None, "REDIS_URL", secret=True)
    redis_held_bytes: int = _number(33_554_432, "REDIS_HELD_BYTES", least=65_536)
    redis_channel_prefix: str = _setting(
        "atrium",
        fields.String(validate=validate.Regexp(r"[A-Za-z0-9_.:-]+\Z", error="Letters, digits and _ . : - only.")),
        "REDIS_CHANNEL_PREFIX",
        "WS_REDIS_CHANNEL_PREFIX",
    )

    jwt_secret_key: str | None = _text(None, "JWT_SECRET_KEY", secret=True)
    jwt_algorithm: list[str] = _list([], "JWT_ALGORITHM")
    jwt_jwks_url: str | None = _text(None, "JWT_JWKS_URL")
    jwt_issuer: str | None = _text(None, "JWT_ISSUER")
    jwt_audience: list[str] = _list([], "JWT_AUDIENCE")

    ws_max_connections: int = _number(1000, "WS_MAX_CONNECTIONS", least=1)
    ws_message_size_limit: int = _number(65_536, "WS_MESSAGE_SIZE_LIMIT", "WS_MAX_MESSAGE_SIZE", least=256)
    ws_message_size_limit_trading: int = _number(1_048_576, "WS_MESSAGE_SIZE_LIMIT_TRADING", least=256)
    ws_ping_interval: float = _number(20.0, "WS_PING_INTERVAL", "WS_HEARTBEAT_INTERVAL", least=0.01)
    ws_pong_timeout: float = _number(10.0, "WS_PONG_TIMEOUT", "WS_PING_TIMEOUT", least=0.01)
    ws_max_missed_pongs: int = _number(3, "WS_MAX_MISSED_PONGS", least=1, most=100)
    ws_require_auth: bool = _flag(True, "WS_REQUIRE_AUTH")
    ws_default_namespace: str = _choice("chat", "WS_DEFAULT_NAMESPACE", "chat", "trading")  # of /ws/{id}
    ws_max_rooms: int = _number(100, "WS_MAX_ROOMS", least=3)
    ws_outbox_messages: int = _number(1000, "WS_OUTBOX_MESSAGES", least=10)
    ws_outbox_bytes: int = _number(1_048_576, "WS_OUTBOX_BYTES", least=65_536)
    ws_handler_timeout: float = _number(10.0, "WS_HANDLER_TIMEOUT", least=0.01)
    ws_leave_delay: float = _number(3.0, "WS_LEAVE_DELAY")  # from a connection's loss to its user's being absent
    monitor_require_auth: bool = _flag(False, "MONITOR_REQUIRE_AUTH")
    cors_origins: list[str] = _list([], "CORS_ORIGINS", "WS_ALLOWED_ORIGINS")
    single_session_per_user: bool = _flag(False, "SINGLE_SESSION_PER_USER")

    share_rate_limit: bool = _flag(True, "SHARE_RATE_LIMIT")
    rate_limit_enabled: bool = _flag(True, "RATE_LIMIT_ENABLED")
    rate_limit_queries_per_minute: int = _number(10, "RATE_LIMIT_QUERIES_PER_MINUTE", least=1)
    rate_limit_messages_per_minute: int = _number(60, "RATE_LIMIT_MESSAGES_PER_MINUTE", least=1)
    rate_limit_events_per_second: int = _number(50, "RATE_LIMIT_EVENTS_PER_SECOND", least=1)
    rate_limit_connects_per_second: int = _number(5, "RATE_LIMIT_CONNECTS_PER_SECOND", least=1)

    chat_auto_create_sessions: bool = _flag(True, "CHAT_AUTO_CREATE_SESSIONS")
    chat_default_agent: int | None = _number(1, "CHAT_DEFAULT_AGENT", least=1)
    stream_chunk_size: int = _number(10, "STREAM_CHUNK_SIZE", least=1, most=100_000)
    stream_delay_ms: int = _number(50, "STREAM_DELAY_MS", most=60_000)
    max_file_size: int = _number(10_485_760, "MAX_FILE_SIZE", least=1)
    allowed_file_types: list[str] = _list(
        ["image/jpeg", "image/png", "application/pdf", "text/plain"], "ALLOWED_FILE_TYPES"
    )
    file_storage_type: str = _choice("local", "FILE_STORAGE_TYPE", "local", "s3")
    file_storage_path: str = _text("var/files", "FILE_STORAGE_PATH")
    s3_bucket_name: str | None = _text(None, "S3_BUCKET_NAME")
    s3_endpoint_url: str | None = _text(None, "S3_ENDPOINT_URL")
    s3_region: str | None = _text(None, "S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
    s3_access_key_id: str | None = _text(None, "S3_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID")
    s3_secret_access_key: str | None = _text(None, "S3_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", secret=True)
    openai_api_key: str | None = _text(None, "OPENAI_API_KEY", secret=True)
    openai_base_url: str | None = _text(None, "OPENAI_BASE_URL")
    openai_model: str | None = _text(None, "OPENAI_MODEL")

    copilot_planner: str = _choice("embedded", "COPILOT_PLANNER", "embedded", "openai")
    copilot_max_queries: int = _number(10, "COPILOT_MAX_QUERIES", least=1, most=100)
    copilot_data_timeout: float = _number(10.0, "COPILOT_DATA_TIMEOUT", least=0.01)
    copilot_person_timeout: float = _number(120.0, "COPILOT_PERSON_TIMEOUT", least=0.01)
    monitor_period: float = _number(1.0, "MONITOR_PERIOD", least=0.05)
    monitor_history_days: int = _number(90, "MONITOR_HISTORY_DAYS", least=1, most=3650)
    monitor_flap_raises: int = _number(3, "MONITOR_FLAP_RAISES", least=1, most=1000)
    monitor_flap_window: float = _number(60.0, "MONITOR_FLAP_WINDOW", least=1, most=86_400)
    monitor_flap_steady: float = _number(30.0, "MONITOR_FLAP_STEADY", least=1, most=86_400)
    plc: str = _text("", "PLC")
    trading_feed: str = _text("random", "TRADING_FEED")
    trading_feed_seed: int = _number(0, "TRADING_FEED_SEED", most=2**53 - 1)
    trading_feed_speed: float = _number(1.0, "TRADING_FEED_SPEED", least=0.01, most=100)
    trading_max_channels: int = _number(10_000, "TRADING_MAX_CHANNELS", least=100)
    extensions: list[str] = _list([], "ATRIUM_EXTENSIONS")
    recovery_seconds: int = _number(120, "RECOVERY_SECONDS")
    recovery_messages: int = _number(100_000, "RECOVERY_MESSAGES")
    recovery_bytes: int = _number(67_108_864, "RECOVERY_BYTES")
    admin_figures_seconds: int = _number(900, "ADMIN_FIGURES_SECONDS", least=10, most=3600)
    admin_record_seconds: float = _number(600.0, "ADMIN_RECORD_SECONDS", most=86_400)
    admin_record_messages: int = _number(50_000, "ADMIN_RECORD_MESSAGES", most=1_000_000)

    @property
    def rates(self) -> dict[str, Rate]:
        return {
            "queries": Rate(self.rate_limit_queries_per_minute, 60),
            "messages": Rate(self.rate_limit_messages_per_minute, 60),
            "events": Rate(self.rate_limit_events_per_second, 1),
            "connects": Rate(self.rate_limit_connects_per_second, 1),
        }

    @property
    def config(self) -> Path:
        return Path(self.config_dir)

    def masked(self) -> dict[str, object]:
        """By variable name, for people's eyes: no secret in it."""
        shown: dict[str, object] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata["secret"] and value:
                value = _mask(value)
            shown[field.metadata["names"][0]] = value
        return shown


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """From `environ`, by default the process's and, in development, `.env` below it. Raises SettingsError.

    `WEBSOCKET_X` is read where `WS_X` is not set. An empty value counts as not set, as platforms' forms leave it.
    """
    if environ is None:
        environ = {key: value for key, value in dotenv_values(".env").items() if value} | dict(os.environ)
    values: dict[str, Any] = {}
    faults: dict[str, list[str]] = {}
    for field in dataclasses.fields(Settings):
        for name in _accepted(field.metadata["names"]):
            if raw := environ.get(name, "").strip():
                try:
                    values[field.name] = field.metadata["field"].deserialize(raw)
                except ValidationError as error:
                    faults[name] = [str(message) for message in error.messages]
                break
        else:
            # empty = people only (SPEC §4): the one setting whose emptiness means something
            if field.name == "chat_default_agent" and environ.get("CHAT_DEFAULT_AGENT") == "":
                values[field.name] = None
    values["database_url"], fault = _database_url(values)
    if fault:
        faults["DATABASE_URL"] = [fault]
    if fault := _redis_fault(values.get("redis_url")):
        faults["REDIS_URL"] = [fault]
    settings = Settings(**values)
    _check_identity(settings, faults)
    if settings.file_storage_type == "s3" and not settings.s3_bucket_name:
        faults["S3_BUCKET_NAME"] = ["Required when FILE_STORAGE_TYPE is s3."]
    if (settings.s3_access_key_id is None) != (settings.s3_secret_access_key is None):
        faults["S3_SECRET_ACCESS_KEY"] = ["It and S3_ACCESS_KEY_ID are set together, or neither."]
    for name, url in (("S3_ENDPOINT_URL", settings.s3_endpoint_url), ("OPENAI_BASE_URL", settings.openai_base_url)):
        if url is not None and not _is_url(url, {"http", "https"}, path=True):
            faults[name] = ["Not an http(s) URL."]
    for origin in settings.cors_origins:
        if origin != "*" and not _is_url(origin, {"http", "https", "ws", "wss"}, path=False):
            faults["CORS_ORIGINS"] = [f"{origin!r} is not an origin such as https://app.example.com."]
    if faults:
        raise SettingsError(faults)
    if settings.jwt_secret_key is None and settings.debug:
        settings = dataclasses.replace(settings, jwt_secret_key=_development_secret(Path(settings.data_dir)))
    return settings if settings.jwt_algorithm else dataclasses.replace(settings, jwt_algorithm=_algorithms(settings))


def _accepted(names: tuple[str, ...]) -> list[str]:
    aliases = [f"WEBSOCKET_{name[3:]}" for name in names if name.startswith("WS_")]
    return [*names, *aliases]


def _algorithms(settings: Settings) -> list[str]:
    hmac = ["HS256"] if settings.jwt_secret_key else []
    return hmac + (["RS256", "ES256"] if settings.jwt_jwks_url else [])


def _check_identity(settings: Settings, faults: dict[str, list[str]]) -> None:
    secret, jwks = settings.jwt_secret_key, settings.jwt_jwks_url
    if secret is None and jwks is None and not settings.debug:
        faults["JWT_SECRET_KEY"] = ["Set it, or JWT_JWKS_URL; only DEBUG=true runs without."]
    if secret is not None and len(secret.encode()) < MIN_SECRET_BYTES:
        faults["JWT_SECRET_KEY"] = [f"Shorter than {MIN_SECRET_BYTES} bytes."]
    if jwks is not None and not _is_url(jwks, {"http", "https"}, path=True):
        faults["JWT_JWKS_URL"] = ["Not an http(s) URL."]
    for algorithm in settings.jwt_algorithm:
        if algorithm in HMAC_ALGORITHMS:
            missing = secret is None and not settings.debug and "JWT_SECRET_KEY"
        elif algorithm in PUBLIC_KEY_ALGORITHMS:
            missing = jwks is None and "JWT_JWKS_URL"
        else:
            faults["JWT_ALGORITHM"] = [f"{algorithm!r} is not supported."]
            continue
        if missing:
            faults.setdefault("JWT_ALGORITHM", [f"{algorithm} needs {missing}."])


def _is_url(text: str, schemes: set[str], *, path: bool) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and (path or not parts.path)


def _database_url(values: Mapping[str, Any]) -> tuple[str, str | None]:
    """As SQLAlchemy's async engine wants it: Heroku hands out `postgres://`."""
    url = values.get("database_url") or f"sqlite:///{Path(values.get('data_dir', 'var'), 'atrium.db')}"
    scheme, separator, rest = url.partition("://")
    kind = scheme.partition("+")[0]
    driver = {
        "postgres": "postgresql+asyncpg",
        "postgresql": "postgresql+asyncpg",
        "sqlite": "sqlite+aiosqlite",
    }
    if not separator or kind not in driver:
        return "", "Neither a postgresql:// nor a sqlite:// URL."
    try:
        parsed = make_url(f"{driver[kind]}://{rest}")
    except (ArgumentError, ValueError):
        return "", "Not a database URL."
    if kind != "sqlite" and not (parsed.host and parsed.database):
        return "", "It names no host or no database."
    return f"{driver[kind]}://{rest}", None


def _redis_fault(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        connector(url)
    except ValueError:  # whose text may show the password
        return "Not a Redis URL such as redis://:password@host:6379/0, with / # ? @ in a password as %2F %23 %3F %40."
    return None


def _development_secret(data_dir: Path) -> str:
    """Random, and kept beside the development database, so that `token` mints for the server that `serve` runs."""
    path = data_dir / DEVELOPMENT_SECRET
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        data_dir.mkdir(parents=True, exist_ok=True)
        secret = secrets.token_urlsafe(48)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:  # another process was first
            return path.read_text().strip()
        with os.fdopen(descriptor, "w") as file:
            file.write(secret)
        return secret


def _mask(value: str) -> str:
    parts = urlsplit(value)
    if not parts.scheme or (not parts.netloc and "+" not in parts.scheme):
        return "********"
    host = parts.netloc.rpartition("@")[2]
    netloc = f"********@{host}" if "@" in parts.netloc else host
    return urlunsplit(parts._replace(netloc=netloc, query=""))
