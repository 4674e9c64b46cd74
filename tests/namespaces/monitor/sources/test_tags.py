from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from server.errors import ConfigError
from server.namespaces.monitor.catalogue import Group, Machine
from server.namespaces.monitor.rules import Rules
from server.namespaces.monitor.sources.tags import (
    Placeholders,
    faults,
    filled,
    password,
    plain,
    scaled,
    usable,
)

WELDER = Machine("KRCWO12ELOA101", "Welder", "Line1", Placeholders().load({"placeholders": {"bay": "B{code}"}}))


@pytest.mark.parametrize(
    ("text", "filled_in"),
    [
        ("", ""),
        ("plant/{code}/{line}", "plant/KRCWO12ELOA101/Line1"),
        ("{name}{name}", "WelderWelder"),
        ("{bay}", "B{code}"),
        ("}{", "}{"),
    ],
)
def test_placeholders(text: str, filled_in: str) -> None:
    assert filled(text, WELDER) == filled_in


@pytest.mark.parametrize("text", ["{}", "{Code}", "{code.__class__}", "{code!r}", "{0}"])
def test_placeholders_that_a_machine_does_not_have(text: str) -> None:
    with pytest.raises(ValueError, match="nothing stands for"):
        filled(text, WELDER)


@pytest.mark.parametrize("placeholders", [{"bay": 3}, {"bay": ""}, {" bay": "x"}, ["bay"], {"bay": "x" * 201}])
def test_placeholders_are_texts(placeholders: object) -> None:
    with pytest.raises(ValidationError):
        Placeholders().load({"placeholders": placeholders})


@pytest.mark.parametrize(
    ("value", "result"), [(10, 2.0), (-5, 0.5), (True, True), ("10", "10"), (2**64 - 1, 2**64 * 0.1 + 1)]
)
def test_scaling(value: float | str, result: float | str) -> None:
    assert scaled(value, {"scale": 0.1, "offset": 1}) == result


def test_numbers_that_are_not_scaled_stay_whole() -> None:
    assert type(scaled(2**53 + 1, {"scale": 1.0, "offset": 0.0})) is int


@pytest.mark.parametrize("value", [None, b"1", [1], {"a": 1}, datetime.now(UTC), 1j])
def test_what_is_not_plain(value: object) -> None:
    assert plain(value) is None


@given(
    st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=9)), timezone(-timedelta(hours=12))]))
)
def test_a_usable_time_is_in_utc_and_a_float_holds_it(time: datetime) -> None:
    moment = usable(time)
    if moment is not None:
        assert moment.utcoffset() == timedelta(0)
        datetime.fromtimestamp(moment.timestamp(), UTC)


def test_times_without_a_zone_are_in_utc() -> None:
    assert usable(datetime(2026, 3, 1, 12)) == datetime(2026, 3, 1, 12, tzinfo=UTC)  # noqa: DTZ001
    assert usable(datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=9)))) == datetime(2026, 3, 1, 3, tzinfo=UTC)
    assert usable(datetime(1970, 1, 1, tzinfo=UTC)) is None
    assert usable(None) is None


def group(**options: str) -> Group:
    return Group("line", "mqtt", {"user": None, "password_env": None, **options}, Rules({}), (WELDER,))


def test_a_password_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLANT_PASSWORD", "secret")
    assert password(group(password_env="PLANT_PASSWORD")) == "secret"
    assert password(group()) is None
    monkeypatch.delenv("PLANT_PASSWORD")
    with pytest.raises(ConfigError, match=r"groups\.line: password_env: the environment has no PLANT_PASSWORD"):
        password(group(password_env="PLANT_PASSWORD"))
    Path(".env").write_text("PLANT_PASSWORD=in the file\n")
    assert password(group(password_env="PLANT_PASSWORD")) == "in the file"
    monkeypatch.setenv("PLANT_PASSWORD", "secret")
    assert password(group(password_env="PLANT_PASSWORD")) == "secret"


def test_faults() -> None:
    assert list(faults(group(password_env="PLANT_PASSWORD"), "topic")) == [
        "password_env: Needs a user.",
        "KRCWO12ELOA101: Has no tags.",
    ]
