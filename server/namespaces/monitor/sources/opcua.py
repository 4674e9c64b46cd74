"""Machines whose tags are nodes of an OPC UA server, all of a group read at once. Like every source it retries
nothing: `read` connects when it must."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClientState
from asyncua.crypto import security_policies
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import nodeid_to_binary
from marshmallow import ValidationError, fields, validate, validates

from server.namespaces.monitor.catalogue import Group, Kind, Machine
from server.namespaces.monitor.rules import Rules, Value
from server.namespaces.monitor.schemas import Quality, Reading
from server.namespaces.monitor.sources import SourceError, tags
from server.realtime.schema import Identifier, Text

MOST_NODES = 500  # in one request: decoding the answer holds up the event loop for 5 ms
LONGEST_WAIT_SECONDS = 3.0  # for a connection and for each answer; the service's own limit is usually below
#: What a server keeps of a connection that was lost is gone after it; many servers have room for ten sessions.
SESSION_MILLISECONDS = 30_000
LONGEST_GOODBYE_SECONDS = 0.2
LARGEST_ANSWER_BYTES = 4 * 2**20
NEVER_SECONDS = 10.0**6  # between asyncua's own looks at the server: reads show all that they could

POLICIES = {name: getattr(security_policies, f"SecurityPolicy{name}") for name in (
    "Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss",
)}  # fmt: skip
MODES = {"Sign": ua.MessageSecurityMode.Sign, "SignAndEncrypt": ua.MessageSecurityMode.SignAndEncrypt}

_NAMESPACES = ua.NodeId(ua.Int32(ObjectIds.Server_NamespaceArray))
_MOST_NODES = ua.NodeId(ua.Int32(ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead))

# It tells of every failed attempt with a traceback; the service logs the changes instead, with the reason.
logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)


class Options(tags.Login):
    """Of a group. `namespace` is the URI of the one that nodes are in which do not say `ns=`. With a
    `security_policy`, any certificate of the server's is trusted unless `server_certificate` holds the only right
    one."""

    url = Identifier(most=500, required=True)
    namespace = Identifier(most=500, load_default=None)
    security_policy = fields.String(validate=validate.OneOf(POLICIES), load_default=None)
    security_mode = fields.String(validate=validate.OneOf(MODES), load_default="SignAndEncrypt")
    certificate = Identifier(most=500, load_default=None)
    private_key = Identifier(most=500, load_default=None)
    server_certificate = Identifier(most=500, load_default=None)
    application_uri = Identifier(most=500, load_default="urn:atrium")

    @validates("url")
    def check_url(self, url: str, **_: object) -> None:
        try:
            parts = urlsplit(url)
            right = parts.scheme == "opc.tcp" and parts.hostname and parts.port and parts.username is None
        except ValueError:
            right = False
        if not right:
            raise ValidationError("Must be like opc.tcp://host:4840, without a user.")


class Tag(tags.Scaled):
    node = Text(most=1000, required=True)


class OpcUaSource:
    def __init__(self, group: Group) -> None:
        self.name = group.name
        self._machines = group.machines
        self._rules = group.rules
        self._options = group.options
        self._password = tags.password(group)
        self._client: Client | None = None
        self._well = False  # its last answer was as it should be
        self._nodes: Mapping[str, Mapping[str, ua.NodeId]] = {}
        self._requests: Sequence[ua.ReadParameters] = ()

    @property
    def codes(self) -> Sequence[str]:
        return [machine.code for machine in self._machines]

    async def read(self) -> Mapping[str, Reading | SourceError]:
        try:
            client = await self._connected()
            self._well = False
            values: dict[ua.NodeId, ua.DataValue] = {}
            for request in self._requests:
                values.update(await _answers(client, request))
        except SourceError:
            raise
        except Exception as error:  # asyncua decodes what the server sends, and fails over it in any way
            raise SourceError(str(error) or type(error).__name__) from error
        self._well = True
        return {machine.code: self._reading(machine, values) for machine in self._machines}

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        if not self._well:
            client.disconnect_socket()  # who does not answer is not waited for
        with suppress(Exception):
            async with asyncio.timeout(LONGEST_GOODBYE_SECONDS):
                await client.disconnect()
        client.disconnect_socket()

    async def _connected(self) -> Client:
        """A server that was restarted is connected to again, and nobody notices."""
        if self._client is not None and self._well and self._client.state is UaClientState.CONNECTED:
            return self._client
        self._well = False
        await self.close()
        client = self._client = await self._prepared()
        await client.connect()
        await self._find_nodes(client)
        self._well = True
        return client

    async def _prepared(self) -> Client:
        options = self._options
        client = Client(options["url"], timeout=LONGEST_WAIT_SECONDS, watchdog_intervall=NEVER_SECONDS)
        client.application_uri = options["application_uri"]
        client.session_timeout = SESSION_MILLISECONDS
        client.max_messagesize = LARGEST_ANSWER_BYTES
        if options["user"] is not None:
            client.set_user(options["user"])
            client.set_password(self._password or "")
        if options["security_policy"] is not None:
            await client.set_security(
                POLICIES[options["security_policy"]],
                options["certificate"],
                options["private_key"],
                server_certificate=options["server_certificate"],
                mode=MODES[options["security_mode"]],
            )
        return client

    async def _find_nodes(self, client: Client) -> None:
        """The server numbers its namespaces as it likes, anew at each start."""
        told = await _answers(client, _request([_NAMESPACES, _MOST_NODES]))
        uri, index = self._options["namespace"], 0
        if uri is not None:
            uris = _content(told[_NAMESPACES])
            if not isinstance(uris, list) or uri not in uris:
                raise SourceError(f"the server has no namespace {uri}")
            index = uris.index(uri)
        limit = _content(told[_MOST_NODES])
        most = min(limit, MOST_NODES) if isinstance(limit, int) and limit > 0 else MOST_NODES
        self._nodes = {
            machine.code: {
                name: node_id(tags.filled(tag["node"], machine), index) for name, tag in machine.tags.items()
            }
            for machine in self._machines
        }
        wanted = list(dict.fromkeys(node for nodes in self._nodes.values() for node in nodes.values()))
        self._requests = [_request(wanted[start : start + most]) for start in range(0, len(wanted), most)]

    def _reading(self, machine: Machine, values: Mapping[ua.NodeId, ua.DataValue]) -> Reading | SourceError:
        told = {name: values[node] for name, node in self._nodes[machine.code].items()}
        return reading(machine.tags, told, self._rules)


def reading(
    table: Mapping[str, Mapping[str, Any]], told: Mapping[str, ua.DataValue], rules: Rules
) -> Reading | SourceError:
    """Of one machine, whose tags `table` has. Its time is the oldest of those that its tags have."""
    values: dict[str, Value] = {}
    times: list[datetime] = []
    quality: Quality = "good"
    for name, answer in told.items():
        status = answer.StatusCode or ua.StatusCode()
        if status.is_uncertain():
            quality = "stale"
        elif not status.is_good():
            return SourceError(f"{name}: {status.name}")
        if (value := tags.plain(_content(answer))) is None:
            return SourceError(f"{name}: holds neither a number, a text nor a boolean")
        values[name] = tags.scaled(value, table[name])
        if (moment := tags.usable(answer.SourceTimestamp)) is not None:
            times.append(moment)
    return rules.reading(values, quality, min(times, default=None))


def node_id(text: str, namespace: int) -> ua.NodeId:
    return ua.NodeId.from_string(text if text.startswith("ns=") else f"ns={namespace};{text}")


def is_node(text: str) -> bool:
    try:
        nodeid_to_binary(node_id(text, 0))
    except Exception:  # which one depends on where the text goes wrong
        return False
    return True


def check(group: Group) -> Iterator[str]:
    yield from tags.faults(group, "node")
    for name in ("certificate", "private_key"):
        if group.options["security_policy"] is not None and group.options[name] is None:
            yield f"{name}: A security_policy needs it."
    for machine in group.machines:
        for name, tag in machine.tags.items():
            with suppress(ValueError):  # told above
                text = tags.filled(tag["node"], machine)
                if not is_node(text):
                    yield f"{machine.code}: tags.{name}.node: {text!r} is not like ns=2;s=name, i=85, g=…, or b=…"


async def _answers(client: Client, request: ua.ReadParameters) -> Mapping[ua.NodeId, ua.DataValue]:
    answers = await client.uaclient.session.read(request)
    if len(answers) != len(request.NodesToRead):
        raise SourceError(f"asked for {len(request.NodesToRead)} nodes, got {len(answers)}")
    return {asked.NodeId: answer for asked, answer in zip(request.NodesToRead, answers, strict=True)}


def _request(nodes: Sequence[ua.NodeId]) -> ua.ReadParameters:
    request = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Source)
    request.NodesToRead = [ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value) for node in nodes]
    return request


def _content(answer: ua.DataValue) -> object:
    return None if answer.Value is None else answer.Value.Value


KIND = Kind(Options, tags.Placeholders, Tag, OpcUaSource, check)
