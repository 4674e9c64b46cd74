"""What `build` makes of configuration, settings and what extensions bring."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from server.errors import ConfigError
from server.namespaces.trading.namespace import build
from server.namespaces.trading.schemas import Tick


def test_configuration_is_checked_at_the_start(tmp_path: Path) -> None:
    shutil.copytree("config/feeds", tmp_path / "feeds")
    with pytest.raises(ConfigError, match=r"channels\.toml"):
        build(tmp_path)
    (tmp_path / "channels.toml").write_text('["general"]\nsubscribe = ["any"]')
    with pytest.raises(ConfigError, match=r"channels\.toml.*stock_updates"):
        build(tmp_path)
    build(tmp_path, feed="none")
    shutil.copy("config/channels.toml", tmp_path)
    build(tmp_path)
    with pytest.raises(ConfigError, match=r"TRADING_FEED.*'nasdaq'.*none, random, replay"):
        build(tmp_path, feed="nasdaq")
    build(tmp_path, feed="random")
    (tmp_path / "feeds" / "krx-sample.csv").unlink()
    build(tmp_path, feed="none")
    with pytest.raises(ConfigError, match=r"krx-sample\.csv"):
        build(tmp_path)


class Bell:
    """A feed from elsewhere, of one symbol."""

    symbols = ("BELL",)

    def ticks(self) -> AsyncGenerator[Tick, None]:
        raise NotImplementedError


def test_feeds_and_classes_from_elsewhere_are_there_beside_ours(tmp_path: Path) -> None:
    (tmp_path / "channels.toml").write_text('["stock_updates"]\nsubscribe = ["any"]')
    feeds = {"bell": lambda options: Bell()}
    with pytest.raises(ConfigError, match="ticks:BELL"):
        build(tmp_path, feed="bell", feeds=feeds)
    built = build(tmp_path, feed="bell", feeds=feeds, more_classes=[("bells", "ticks:*", {"subscribe": ["any"]})])
    assert isinstance(built._feed, Bell)
