"""What the parts of the server tell when something happens to a link: here it reaches meters, records and alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.errors import TooManyConnects
from server.realtime.insight.alerts import SLOW_READER, Alerts
from server.realtime.insight.ledger import Ledger
from server.realtime.insight.meters import Meters, disconnect_kind
from server.realtime.insight.recorder import DROPPED, Record, Recorder

if TYPE_CHECKING:
    from server.errors import ConnectionClosed
    from server.realtime.engine.frames import Packet
    from server.realtime.link import Link, Member

SOCKET_IO = "/socket.io/"
TOO_SLOW, GOING_AWAY, HEARTBEAT = "too_slow", "going_away", "heartbeat"
_TOLD = {"GOING_AWAY": GOING_AWAY, "HEARTBEAT_LOST": HEARTBEAT}


class Insight:
    """Of one server."""

    def __init__(self, *, record_seconds: float = 600, records: int = 5000, messages: int = 50_000) -> None:
        """Who is gone is remembered for `record_seconds`, of `records` at most; and `messages` of all rooms."""
        self.meters = Meters()
        self.recorder = Recorder(seconds=record_seconds, most=records)
        self.ledger = Ledger(most=messages)
        self.alerts = Alerts()
        self.behind: set[Link] = set()  # whose reader does not keep up now
        self._peak = (0, 0)

    def connected(self, member: Member, replayed: int) -> None:
        """It is greeted; `replayed` counts only where it was resumed."""
        if member.connection is None:
            return
        link = member.link
        link.insight = self
        door = link.door or SOCKET_IO
        missed = replayed if member.resumed else None
        member.record = self.recorder.connected(member.connection, link.session.transport, door, replayed=missed)
        member.outbox.watch = link
        member.outbox.peak_messages = member.outbox.peak_bytes = 0  # the handshake's are nobody's business
        if (meter := self.meters.get(member.namespace)) is not None:
            meter.connects += 1

    def disconnected(self, member: Member, reason: str, *, resumable: bool) -> None:
        record, meter = member.record, self.meters.get(member.namespace)
        if record is not None:
            record.disconnected(reason, resumable=resumable)
            self.recorder.gone(record)
        if meter is not None:
            meter.disconnects[disconnect_kind(reason, member.link.ending)] += 1

    def told(self, member: Member, reason: ConnectionClosed) -> None:
        """The last words to it."""
        member.link.ending = _TOLD.get(reason.code, member.link.ending)
        if member.record is not None:
            member.record.add("told", reason.code, reason.close_code)

    def recovery(self, member: Member, pid: object) -> None:
        """Of a client that asks for it; `pid` of the session that it wants back, if any."""
        result = "resumed" if member.resumed else "opened" if pid is None else "refused"
        if (meter := self.meters.get(member.namespace)) is not None:
            meter.recoveries[result] += 1
        if result == "refused" and member.record is not None:
            member.record.add("not_resumed")

    def refused(self, namespace: str, error: Exception) -> None:
        """Its CONNECT was."""
        if isinstance(error, TooManyConnects) and (meter := self.meters.get(namespace)) is not None:
            meter.rate_limited += 1

    def upgraded(self, link: Link) -> None:
        for record in _records(link):
            record.transport = link.session.transport
            record.add("upgraded", record.transport)

    # -- links whose reader does not keep up --------------------------------------------------------------------

    def fell_behind(self, link: Link, messages: int, size: int) -> None:
        self.behind.add(link)
        for record in _records(link):
            record.behind(messages, size)

    def caught_up(self, link: Link, peak_messages: int, peak_bytes: int) -> None:
        self.behind.discard(link)
        for record in _records(link):
            record.caught_up(peak_messages, peak_bytes)

    def take_peak(self) -> tuple[int, int]:
        """Messages and bytes in the fullest outbox there was since it was asked last."""
        for each in self.behind:
            self._note_peak(len(each.session.outbox), each.session.outbox.waiting_bytes)
        peak, self._peak = self._peak, (0, 0)
        return peak

    def _note_peak(self, messages: int, size: int) -> None:
        self._peak = max(self._peak[0], messages), max(self._peak[1], size)

    def missed(self, link: Link, packet: Packet, how: str) -> None:
        """A packet that will not be sent."""
        if packet.place is None:
            return
        namespace, rooms = packet.place
        member, head = link.members.get(namespace), packet.parts[0]
        if member is not None and member.record is not None and isinstance(head, str):
            member.record.missed(head[:300], rooms[0] if rooms else "", how)

    def overflowed(self, link: Link, packets: list[Packet], size: int) -> None:
        """It was given up, and all that waited with it."""
        link.ending = TOO_SLOW
        self._note_peak(len(packets), size)
        for packet in packets:
            self.missed(link, packet, DROPPED)
        for member in link.members.values():
            if member.record is None or member.connection is None:
                continue
            member.record.add("too_slow", len(packets), size, len(packets))
            details = {
                "connection_id": member.connection.id,
                "user_id": member.connection.user_id,
                "namespace": member.namespace,
            }
            self.alerts.happened(
                SLOW_READER,
                f"{member.connection.user_id} on {member.namespace} read too slowly and was closed",
                of=member.connection.id,
                details=details,
            )


def _records(link: Link) -> list[Record]:
    return [each.record for each in link.members.values() if each.record is not None]
