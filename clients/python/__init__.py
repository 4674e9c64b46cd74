"""Atrium's client for Python, over the stock socketio client; it shares nothing with the server but the wire.

async with Client("http://localhost:8000", token=...) as client:
    session = await client.session("support-1")
    await session.send("hello")
    async for message in session:
        ...
"""

from clients.python.channel import Channel, Update
from clients.python.client import Client
from clients.python.connection import Connection
from clients.python.copilot import Answer
from clients.python.errors import ClientError, Lost, NotConnected, OutboxFull, Refused, TimedOut
from clients.python.messages import Message, Sent
from clients.python.monitor import Machine, Monitor, Status
from clients.python.policy import POLICIES, ReconnectPolicy
from clients.python.session import ChatSession
from clients.python.streams import Stream
from clients.python.tokens import development_token

__all__ = [
    "POLICIES",
    "Answer",
    "Channel",
    "ChatSession",
    "Client",
    "ClientError",
    "Connection",
    "Lost",
    "Machine",
    "Message",
    "Monitor",
    "NotConnected",
    "OutboxFull",
    "ReconnectPolicy",
    "Refused",
    "Sent",
    "Status",
    "Stream",
    "TimedOut",
    "Update",
    "development_token",
]
