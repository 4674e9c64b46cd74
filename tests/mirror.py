"""Every module has its test file, at the same place under tests/; run by `make check`."""

from __future__ import annotations

import sys
from pathlib import Path

#: Executed by Alembic, and tested through it in tests/migrations/.
EXEMPT = ("server/migrations/env.py", "server/migrations/versions/")


def missing() -> list[str]:
    found = []
    for module in sorted([*Path("server").rglob("*.py"), *Path("clients/python").rglob("*.py")]):
        if module.name == "__init__.py" and module.parent.name != "migrations":
            continue
        if str(module).startswith(EXEMPT):
            continue
        parts = module.relative_to("server") if module.parts[0] == "server" else module
        name = "migrations" if module.name == "__init__.py" else module.stem.strip("_")
        test = Path("tests", parts.parent, f"test_{name}.py")
        if not test.exists():
            found.append(f"{module} has no {test}")
    return found


if __name__ == "__main__":
    if faults := missing():
        sys.exit("\n".join(faults))
