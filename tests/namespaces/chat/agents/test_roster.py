from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.errors import ConfigError
from server.namespaces.chat.agents import roster
from server.namespaces.chat.agents.faq import Faq
from server.namespaces.chat.agents.openai_backend import OpenAI, Options
from server.namespaces.chat.agents.roster import Agent
from tests.support.agents import Echo, Endless, Held, Unwilling


def write(folder: Path, content: str) -> Path:
    (folder / "agents.toml").write_text(content, encoding="utf-8")
    return folder


def test_the_file_that_ships() -> None:
    agents = roster.load(Path("config"))
    assert agents[1].to_wire() == {"id": 1, "name": "Support Bot", "avatar_url": "/avatars/support-bot.png"}
    assert isinstance(agents[1].backend, Faq)


def test_people_only_and_a_backend_of_ones_own(tmp_path: Path) -> None:
    agents = roster.load(
        write(
            tmp_path,
            '[[agents]]\nid = 2\nname = "상담원"\nbackend = "none"\n'
            '[[agents]]\nid = 3\nname = "Mine"\nbackend = "tests.support.agents.Echo"\ntone = "kind"\n',
        )
    )
    assert agents[2].backend is None
    assert agents[2].avatar_url is None
    assert isinstance(agents[3].backend, Echo)
    assert agents[3].backend.options == {"tone": "kind"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", r"no \[\[agents\]\]"),
        ("agents = 5", r"no \[\[agents\]\]"),
        ("agents = [5]", "agent 1: not a table"),
        ("[[agents]", "agents.toml"),
        ('[[agents]]\nname = "x"\nbackend = "none"', "agent 1: .*'id'"),
        ('[[agents]]\nid = "1"\nname = "x"\nbackend = "none"', "agent 1: .*'id'"),
        ('[[agents]]\nid = 0\nname = "x"\nbackend = "none"', "agent 1: .*'id'"),
        ('[[agents]]\nid = 1\nname = ""\nbackend = "none"', "agent 1: .*'name'"),
        ('[[agents]]\nid = 1\nname = "x"', "agent 1: .*'backend'"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "gpt"', "agent 1: no backend 'gpt'; there are faq, none, openai"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "no.such.module"', "agent 1: backend 'no.such.module'"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "tests.support.agents.Nobody"', "agent 1: backend .*Nobody"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "faq"\nknowledge = "missing"', "agent 1: .*missing"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "faq"\nspeed = 5', "agent 1: .*speed"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "openai"', "agent 1: .*'model'"),
        (
            '[[agents]]\nid = 1\nname = "x"\nbackend = "openai"\napi_key = "s3cret"',
            "api_key belongs in the environment",
        ),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "tests.support.agents.MAX"', "agent 1: .*MAX.*: TypeError"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "tests.support.agents.Faulty"', "Faulty.*: KeyError: 'tone'"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "tests.support.agents.Wordless"', "no async generator answer"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "tests.support.agents.Plain"', "no async generator answer"),
        (
            '[[agents]]\nid=1\nname="x"\nbackend="none"\n[[agents]]\nid=1\nname="y"\nbackend="none"',
            "agent 2: id 1 is taken",
        ),
    ],
)
def test_faults_name_the_file_and_the_agent(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as fault:
        roster.load(write(tmp_path, content))
    assert "agents.toml" in str(fault.value)
    assert "s3cret" not in str(fault.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agents\.toml"):
        roster.load(tmp_path)


def test_defaults_are_for_what_the_file_leaves_out(tmp_path: Path) -> None:
    folder = write(tmp_path, '[[agents]]\nid = 1\nname = "x"\nbackend = "openai"\nmodel = "theirs"\n')
    defaults = {"openai": {"model": "ours", "api_key": "k", "base_url": ""}, "faq": {"knowledge": "other"}}
    backend = roster.load(folder, defaults)[1].backend
    assert isinstance(backend, OpenAI)
    assert backend.options == Options(model="theirs", api_key="k")


async def test_closing_closes_what_can_be_closed() -> None:
    agents = [
        Agent(number, "x", None, each) for number, each in enumerate([None, Echo(Path(), {}), Held(), Unwilling()])
    ]
    with capture_logs() as logs:
        await roster.close([*agents, *agents[2:3]])
    held = agents[2].backend
    assert isinstance(held, Held)
    assert held.closed == 2
    assert [(entry["event"], entry["agent"]) for entry in logs] == [("agent did not close", 3)]


async def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "CLOSE_SECONDS", 0.01)
    with capture_logs() as logs:
        await roster.close([Agent(1, "x", None, Endless())])
    assert len(logs) == 1
