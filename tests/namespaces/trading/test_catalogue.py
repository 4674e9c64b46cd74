from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ConfigError, Forbidden
from server.identity import Identity
from server.namespaces.trading.catalogue import MAX_CLASSES, Action, Catalogue, load

SHIPPED = Path("config/channels.toml")

ALICE = Identity("alice")
BOB = Identity("bob")
PUBLISHER = Identity("feed", roles=frozenset({"publisher"}))
MEMBER = Identity("carol", roles=frozenset({"group:desk-1"}))
EVERYBODY = {"alice": ALICE, "bob": BOB, "publisher": PUBLISHER, "member": MEMBER}


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load(SHIPPED)


ALL = {"alice", "bob", "publisher", "member"}
NOBODY: set[str] = set()


@pytest.mark.parametrize(
    ("channel", "subscribe", "publish", "chat"),
    [
        ("general", ALL, {"publisher"}, ALL),
        ("chat:lobby", ALL, {"publisher"}, ALL),
        ("stock_updates", ALL, {"publisher"}, NOBODY),
        ("ticks:005930", ALL, {"publisher"}, NOBODY),
        ("alerts", ALL, {"publisher"}, NOBODY),
        ("user:alice", {"alice"}, {"publisher"}, NOBODY),
        ("group:desk-1", {"member"}, {"publisher", "member"}, NOBODY),
        ("group:desk-2", NOBODY, {"publisher"}, NOBODY),
        ("group:desk", NOBODY, {"publisher"}, NOBODY),
    ],
)
def test_who_may_do_what_on_the_channels_that_ship(
    shipped: Catalogue, channel: str, subscribe: set[str], publish: set[str], chat: set[str]
) -> None:
    kind = shipped.find(channel)
    expected: dict[Action, set[str]] = {"subscribe": subscribe, "publish": publish, "chat": chat}
    for action, those in expected.items():
        assert {who for who, each in EVERYBODY.items() if kind.allows(each, action, channel)} == those, action


@pytest.mark.parametrize(
    ("channel", "pattern", "history", "shared", "personal", "priority", "conflated"),
    [
        ("general", "general", 50, False, False, "normal", None),
        ("chat:a:b", "chat:*", 50, False, False, "normal", None),
        ("stock_updates", "stock_updates", 200, True, False, "normal", None),
        ("ticks:005930", "ticks:*", 1, True, False, "normal", "symbol"),
        ("alerts", "alerts", 50, True, False, "high", None),
        ("user:alice", "user:{id}", 50, False, True, "normal", None),
        ("group:desk-1", "group:{name}", 50, False, False, "normal", None),
    ],
)
def test_the_channels_that_ship(
    shipped: Catalogue,
    channel: str,
    pattern: str,
    history: int,
    shared: bool,
    personal: bool,
    priority: str,
    conflated: str | None,
) -> None:
    kind = shipped.find(channel)
    assert kind.pattern.text == pattern
    assert (kind.history_count, kind.shared, kind.personal) == (history, shared, personal)
    assert (kind.priority, kind.conflate_key) == (priority, conflated)


@pytest.mark.parametrize(
    "channel", ["", "generals", "General", " general", "chat", "chat:", "user:", "ticks", "ticks:", "test_channel", "*"]
)
def test_a_name_that_fits_no_pattern_is_refused(shipped: Catalogue, channel: str) -> None:
    with pytest.raises(Forbidden):
        shipped.find(channel)


@given(st.text(max_size=100), st.text(max_size=100))
def test_a_users_channel_is_that_users_alone(user_id: str, other: str) -> None:
    kind = load(SHIPPED).find("user:x")
    channel = f"user:{user_id}"
    assert kind.allows(Identity(other), "subscribe", channel) == (other == user_id and user_id != "")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "channels.toml"
    path.write_text(text)
    return path


def test_the_first_pattern_that_fits_holds(tmp_path: Path) -> None:
    text = """
        ["ticks:krx:*"]
        subscribe = ["any"]
        history = { count = 9, seconds = 60 }
        ["ticks:*"]
        subscribe = ["role:trader"]
    """
    catalogue = load(written(tmp_path, text))
    assert catalogue.find("ticks:krx:005930").history_count == 9
    assert catalogue.find("ticks:005930").history_count == 0
    assert catalogue.find("ticks:krx:").pattern.text == "ticks:*"


KRX = "extension krx"
GOOD = 'subscribe = ["any"]\n'


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["no channel class"]),
        ("[general", []),
        ("general = 5", ["general", "table"]),
        ('["general"]\n', ["general", "subscribe", "required"]),
        ('["general"]\nsubscribe = []', ["general", "subscribe"]),
        ('["general"]\nsubscribe = "any"', ["general", "subscribe"]),
        ('["general"]\nsubscribe = ["anyone"]', ["general", "subscribe", "role:<name>"]),
        ('["general"]\nsubscribe = ["role:"]', ["general", "subscribe", "role:<name>"]),
        ('["general"]\nsubscribe = ["owner"]', ["general", "{variable}"]),
        ('["chat:*"]\nsubscribe = ["members"]', ["chat:*", "{variable}"]),
        ('["general"]\n' + GOOD + "histroy = {}", ["general", "histroy", "Unknown"]),
        ('["general"]\n' + GOOD + "history = { count = 5 }", ["general", "history.seconds"]),
        ('["general"]\n' + GOOD + 'history = { count = "5", seconds = 1 }', ["general", "history.count"]),
        ('["general"]\n' + GOOD + "history = { count = 0, seconds = 1 }", ["general", "history.count"]),
        ('["general"]\n' + GOOD + "history = { count = true, seconds = 1 }", ["general", "history.count"]),
        ('["general"]\n' + GOOD + "presence = 1", ["general", "presence"]),
        ('["general"]\n' + GOOD + 'priority = "urgent"', ["general", "priority"]),
        ('["general"]\n' + GOOD + "conflate = { kye = 'symbol' }", ["general", "conflate.kye"]),
        ('["general"]\n' + GOOD + 'shared = true\nchat = ["any"]', ["general", "shared"]),
        ('["user:{id}"]\nsubscribe = ["owner"]\nshared = true', ["user:{id}", "shared"]),
        ('["general"]\n' + GOOD + 'conflate = { key = "a", rate = 0.05 }', ["general", "conflate.rate", "0.1"]),
        ('["general"]\n' + GOOD + 'conflate = { key = "a", rate = 1001 }', ["general", "conflate.rate", "1000"]),
        ('["general"]\n' + GOOD + 'conflate = { key = "a", rate = nan }', ["general", "conflate.rate"]),
        ('["general"]\n' + GOOD + 'conflate = { key = "a", rate = inf }', ["general", "conflate.rate"]),
        ('["general"]\n' + GOOD + 'conflate = { key = "a", rate = true }', ["general", "conflate.rate", "number"]),
        ('["general"]\n' + GOOD + 'conflate = { key = "a", rate = "5" }', ["general", "conflate.rate", "number"]),
        ('["general"]\n' + GOOD + "conflate = { rate = 5 }", ["general", "conflate.key", "required"]),
        ('["general"]\n' + GOOD + 'priority = "high"\nconflate = { key = "a" }', [":4:", "conflate", "high"]),
        ('["general"]\n' + GOOD + "wildcard = true", [":3:", "wildcard"]),
        ('["user:{id}"]\nsubscribe = ["owner"]\nwildcard = true', [":3:", "wildcard"]),
        ('["group:{id}"]\nsubscribe = ["any"]\nwildcard = true', [":3:", "wildcard"]),
        (f'["{"a" * 101}"]\n' + GOOD, [":1:", "100"]),
        ('["a\\nb"]\n' + GOOD, [":1:", '"a\\nb"']),
        ('["*"]\n' + GOOD, ['"*"']),
        ('["a*b"]\n' + GOOD, ["a*b"]),
        ('["user:{id}:x"]\n' + GOOD, ["user:{id}:x"]),
        ('["General"]\n' + GOOD, ["General"]),
        ('["a:*"]\n' + GOOD + '["a:b"]\n' + GOOD, ["a:b", "a:*"]),
        ('["a:*"]\n' + GOOD + '["a:b:*"]\n' + GOOD, ["a:b:*", "a:*"]),
        ('["a:*"]\n' + GOOD + '["a:{id}"]\n' + GOOD, ["a:{id}", "a:*"]),
    ],
)
def test_a_fault_names_the_file_and_the_class(tmp_path: Path, text: str, names: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as fault:
        load(path)
    for name in (str(path), *names):
        assert name in str(fault.value)


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    text = """\
# comment
["ticks:*"]
subscribe = ["any",
             "anyone"]
conflate = { key = "symbol",  rate = 0 }

["Loud"]
presence = 1

["ticks:krx"]
subscribe = ["owner"]
chat = ["members"]
shared = true
"""
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as fault:
        load(
            path,
            [
                (KRX, "ticks:{x}", {"subscribe": ["any"]}),
                (KRX, "x:*", {"subscribe": ["any"], "nme": 1}),
            ],
        )
    assert str(fault.value).splitlines() == [
        f'{path}:4: ["ticks:*"] subscribe.1: Must be `any`, `owner`, `members` or `role:<name>`.',
        f'{path}:5: ["ticks:*"] conflate.rate: Must be greater than or equal to 0.1 and less than or equal to 1000.',
        f'{path}:7: ["Loud"] A name is lower-case, at most 100, and `*` or `{{variable}}` may only end it.',
        f'{path}:7: ["Loud"] subscribe: Missing data for required field.',
        f'{path}:8: ["Loud"] presence: Not a valid boolean.',
        f"{path}:10: [\"ticks:krx\"] 'ticks:*' above it already has all of its names.",
        f'{path}:13: ["ticks:krx"] shared: What people say or own stays in their tenant: not with `shared`.',
        "extension krx: [\"ticks:{x}\"] 'ticks:*' above it already has all of its names.",
        'extension krx: ["x:*"] nme: Unknown field.',
    ]


def test_too_many_classes_are_a_fault(tmp_path: Path) -> None:
    text = "".join(f"[a{number}]\n{GOOD}" for number in range(MAX_CLASSES))
    path = written(tmp_path, text)
    assert len(load(path).classes) == MAX_CLASSES
    with pytest.raises(ConfigError, match="more than 1000"):
        load(path, [(KRX, "b", {"subscribe": ["any"]})])


def test_an_extensions_classes_come_after_the_files(tmp_path: Path) -> None:
    path = written(tmp_path, '["a"]\n' + GOOD)
    more = [(KRX, "b:*", {"subscribe": ["role:x"], "conflate": {"key": "k", "rate": 2.5}, "wildcard": True})]
    catalogue = load(path, more)
    assert [each.pattern.text for each in catalogue.classes] == ["a", "b:*"]
    assert catalogue.find("b:c").conflate_rate == 2.5
    with pytest.raises(ConfigError, match=r'extension krx: \["a"\] .* already has'):
        load(path, [(KRX, "a", {"subscribe": ["any"]})])


def test_only_what_is_a_wildcard_is_found_as_one(shipped: Catalogue) -> None:
    assert [each.wildcard_name for each in shipped.classes if each.wildcard] == ["ticks:*"]
    ticks = shipped.find_wildcard("ticks:*")
    assert ticks is shipped.find("ticks:005930")
    assert ticks is not None
    assert ticks.wildcard_name == "ticks:*"
    for name in ("", "*", "ticks:", "ticks:005930", "chat:*", "general", "user:{id}"):
        assert shipped.find_wildcard(name) is None
    assert shipped.find("chat:a").wildcard_name is None


def test_a_members_channel_is_a_groups(shipped: Catalogue) -> None:
    assert {each.pattern.text for each in shipped.classes if each.group} == {"group:{name}"}


def test_no_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"channels\.toml"):
        load(tmp_path / "channels.toml")
