"""The options of `openai_backend`."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import ConfigError
from server.namespaces.chat.agents import openai_backend


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "model"),
        ({"model": ""}, "model"),
        ({"model": "m"}, "OPENAI_API_KEY"),
        ({"model": "m", "api_key": "two words"}, "api_key.*Not a key"),
        ({"model": "m", "api_key": "ключ"}, "api_key.*Not a key"),
        ({"model": "m", "api_key": "line\n"}, "api_key.*Not a key"),
        ({"model": "m", "api_key": "k", "base_url": "file:///etc/passwd"}, "base_url"),
        ({"model": "m", "api_key": "k", "base_url": "localhost:8000"}, "base_url"),
        ({"model": "m", "api_key": "k", "retries": -1}, "retries"),
        ({"model": "m", "api_key": "k", "retries": True}, "retries"),
        ({"model": "m", "api_key": "k", "token_timeout": 0}, "token_timeout"),
        ({"model": "m", "api_key": "k", "token_timeout": float("nan")}, "token_timeout"),
        (
            {"model": "m", "api_key": "k", "budget": 200, "system_prompt": "x" * 300},
            "budget of 200 tokens is too small",
        ),
        ({"model": "m", "api_key": "k", "parameters": {"stream": False}}, "parameters"),
        ({"model": "m", "api_key": "k", "knowledge": "missing"}, "missing"),
        ({"model": "m", "api_key": "k", "temperature": 1}, "temperature.*Unknown field"),
    ],
)
def test_options_it_cannot_work_with(tmp_path: Path, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as fault:
        openai_backend.build(tmp_path, options)
    assert "two words" not in str(fault.value)
