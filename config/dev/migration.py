"""`make migration m="what"`: a migration for what the models changed since the newest one, numbered after it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from alembic import command
from alembic.script import ScriptDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))

from server.migrations import configuration, upgrade


def skip_empty(_context: object, _revision: object, directives: list[Any]) -> None:
    if directives[0].upgrade_ops.is_empty():
        directives.clear()


def main() -> None:
    what = os.environ.get("MIGRATION", "").strip()
    if not what:
        sys.exit('say what changed: make migration m="what"')
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite+aiosqlite:///{directory}/models.db"
        upgrade(url)
        config = configuration(url)
        newest = ScriptDirectory.from_config(config).get_current_head() or "0000"
        rev_id = f"{int(newest) + 1:04}"
        if not command.revision(config, what, autogenerate=True, rev_id=rev_id, process_revision_directives=skip_empty):
            sys.exit("the models have not changed")


if __name__ == "__main__":
    main()
