"""A throw-away PostgreSQL on a port of its own, run as an unprivileged user because it refuses root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    onpath = shutil.which("initdb")
    if onpath is None:
        raise RuntimeError("PostgreSQL is not installed: make test installs it")
    return Path(onpath).parent


@contextmanager
def postgres(port: int) -> Iterator[str]:
    """The URL of its maintenance database, without a driver."""
    binaries = _binaries()
    home = Path(tempfile.mkdtemp(prefix="atrium-pg-"))
    demote: list[str] = []
    if os.getuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(home, owner.pw_uid, owner.pw_gid)
        demote = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data = home / "data"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home} -c fsync=off"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": home}
    try:
        subprocess.run([*demote, binaries / "initdb", "-A", "trust", "-U", "atrium", "-E", "UTF8", "-D", data], **quiet)
        control = [*demote, binaries / "pg_ctl", "-D", data, "-w", "-l", home / "log"]
        subprocess.run([*control, "-o", options, "start"], **quiet)
        try:
            yield f"postgresql://atrium@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
    finally:
        shutil.rmtree(home, ignore_errors=True)
