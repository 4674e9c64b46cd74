from __future__ import annotations

from server.migrations.tables import METADATA


def test_every_table_of_every_namespace_is_known() -> None:
    assert {"chat_sessions", "chat_participants", "chat_messages", "chat_files"} <= METADATA.tables.keys()
