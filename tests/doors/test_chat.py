"""The a2g seed's clients: its Python scripts and browser snippets as they stand, and every type of its protocol."""

from __future__ import annotations

import asyncio
import json
import time

import websockets

from tests.conftest import Connect, Serve
from tests.doors.hooks import play
from tests.doors.plain import Said, address, plain
from tests.support.client import Client
from tests.support.rest import Rest
from tests.support.running import token

PATH = "/ws/test-session"


async def seeds_script(uri: str) -> list[Said]:
    """As in the seed; what it receives is returned."""
    received = []

    async with websockets.connect(uri) as websocket:
        await websocket.send(
            json.dumps({"type": "message", "content": "Python 클라이언트 테스트", "timestamp": "2025-10-29T10:30:00Z"})
        )

        response = await websocket.recv()
        received.append(json.loads(response))

        await websocket.send(json.dumps({"type": "typing", "is_typing": True}))

        async for message in websocket:
            data = json.loads(message)
            received.append(data)
            if data["type"] == "stream_end":
                break
    return received


async def test_the_seeds_script(serve: Serve) -> None:
    received = await seeds_script(address(await serve(), PATH, "alice"))
    types = [data["type"] for data in received]
    assert types[:2] == ["connected", "ack"]
    assert "error" not in types
    start, *chunks, end = [data for data in received if data["type"].startswith("stream_")]
    assert (start["type"], start["sender_type"], end["type"]) == ("stream_start", "agent", "stream_end")
    assert [chunk["index"] for chunk in chunks] == list(range(len(chunks)))
    assert {data["message_id"] for data in (start, *chunks, end)} == {start["message_id"]}
    assert end["content"] == "".join(chunk["content"] for chunk in chunks)
    assert {type(end["latency_ms"]), type(end["tokens_used"])} <= {int, type(None)}


async def seeds_client_session(url: str, client_id: int) -> None:
    async with websockets.connect(url.format(client_id)) as websocket:
        for i in range(10):
            message = {"type": "message", "content": f"Client {client_id} - Message {i}", "timestamp": time.time()}
            await websocket.send(json.dumps(message))
            await asyncio.sleep(0)  # a second in the seed


async def test_the_seeds_load_test(serve: Serve) -> None:
    """All of it is stored, in order."""
    server = await serve(CHAT_DEFAULT_AGENT="", RATE_LIMIT_MESSAGES_PER_MINUTE=1_000_000)
    url = address(server, "/ws/load-test-{}", "alice")
    await asyncio.gather(*(seeds_client_session(url, number) for number in range(20)))
    for number in range(20):
        async with plain(server, f"/ws/load-test-{number}", "alice") as again:  # behind what it said before
            joined = await again.expect("ack")
            while joined["last_seq"] < 10:
                await again.send("join")
                joined = await again.expect("ack")
        said = [message["content"] for message in joined["messages"]]
        assert said == [f"Client {number} - Message {i}" for i in range(10)]


async def test_the_browser_console(serve: Serve) -> None:
    """Its own streaming is nothing that a client may do here: it is told so, and stays."""
    server = await serve()
    async with play("chat.mjs", "socket", address(server, "/ws", None), token("alice")) as console:
        assert await console.finish() == 0, console.output
    output = console.output
    assert "✅ WebSocket 연결됨" in output
    for content in ("안녕하세요! 테스트 메시지입니다.", "첫 번째 메시지", "두 번째 메시지", "세 번째 메시지"):
        assert f"[user]: {content}" in output
    assert output.count("스트리밍 완료") == 4
    assert "UNKNOWN_EVENT stream_start" in output
    assert "🔌 연결 종료. 코드: 1000" in output


async def test_the_browser_by_http(serve: Serve) -> None:
    """What it does by HTTP a plain WebSocket in the session hears."""
    server = await serve(CHAT_DEFAULT_AGENT="")
    async with play("chat.mjs", "http", server.url, token("alice")) as console:
        created = json.loads((await console.read_until("Created")).splitlines()[0].split(" ", 1)[1])
        async with plain(server, f"/ws/chat/{created['session_id']}", "alice") as alice:
            await alice.expect("ack")
            console.process.stdin.write(b"go\n")  # type: ignore[union-attr]
            assert await console.finish() == 0, console.output
            assert (await alice.expect("message"))["content"] == "HTTP를 통한 메시지 전송 테스트"
            assert (await alice.expect("message"))["message_type"] == "file"
    lines = dict(line.split(" ", 1) for line in console.output.splitlines())
    assert json.loads(lines["Sent"])["status"] == "sent"
    assert json.loads(lines["History"])["messages"][0]["content"] == "HTTP를 통한 메시지 전송 테스트"
    assert json.loads(lines["Sessions"])["sessions"][0]["session_id"] == created["session_id"]
    assert json.loads(lines["Upload"])["file_info"]["name"] == "test.txt"


async def test_every_type_between_both_doors(serve: Serve, connect: Connect) -> None:
    server = await serve(CHAT_DEFAULT_AGENT="", WS_LEAVE_DELAY=0)
    on_socketio = await connect(server, "/chat", "olga", roles=("operator",))
    async with plain(server, PATH, "alice") as alice:
        await alice.expect("ack", lambda said: said["event"] == "join")
        await on_socketio.call("join", {"session_id": "test-session"})
        joined = await alice.expect("system", lambda said: said["event"] == "user_joined")
        assert (joined["user_id"], joined["timestamp"][-1]) == ("olga", "Z")

        await alice.send("message", content="안녕하세요", timestamp="2025-10-29T10:30:00Z")
        heard = await on_socketio.expect("message")
        said = await alice.expect("message")
        assert said | {"type": ""} == heard | {"type": "", "timestamp": said["timestamp"]}
        assert said["timestamp"] == said["created_at"]
        assert (said["sender_type"], said["sender_id"]) == ("user", "alice")

        await alice.send("typing", is_typing=True)
        assert (await on_socketio.expect("typing"))["is_typing"] is True
        await on_socketio.emit("typing", {"session_id": "test-session", "is_typing": True})
        assert (await alice.expect("typing"))["user_id"] == "olga"

        file_id = await uploaded(await connect(server, "/chat", "alice"))
        await alice.send("file", file_id=file_id, message="이미지를 확인해주세요")
        heard = await on_socketio.expect("message", lambda payload: payload["message_type"] == "file")
        assert heard["content"] == "이미지를 확인해주세요"

        await on_socketio.call("message", {"session_id": "test-session", "content": "답변입니다."})
        assert (await alice.expect("message", lambda said: said["sender_id"] == "olga"))["content"] == "답변입니다."
        await on_socketio.close()
        left = await alice.expect("system", lambda said: said["event"] == "user_left")
        assert left["user_id"] == "olga"
        assert alice.of("error") == []
    history = (await Rest(server.url).get("/api/chat/sessions/test-session/messages")).body
    assert [each["content"] for each in history["messages"]] == ["안녕하세요", "이미지를 확인해주세요", "답변입니다."]


async def test_too_many_messages(serve: Serve) -> None:
    server = await serve(CHAT_DEFAULT_AGENT="", RATE_LIMIT_MESSAGES_PER_MINUTE=2)
    async with plain(server, PATH, "alice") as alice:
        for number in range(3):
            await alice.send("message", content=str(number))
        error = await alice.expect("error")
        assert (error["code"], error["event"]) == ("RATE_LIMITED", "message")
        assert 0 < error["retry_after"] <= 60_000
        await alice.settle()
        assert [said["content"] for said in alice.of("message")] == ["0", "1"]


async def test_the_other_session_says_nothing_here(serve: Serve) -> None:
    server = await serve(CHAT_DEFAULT_AGENT="")
    async with plain(server, "/ws/one", "alice") as one, plain(server, "/ws/chat/two", "alice") as two:
        for client in (one, two):
            await client.expect("ack")
        await one.send("message", content="a")
        await one.expect("message")
        await two.settle()
        assert two.of("message") == []


async def test_who_comes_back_sees_what_happened(serve: Serve) -> None:
    """And after what it has seen, if it says what that was."""
    server = await serve(CHAT_DEFAULT_AGENT="")
    async with plain(server, PATH, "alice") as alice:
        await alice.send("message", content="one")
        await alice.expect("message")
    await Rest(server.url).post("/api/chat/sessions/test-session/messages", {"content": "two"})
    async with plain(server, PATH, "alice") as alice:
        joined = await alice.expect("ack")
        assert [each["content"] for each in joined["messages"]] == ["one", "two"]
        await alice.send("join", after_seq=1)
        again = await alice.expect("ack")
        assert [each["content"] for each in again["messages"]] == ["two"]


async def uploaded(client: Client) -> str:
    """A file in the session that was not said yet: binary data comes by Socket.IO."""
    wanted = {"session_id": "test-session", "name": "test.txt", "size": 5, "type": "text/plain"}
    upload = {"upload_id": (await client.call("upload_start", wanted))["upload_id"]}
    await client.call("upload_chunk", {**upload, "offset": 0, "data": b"Hello"})
    return str((await client.call("upload_end", upload))["file_id"])
