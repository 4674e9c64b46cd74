from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from server import settings
from server.settings import Settings, SettingsError
from tests.support.running import SECRET

GOOD = {"JWT_SECRET_KEY": SECRET}


def faults(environ: dict[str, str]) -> set[str]:
    with pytest.raises(SettingsError) as caught:
        settings.load(environ)
    assert all(name in str(caught.value) for name in caught.value.faults)
    return set(caught.value.faults)


def test_the_defaults_of_the_contract() -> None:
    loaded = settings.load(GOOD)
    assert (loaded.port, loaded.debug, loaded.ws_max_connections) == (8000, False, 1000)
    assert loaded.ws_message_size_limit == 65_536
    assert loaded.ws_message_size_limit_trading == 1_048_576
    assert (loaded.ws_ping_interval, loaded.ws_pong_timeout, loaded.ws_max_missed_pongs) == (20, 10, 3)
    assert (loaded.ws_require_auth, loaded.monitor_require_auth) == (True, False)
    assert {name: (rate.count, rate.period) for name, rate in loaded.rates.items()} == {
        "queries": (10, 60),
        "messages": (60, 60),
        "events": (50, 1),
        "connects": (5, 1),
    }
    assert (loaded.single_session_per_user, loaded.share_rate_limit, loaded.rate_limit_enabled) == (False, True, True)
    assert loaded.recovery_seconds == 120


def test_every_fault_at_once_by_variable_name() -> None:
    assert faults(
        {
            "PORT": "70000",
            "DEBUG": "perhaps",
            "WS_MAX_CONNECTIONS": "many",
            "DATABASE_URL": "mysql://x/y",
            "CORS_ORIGINS": "example.com",
            "JWT_JWKS_URL": "ftp://keys",
            "JWT_ALGORITHM": "none",
            "LOG_LEVEL": "loud",
        }
    ) == {
        "PORT",
        "DEBUG",
        "WS_MAX_CONNECTIONS",
        "DATABASE_URL",
        "CORS_ORIGINS",
        "JWT_JWKS_URL",
        "JWT_ALGORITHM",
        "LOG_LEVEL",
    }


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({}, "JWT_SECRET_KEY"),
        ({"JWT_SECRET_KEY": "short"}, "JWT_SECRET_KEY"),
        (GOOD | {"JWT_ALGORITHM": "RS256"}, "JWT_ALGORITHM"),
        ({"JWT_JWKS_URL": "https://keys.example", "JWT_ALGORITHM": "HS256"}, "JWT_ALGORITHM"),
        (GOOD | {"CORS_ORIGINS": '["https://a.example", 5]'}, "CORS_ORIGINS"),
        (GOOD | {"CORS_ORIGINS": "https://a.example/path"}, "CORS_ORIGINS"),
        (GOOD | {"CORS_ORIGINS": "http://[::1"}, "CORS_ORIGINS"),
        (GOOD | {"JWT_JWKS_URL": "http://[::1"}, "JWT_JWKS_URL"),
        (GOOD | {"DATABASE_URL": "postgres://"}, "DATABASE_URL"),
        (GOOD | {"DATABASE_URL": "postgres://u:p@localhost:notaport/db"}, "DATABASE_URL"),
        (GOOD | {"FILE_STORAGE_TYPE": "s3"}, "S3_BUCKET_NAME"),
        (GOOD | {"WS_PING_INTERVAL": "0"}, "WS_PING_INTERVAL"),
        (GOOD | {"WS_PING_INTERVAL": "nan"}, "WS_PING_INTERVAL"),
        (GOOD | {"SERVICE_PORT": "x"}, "SERVICE_PORT"),
    ],
)
def test_a_fault_names_the_variable_that_was_set(environ: dict[str, str], fault: str) -> None:
    assert faults(environ) == {fault}


@pytest.mark.parametrize(
    ("environ", "name", "value"),
    [
        ({"SERVICE_PORT": "8003"}, "port", 8003),
        ({"PORT": "1", "SERVICE_PORT": "2"}, "port", 1),
        ({"WEBSOCKET_MAX_CONNECTIONS": "7"}, "ws_max_connections", 7),
        ({"WEBSOCKET_MAX_MESSAGE_SIZE": "1048576"}, "ws_message_size_limit", 1_048_576),
        ({"WS_HEARTBEAT_INTERVAL": "30"}, "ws_ping_interval", 30),
        ({"WS_MAX_CONNECTIONS": ""}, "ws_max_connections", 1000),
        ({"WS_MAX_CONNECTIONS": "5", "WEBSOCKET_MAX_CONNECTIONS": "7"}, "ws_max_connections", 5),
        ({"WEBSOCKET_REDIS_CHANNEL_PREFIX": "ai_trading"}, "redis_channel_prefix", "ai_trading"),
        ({"CORS_ORIGINS": '["http://localhost:9060", "*"]'}, "cors_origins", ["http://localhost:9060", "*"]),
        (
            {"CORS_ORIGINS": "http://a.example, http://b.example"},
            "cors_origins",
            ["http://a.example", "http://b.example"],
        ),
        ({"CHAT_DEFAULT_AGENT": ""}, "chat_default_agent", None),
        ({"DATABASE_URL": "postgres://u:p@h/d"}, "database_url", "postgresql+asyncpg://u:p@h/d"),
        ({"DATABASE_URL": "sqlite:///x.db"}, "database_url", "sqlite+aiosqlite:///x.db"),
    ],
)
def test_names_aliases_and_forms(environ: dict[str, str], name: str, value: object) -> None:
    assert getattr(settings.load(GOOD | environ), name) == value


def test_algorithms_follow_from_the_keys_that_are_configured() -> None:
    assert settings.load(GOOD).jwt_algorithm == ["HS256"]
    assert settings.load({"JWT_JWKS_URL": "https://keys.example"}).jwt_algorithm == ["RS256", "ES256"]
    assert settings.load(GOOD | {"JWT_JWKS_URL": "https://keys.example"}).jwt_algorithm == ["HS256", "RS256", "ES256"]


def test_the_development_secret_is_random_kept_and_private(tmp_path: Path) -> None:
    environ = {"DEBUG": "true", "DATA_DIR": str(tmp_path / "var")}
    first, second = settings.load(environ), settings.load(environ)
    assert first.jwt_secret_key == second.jwt_secret_key
    assert len(first.jwt_secret_key or "") >= settings.MIN_SECRET_BYTES
    assert stat.S_IMODE((tmp_path / "var" / settings.DEVELOPMENT_SECRET).stat().st_mode) == 0o600
    other = settings.load({"DEBUG": "true", "DATA_DIR": str(tmp_path / "other")})
    assert other.jwt_secret_key != first.jwt_secret_key


def test_secrets_are_masked() -> None:
    loaded = settings.load(
        GOOD
        | {
            "DATABASE_URL": "postgres://user:hunter2@db.example/atrium?password=hunter2",
            "REDIS_URL": "rediss://:hunter2@r:6",
        }
    )
    shown = loaded.masked()
    assert SECRET not in str(shown)
    assert "hunter2" not in str(shown)
    assert shown["DATABASE_URL"] == "postgresql+asyncpg://********@db.example/atrium"
    assert shown["REDIS_URL"] == "rediss://********@r:6"


def test_development_reads_dotenv_below_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text(f"JWT_SECRET_KEY={SECRET}\nPORT=1234\nHOST=1.2.3.4\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "4321")
    loaded: Settings = settings.load()
    assert (loaded.port, loaded.host) == (4321, "1.2.3.4")


def test_the_sample_lists_every_setting_with_its_default() -> None:
    sample = Path("config/env.example").read_text()
    shown = dict(re.findall(r"^# ([A-Z_0-9]+)=(\S*)", sample, re.MULTILINE))
    loaded = settings.load(GOOD)
    assert set(shown) == set(loaded.masked())
    given = {name: value for name, value in shown.items() if value}
    assert settings.load(GOOD | given) == loaded
