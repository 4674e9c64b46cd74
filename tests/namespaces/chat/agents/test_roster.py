from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import ConfigError
from server.namespaces.chat.agents import roster
from server.namespaces.chat.agents.faq import Faq
from tests.support.agents import Echo


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
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "gpt"', "agent 1: no backend 'gpt'; there are faq, none"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "no.such.module"', "agent 1: backend 'no.such.module'"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "tests.support.agents.Nobody"', "agent 1: backend .*Nobody"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "faq"\nknowledge = "missing"', "agent 1: .*missing"),
        ('[[agents]]\nid = 1\nname = "x"\nbackend = "faq"\nspeed = 5', "agent 1: .*speed"),
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


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agents\.toml"):
        roster.load(tmp_path)
