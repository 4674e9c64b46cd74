from __future__ import annotations

import engineio
import socketio

from server.realtime.engine.server import Engine


def test_it_has_what_python_socketio_uses() -> None:
    assert isinstance(socketio.AsyncServer().eio, engineio.AsyncServer), "python-socketio took another engine"
    used = (
        "on attach send disconnect transport get_session save_session start_background_task sleep create_event "
        "generate_id shutdown handle_request async_mode reason"
    )
    for name in used.split():
        assert hasattr(engineio.AsyncServer(), name), f"python-engineio moved {name}"
        assert hasattr(Engine(), name)


async def test_ids_are_unguessable_and_short() -> None:
    ids = {Engine().generate_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(each) for each in ids} == {20}
