"""`make run`: migrates, says what to try, serves; with PLC=demo beside a Modbus device in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLC = Path(__file__).with_name("plc.py")
DAY = 86_400


def main() -> None:
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DEBUG", "true")

    from server.__main__ import cli
    from server.parts import development_mint
    from server.settings import SettingsError, load

    try:
        settings = load()
        token = development_mint(settings)("alice", ["admin", "publisher"], None, DAY)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except (ValueError, OSError) as error:
        sys.exit(f"atrium: {error}")
    if not is_free(settings.host, settings.port):
        sys.exit(f"atrium: something else serves on port {settings.port}: PORT=9000 make run")
    cli(["migrate"], standalone_mode=False)
    with device(wanted=settings.plc == "demo"):
        print(manual(settings.port, token), flush=True)
        cli(["serve"])


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


@contextmanager
def device(*, wanted: bool) -> Iterator[None]:
    """The Modbus device, ended with the server."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, PLC], stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None or not process.stdout.readline():
            sys.exit("atrium: the Modbus device did not start")
        print(f"\nA Modbus device runs as process {process.pid}: kill it, and its machines are disconnected.")
        print(f"Plug it in again with: .venv/bin/python {PLC.relative_to(ROOT)}", flush=True)
        yield
    finally:
        process.terminate()
        process.wait()


def manual(port: int, token: str) -> str:
    url, plain = f"http://localhost:{port}", f"ws://localhost:{port}"
    return textwrap.dedent(f"""
        Atrium serves {url} (Ctrl-C stops it). In a browser, as anybody you like:

          {url}/            what runs here, a token
          {url}/chat        sessions with people and a FAQ bot
          {url}/trading     prices as they come
          {url}/monitor     17 machines, also for a wall
          {url}/copilot     questions about data in your browser
          {url}/admin       nodes, connections, rooms, latencies

        In another terminal:

          export ATRIUM_URL={url}
          export ATRIUM_TOKEN={token}

        Python, one command per namespace:

          .venv/bin/python -m clients.python monitor               # 17 machines, every second
          .venv/bin/python -m clients.python watch ticks:005930    # prices as they come
          .venv/bin/python -m clients.python watch alerts          # what you publish by HTTP, see below
          .venv/bin/python -m clients.python chat support-1        # ask: 대출 금리가 얼마인가요?
          .venv/bin/python -m clients.python ask "top 3 services by cost"

        JavaScript (npm install socket.io-client; in a file that ends in .mjs):

          import {{ io }} from "socket.io-client";
          const socket = io("{url}/trading", {{ auth: {{ token: process.env.ATRIUM_TOKEN }} }});
          socket.on("tick", console.log);
          socket.emit("subscribe", {{ channel: "ticks:005930" }}, console.log);

        Plain WebSocket (websocat or wscat -c; what to type is behind the #):

          websocat {plain}/ws/monitor
          websocat "{plain}/ws/chat/support-1?token=$ATRIUM_TOKEN"    # {{"type": "message", "content": "hello"}}
          websocat "{plain}/ws/trading/me?token=$ATRIUM_TOKEN"        # {{"type": "subscribe", "channel": "general"}}

        HTTP ({url}/readyz says how it is):

          curl $ATRIUM_URL/api/monitor/alarms
          curl -H "Authorization: Bearer $ATRIUM_TOKEN" -H "Content-Type: application/json" \\
            -d '{{"type": "halt", "data": {{"symbol": "005930"}}}}' $ATRIUM_URL/api/channels/alerts/messages

        A token for someone else: DEBUG=true .venv/bin/python -m server token --sub bob --role operator
        """)


if __name__ == "__main__":
    main()
