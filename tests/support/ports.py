"""Ports for servers that cannot be told port 0: below the range the kernel hands to clients."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")
