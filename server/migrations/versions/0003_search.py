"""What search looks into: the pairs of letters of each message, and each database's index of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

# Not a copy: the rows there are must be found by what searches, whichever that is when this runs.
from server.namespaces.chat.search import bigrams

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BATCH = 1_000

# Nothing is read back from it but rowids, so it keeps neither texts nor sizes. Every letter there is belongs to a
# token, a token's first alone is indexed too, and a session is one token whatever its id holds.
FTS5 = """
CREATE VIRTUAL TABLE chat_search USING fts5(
    bigrams, session, content = '', columnsize = 0, prefix = 1,
    tokenize = "unicode61 remove_diacritics 0 categories 'L* M* N* P* S* C*'"
)
"""
ADD = "INSERT INTO chat_search (rowid, bigrams, session)"
DROP = "INSERT INTO chat_search (chat_search, rowid, bigrams, session)"
OLD = "SELECT 'delete', old.id, old.bigrams, hex(old.session_id) WHERE old.bigrams IS NOT NULL;"
NEW = "SELECT new.id, new.bigrams, hex(new.session_id) WHERE new.bigrams IS NOT NULL;"
TRIGGERS = (
    f"CREATE TRIGGER chat_search_insert AFTER INSERT ON chat_messages BEGIN {ADD} {NEW} END",
    f"CREATE TRIGGER chat_search_update AFTER UPDATE OF bigrams ON chat_messages BEGIN {DROP} {OLD} {ADD} {NEW} END",
    f"CREATE TRIGGER chat_search_delete AFTER DELETE ON chat_messages BEGIN {DROP} {OLD} END",
)

# An array has no limits of size and positions, and leaves out no sign, as a tsvector would.
GIN = """
CREATE INDEX idx_chat_messages_bigrams ON chat_messages USING gin (
    (string_to_array(bigrams, ' ') || string_to_array(replace(bigrams, ' ', ''), NULL))
) WITH (gin_pending_list_limit = 1024)
"""


def upgrade() -> None:
    op.add_column("chat_messages", sa.Column("bigrams", sa.Text(), nullable=True))
    _fill()
    if op.get_bind().dialect.name == "sqlite":
        op.execute(FTS5)
        op.execute(f"{ADD} SELECT id, bigrams, hex(session_id) FROM chat_messages WHERE bigrams IS NOT NULL")  # noqa: S608
        for trigger in TRIGGERS:
            op.execute(trigger)
    else:
        op.execute(GIN)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER chat_search_{name}")
        op.execute("DROP TABLE chat_search")
    else:
        op.drop_index("idx_chat_messages_bigrams", "chat_messages")
    op.drop_column("chat_messages", "bigrams")


def _fill() -> None:
    messages = sa.table("chat_messages", sa.column("id"), sa.column("content"), sa.column("bigrams"))
    fill = messages.update().where(messages.c.id == sa.bindparam("of")).values(bigrams=sa.bindparam("pairs"))
    some = sa.select(messages.c.id, messages.c.content).where(messages.c.content.is_not(None))
    database = op.get_bind()
    last = 0
    while found := database.execute(some.where(messages.c.id > last).order_by(messages.c.id).limit(BATCH)).all():
        database.execute(fill, [{"of": id, "pairs": bigrams(content)} for id, content in found])
        last = found[-1].id
