from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest

from server.app import NAMESPACES, build_app
from server.errors import ConfigError
from server.extensions import FeedOptions, Group, load
from server.http import asyncapi
from tests.support.client import Client
from tests.support.ports import free_port
from tests.support.process import ROOT, answers, atrium
from tests.support.running import SECRET, settings, token

FOUNDRY = Path(__file__).parent / "extension" / "foundry"
FURNACE = """
[groups.melting]
source = "furnace"

[[machines]]
code = "FOUNDRY0000001"
name = "Cupola"
group = "melting"
celsius = 1100
"""
STUMBLES = """
async def stumble(namespace, connection):
    raise KeyError("what only the log may tell")

def register(atrium):
    atrium.event("/trading", "stumble")(stumble)
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Python imports from, whose modules are forgotten after the test."""
    folder = tmp_path / "outside"
    folder.mkdir()
    known = set(sys.modules)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in set(sys.modules) - known:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(folder):
            del sys.modules[name]


def write(folder: Path, name: str, body: str) -> None:
    (folder / f"{name}.py").write_text(dedent(body))


def registering(body: str) -> str:
    """A module whose `register` is this."""
    header = "from server.extensions import *\nfrom server import extensions\ndef register(atrium):\n"
    return header + "".join(f"    {line}\n" for line in dedent(body).strip().splitlines())


# -- what is there ------------------------------------------------------------------------------------------------


def test_the_example_brings_one_of_each(outside: Path) -> None:
    shutil.copytree(FOUNDRY, outside / "foundry")
    found = load(["foundry"])
    [(who, name, table)] = found.channel_classes
    assert (who, name, table["subscribe"]) == ("extension foundry", "melts:*", ["any"])
    assert [(who, table["id"]) for who, table in found.agents] == [("extension foundry: agent 70", 70)]
    assert set(found.feeds["metals"](FeedOptions(outside, 1.0, 0)).symbols) == {"COPPER", "ZINC"}
    assert set(found.sources) == {"furnace"}


def test_what_it_says_and_hears_is_in_the_asyncapi_document(outside: Path) -> None:
    write(
        outside,
        "desk",
        registering(
            """
            class Wish(Payload):
                what = Text(most=200, required=True)
            class Granted(Counted):
                at = Moment()
            class Approval(Request):
                optional = ("by",)
                by = Text(most=100)
            class Answer(Payload):
                approved = Flag(required=True)
            async def wish(namespace, connection, *, what):
                "For something."
            atrium.event("/trading", "wish", Wish, rate="messages", ack=Granted)(wish)
            atrium.tells("/trading", "wished", type("Wished", (Told,), {}))
            atrium.tells("/trading", "approval", Approval, Answer)
            """
        ),
    )
    (outside / "quiet.py").write_text(registering(EVENT + 'atrium.event("/trading", "quiet")(handler)'))
    app = build_app(settings(ATRIUM_EXTENSIONS="desk,quiet"))
    document = asyncapi.document(app[NAMESPACES])
    messages, operations = document["channels"]["trading"]["messages"], document["operations"]
    schemas = document["components"]["schemas"]
    assert messages["send.wish"]["payload"] == {"$ref": "#/components/schemas/DeskWishPayload"}
    assert messages["ack.wish"]["payload"]["oneOf"][0] == {"$ref": "#/components/schemas/DeskGranted"}
    assert operations["trading.send.wish"]["x-rate"] == "messages"
    assert operations["trading.send.wish"]["summary"] == "For something."
    assert messages["ack.quiet"]["payload"]["oneOf"][0] == {"$ref": "#/components/schemas/AnyAck"}
    assert schemas["AnyAck"]["additionalProperties"] is True
    assert "hear.wished" in messages
    assert "reply" in operations["trading.question.approval"]
    assert schemas["DeskApproval"]["required"] == ["requestId"]
    assert not {"wish", "wished", "approval"} & {
        each["name"] for each in document["channels"]["chat"]["messages"].values()
    }


def test_none_and_one_named_twice() -> None:
    assert load([]).faults == []


def test_one_named_twice_registers_once(outside: Path) -> None:
    write(outside, "once", registering('atrium.channel_class("once", {})'))
    assert len(load(["once", "once"]).channel_classes) == 1


# -- what is wrong with it ----------------------------------------------------------------------------------------

EVENT = "async def handler(namespace, connection): pass\n"
FEED = "lambda options: None"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all' ("),
        ("1 / 0", "ZeroDivisionError: division by zero ("),
        ("def register(:", "SyntaxError: "),
        ("import sys; sys.exit(3)", "SystemExit: 3 ("),
        ("", "it has no function register(atrium)"),
        ("register = 5", "it has no function register(atrium)"),
        ("async def register(atrium): pass", "it has no function register(atrium)"),
        ("def register(): pass", "TypeError: register() takes 0 positional arguments but 1 was given"),
        (registering('raise ConfigError("no licence")'), "no licence"),
        (registering("atrium.no_such_thing()"), "AttributeError: 'Extensions' object has no attribute"),
        (
            registering(EVENT + 'atrium.event("/shop", "a")(handler)'),
            "event 'a' of '/shop': there are /chat, /trading,",
        ),
        (registering(EVENT + 'atrium.event("/chat", "disconnect")(handler)'), "no client can send that"),
        (registering(EVENT + 'atrium.event("/chat", "a\\n")(handler)'), "no client can send that"),
        (registering(EVENT + 'atrium.event("/chat", 5)(handler)'), "event 5 of '/chat': no client can send that"),
        (registering(EVENT + 'atrium.event("/chat", "message")(handler)'), "is there already, by Atrium"),
        (registering(EVENT + 'atrium.event("/monitor", "ping")(handler)'), "is there already, by Atrium"),
        (registering(EVENT + 'atrium.event("/chat", "a", dict)(handler)'), "<class 'dict'> is no Payload"),
        (registering(EVENT + 'atrium.event("/chat", "a", Payload())(handler)'), "is no Payload"),
        (registering(EVENT + 'atrium.event("/chat", "a", rate="message")(handler)'), "there is no rate 'message', but"),
        (registering('atrium.event("/chat", "a")(print)'), "<built-in function print> is no `async def`"),
        (registering('@atrium.event("/chat", "a")\nasync def handler(): pass'), "too many positional arguments"),
        (
            registering('@atrium.event("/chat", "a")\nasync def handler(namespace, connection, *, b): pass'),
            "its handler is not for namespace, connection and the payload's fields: missing a required argument: 'b'",
        ),
        (
            registering('P = Payload.from_dict({"b": Flag()})\n' + EVENT + 'atrium.event("/chat", "a", P)(handler)'),
            "got an unexpected keyword argument 'b'",
        ),
        (registering(EVENT + 'atrium.event("/chat", "a", ack=Told)(handler)'), "is no Ack"),
        (
            registering('atrium.tells("/shop", "a", Told)'),
            "event 'a' to clients of '/shop': there are /chat, /trading,",
        ),
        (registering('atrium.tells("/chat", "connect", Told)'), "no client can hear that"),
        (registering('atrium.tells("/chat", "a", Payload)'), "is no Told"),
        (registering('atrium.tells("/chat", "a", Told, Payload)'), "is no Request"),
        (registering('atrium.tells("/chat", "a", Request, Told)'), "is no Payload"),
        (registering('atrium.tells("/chat", "typing", Told)'), "is there already, by Atrium"),
        (registering('atrium.tells("/copilot", "request_api", Request, Payload)'), "is there already, by Atrium"),
        (registering('atrium.channel_class("a:*", ["any"])'), "channel class 'a:*': it takes a name and a table"),
        (registering("atrium.channel_class(5, {})"), "channel class 5: it takes a name and a table"),
        (registering(f'atrium.feed("replay", {FEED})'), "feed 'replay' is there already, by Atrium"),
        (registering(f'atrium.feed("none", {FEED})'), "feed 'none' is there already, by Atrium"),
        (registering(f'atrium.feed("My feed", {FEED})'), "feed 'My feed': a name is lower-case letters"),
        (registering(f"atrium.feed(None, {FEED})"), "feed None: a name is lower-case letters"),
        (registering('atrium.feed("a", 5)'), "feed 'a': 5 builds nothing"),
        (registering('atrium.source("a", 5)'), "source 'a': 5 is no Kind"),
        (
            registering('atrium.source("modbus", Kind(Payload, Payload, None, print))'),
            "source 'modbus' is there already, by Atrium",
        ),
        (registering('atrium.source("a", Kind(Payload, Payload, None, 5))'), "source 'a': 5 builds nothing"),
        (
            registering('atrium.agent(7, "A", "none")\natrium.agent(7, "B", "none")'),
            "agent 7 is there already, by extension faulty",
        ),
        (registering('atrium.agent("7")'), "TypeError: "),
    ],
)
def test_a_faulty_one_names_itself(outside: Path, body: str, fault: str) -> None:
    write(outside, "faulty", body)
    with pytest.raises(ConfigError) as caught:
        load(["faulty"])
    [line] = str(caught.value).splitlines()
    assert line.startswith("extension faulty: ")
    assert fault in line


@pytest.mark.parametrize("name", ["no_such_extension", "no_such.extension", "..", ".relative", "a/b", "two words", "é"])
def test_one_that_is_not_there_names_itself(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load([name])
    assert str(caught.value).startswith(f"extension {name}: ")
    assert "importlib" not in str(caught.value)


def test_the_line_where_it_failed_is_told(outside: Path) -> None:
    write(outside, "deep", "def register(atrium):\n    int('x')\n")
    with pytest.raises(ConfigError, match=r"deep\.py:2\)$") as caught:
        load(["deep"])
    assert isinstance(caught.value.__cause__, ValueError)


def test_all_faults_of_all_are_told_at_once(outside: Path) -> None:
    write(
        outside, "first", registering(f'atrium.feed("none", {FEED})\natrium.feed("x", {FEED})\natrium.source("y", 5)')
    )
    write(outside, "second", "raise LookupError")
    write(outside, "third", registering(f'atrium.feed("x", {FEED})'))
    write(outside, "sound", registering(f'atrium.feed("z", {FEED})'))
    with pytest.raises(ConfigError) as caught:
        load(["first", "second", "third", "sound"])
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].removeprefix("extension ") for line in lines] == ["first", "first", "second", "third"]
    assert lines[-1] == "extension third: feed 'x' is there already, by extension first"
    assert isinstance(caught.value.__cause__, LookupError)


def test_who_registers_later_is_told(outside: Path) -> None:
    write(outside, "late", "def register(atrium):\n    global kept\n    kept = atrium\n")
    load(["late"])
    late: Any = sys.modules["late"]
    with pytest.raises(RuntimeError, match="not later"):
        late.kept.channel_class("a", {})
    with pytest.raises(RuntimeError, match="not later"):
        late.kept.feed("a", None)


@pytest.mark.parametrize(
    ("build", "fault"),
    [
        (FEED, "what it builds has no symbols, ticks"),
        ("lambda options: 1 / 0", "ZeroDivisionError: division by zero"),
        ("lambda: 5", "TypeError"),
    ],
)
def test_a_feed_that_cannot_be_built_names_its_extension(outside: Path, build: str, fault: str) -> None:
    write(outside, "empty", registering(f'atrium.feed("a", {build})'))
    with pytest.raises(ConfigError, match=f"^extension empty: feed 'a': {fault}"):
        load(["empty"]).feeds["a"](FeedOptions(outside, 1.0, 0))


def test_a_source_that_cannot_be_built_names_its_extension(outside: Path) -> None:
    write(outside, "empty", registering('atrium.source("a", Kind(Payload, Payload, None, lambda g: 5, lambda g: 5))'))
    kind = load(["empty"]).sources["a"]
    group: Group = SimpleNamespace()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"^extension empty: source 'a': what it builds has no name, codes, read"):
        kind.build(group)
    with pytest.raises(ConfigError, match=r"^extension empty: source 'a': TypeError: 'int' object is not iterable"):
        kind.check(group)


# -- the whole server ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (
            registering('atrium.channel_class("a:*", {"subscribe": ["some"]})'),
            r'extension faulty: \["a:\*"\] subscribe',
        ),
        (registering('atrium.channel_class("chat:a", {"subscribe": ["any"]})'), "extension faulty: .*already has all"),
        (registering('atrium.agent(1, "A", "none")'), "extension faulty: agent 1: id 1 is taken"),
        (registering('atrium.agent(7, "A", "no")'), "extension faulty: agent 7: no backend 'no'"),
        (registering('atrium.agent(7, "A", "os.nothing")'), "extension faulty: agent 7: backend 'os.nothing'"),
        (registering('atrium.agent("7", "A", "none")'), "extension faulty: agent '7': "),
    ],
)
def test_what_only_its_builder_knows_to_be_wrong_names_the_extension_too(
    outside: Path, tmp_path: Path, body: str, fault: str
) -> None:
    write(outside, "faulty", body)
    with pytest.raises(ConfigError, match=fault):
        build_app(settings(ATRIUM_EXTENSIONS="faulty", DATA_DIR=tmp_path))


async def test_a_faulty_one_stops_the_start(tmp_path: Path) -> None:
    write(tmp_path, "faulty", "def register(atrium):\n    raise OSError('the moon is down')\n")
    environ = {"DEBUG": "true", "PYTHONPATH": f"{ROOT}:{tmp_path}", "CONFIG_DIR": str(ROOT / "config")}
    async with atrium("serve", cwd=tmp_path, ATRIUM_EXTENSIONS="faulty, nowhere", **environ) as server:
        assert await server.finish() == 2
    assert "extension faulty: OSError: the moon is down" in server.output
    assert "extension nowhere: ModuleNotFoundError" in server.output
    assert "Traceback" not in server.output


async def test_clients_meet_all_that_the_example_brings(tmp_path: Path, sqlite_url: str) -> None:
    shutil.copytree(FOUNDRY, tmp_path / "foundry")
    write(tmp_path, "stumbles", STUMBLES)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "config" / "equipment.toml").write_text(FURNACE)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {
        "ATRIUM_EXTENSIONS": "foundry,stumbles",
        "TRADING_FEED": "metals",
        "TRADING_FEED_SPEED": "50",
        "CHAT_DEFAULT_AGENT": "70",
        "STREAM_DELAY_MS": "0",
        "DATABASE_URL": sqlite_url,
        "JWT_SECRET_KEY": SECRET,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATA_DIR": str(tmp_path),
        "CONFIG_DIR": str(tmp_path / "config"),
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
    }
    async with atrium("serve", cwd=tmp_path, **environ) as server:
        await answers(f"{url}/healthz")
        monitor, trading, chat = [Client(path) for path in ("/monitor", "/trading", "/chat")]
        for client in (monitor, trading, chat):
            await client.connect(url, token(roles=("publisher",)))

        assert await monitor.call("melting_point", {"metal": "zinc"}) == {"ok": True, "metal": "zinc", "celsius": 420}
        refused = await monitor.call("melting_point", {"metal": "gold"})
        assert refused["error"] == {"code": "NOT_FOUND", "message": "Nobody melts gold here"}
        assert (await monitor.call("melting_point"))["error"]["code"] == "INVALID_MESSAGE"
        assert (await trading.call("melting_point", {"metal": "zinc"}))["error"]["code"] == "UNKNOWN_EVENT"
        shown = await monitor.expect("equipment_status", lambda told: told["equipment"][0]["status"] == "running")
        assert [each["equipment_name"] for each in shown["equipment"]] == ["Cupola"]

        assert (await trading.call("subscribe", {"channel": "melts:1"}))["ok"]
        assert (await trading.call("publish", {"channel": "melts:1", "type": "poured", "data": {"kg": 80}}))["ok"]
        assert (await trading.expect("poured"))["data"] == {"kg": 80}
        assert (await trading.call("subscribe", {"channel": "ticks:COPPER"}))["ok"]
        assert (await trading.expect("tick"))["data"]["symbol"] == "COPPER"
        error = (await trading.call("stumble"))["error"]
        assert error["code"] == "INTERNAL"
        assert "only the log" not in str(error)

        assert (await chat.call("join", {"session_id": "s1"}))["session"]["agent"]["name"] == "Founder"
        await chat.call("message", {"session_id": "s1", "content": "And copper?"})
        await chat.expect("stream_end")
        said = "".join(each["content"] for each in chat.payloads("stream_chunk"))
        assert said == "Glück auf! Copper melts at 1085 °C."

        for client in (monitor, trading, chat):
            await client.close()
        server.signal(signal.SIGTERM)
        assert await server.finish() == 0
    assert error["error_id"] in server.output
    assert "what only the log may tell" in server.output
