"""What /chat tells its clients, as schemas: events and acks. What they send is in `schemas`."""

from __future__ import annotations

from marshmallow import fields

from server.namespaces.chat.models import MESSAGE_TYPES, SENDER_TYPES, SESSION_STATUSES
from server.realtime.schema import Count, Flag
from server.realtime.told import TELLS as BASE
from server.realtime.told import Ack, Counted, Error, Moment, OneOf, Tells, Told

# -- sessions and messages ------------------------------------------------------------------------------------------


class Message(Told):
    """To the session's room, once it is stored. `seq` rises by one in a session. Deleted ones have no content and
    `deleted_at` in their metadata, edited ones `edited_at`; an agent's have what the answer cost and rests on."""

    message_id = fields.String()
    session_id = fields.String()
    seq = Count()
    sender_type = OneOf(*SENDER_TYPES)
    sender_id = fields.String()
    message_type = OneOf(*MESSAGE_TYPES)
    content = fields.String()
    metadata = fields.Dict(keys=fields.String())
    created_at = Moment()


class Agent(Told):
    id = fields.Integer()
    name = fields.String()
    avatar_url = fields.String(allow_none=True)


class Analysis(Told):
    """What an operator should know of a session. `requested_by` nobody, the agent suggested it."""

    intent = fields.String()
    urgency = fields.String()
    summary = fields.String()
    keywords = fields.List(fields.String())
    suggested_action = fields.String()
    reason = fields.String()
    requested_by = fields.String(allow_none=True)
    requested_at = Moment()


class Session(Told):
    """As its reader sees it. `operator_id`: who took over from the agent; `handover`: what is asked of operators, and
    open."""

    session_id = fields.String()
    trace_id = fields.String(allow_none=True)
    user_id = fields.String()
    agent_id = fields.Integer(allow_none=True)
    title = fields.String(allow_none=True)
    status = OneOf(*SESSION_STATUSES)
    metadata = fields.Dict(keys=fields.String())
    message_count = Count()
    created_at = Moment()
    last_activity = Moment()
    agent = fields.Nested(Agent, allow_none=True)
    operator_id = fields.String(allow_none=True)
    handover = fields.Nested(Analysis, allow_none=True)
    participants = fields.List(fields.String())
    last_seq = Count()
    unread_count = Count()


class File(Told):
    """`url` and `thumbnail_url` are paths on this server."""

    file_id = fields.String()
    name = fields.String()
    type = fields.String()
    size = Count()
    url = fields.String()
    thumbnail_url = fields.String(allow_none=True)


class Hit(Told):
    """`content` is what surrounds the first match; `highlight` the same as HTML, with each match in `<mark>`."""

    message_id = fields.String()
    session_id = fields.String()
    seq = Count()
    sender_type = OneOf(*SENDER_TYPES)
    sender_id = fields.String()
    content = fields.String()
    highlight = fields.String()
    score = fields.Float()
    created_at = Moment()


# -- acks -----------------------------------------------------------------------------------------------------------


class Joined(Ack):
    """`messages` oldest first: those after `after_seq`, else the newest; `has_more` that way. `online`: who has joined
    now."""

    session = fields.Nested(Session)
    participants = fields.List(fields.String())
    messages = fields.List(fields.Nested(Message))
    last_seq = Count()
    has_more = Flag()
    online = fields.List(fields.String())


class Sent(Counted):
    message_id = fields.String()
    seq = Count()
    created_at = Moment()
    status = OneOf("sent")


class Edited(Counted):
    message_id = fields.String()
    seq = Count()
    edited_at = Moment()


class Deleted(Ack):
    message_id = fields.String()
    seq = Count()
    deleted_at = Moment()


class ReadAck(Ack):
    session_id = fields.String()
    last_read_seq = Count()
    unread_count = Count()


class Found(Ack):
    """The best first."""

    query = fields.String()
    hits = fields.List(fields.Nested(Hit))


class StreamCancelled(Ack):
    message_id = fields.String()
    session_id = fields.String()


class HandoverRequested(Counted):
    session_id = fields.String()
    operator_id = fields.String(allow_none=True)
    handover = fields.Nested(Analysis, allow_none=True)


class Operated(Ack):
    """Who answers in the session now; nobody, it is the agent."""

    session_id = fields.String()
    operator_id = fields.String(allow_none=True)


class UploadStarted(Ack):
    """`chunk_size`: the most bytes of one chunk."""

    upload_id = fields.String()
    chunk_size = Count()


class Received(Ack):
    """From where to go on."""

    received = Count()


class UploadStatus(Received):
    chunk_size = Count()


class Uploaded(Ack, File):
    """The file, which no message says yet."""


# -- events ---------------------------------------------------------------------------------------------------------


class MessageDeleted(Told):
    session_id = fields.String()
    message_id = fields.String()
    seq = Count()
    user_id = fields.String()
    deleted_at = Moment()


class MessageEdited(Message):
    """The message as it is now."""


class Typing(Told):
    """Ended by the server after some seconds of silence."""

    session_id = fields.String()
    user_id = fields.String()
    is_typing = Flag()


class Read(Told):
    """The user has read all up to `seq`."""

    session_id = fields.String()
    user_id = fields.String()
    seq = Count()


class System(Told):
    """What became of the session, and by whom. `version` orders what two nodes tell at once of one user."""

    optional = ("version",)

    event = OneOf(
        "user_joined",
        "user_left",
        "agent_joined",
        "operator_joined",
        "handover_requested",
        "session_archived",
        "participant_added",
        "participant_removed",
    )
    session_id = fields.String()
    user_id = fields.String()
    version = Count()
    timestamp = Moment()


class Notification(Told):
    """To a user who takes part in a session that was not joined on this connection: a `message` there, whose content
    is its beginning, or that the user was `invited`, by `user_id`."""

    optional = ("user_id", "message_id", "seq", "sender_type", "sender_id", "message_type", "content", "created_at")

    event = OneOf("message", "invited")
    session_id = fields.String()
    user_id = fields.String()
    message_id = fields.String()
    seq = Count()
    sender_type = OneOf(*SENDER_TYPES)
    sender_id = fields.String()
    message_type = OneOf(*MESSAGE_TYPES)
    content = fields.String()
    created_at = Moment()


class Handover(Analysis):
    """To operators: a person is wanted in the session."""

    session_id = fields.String()
    user_id = fields.String()


class StreamStart(Told):
    """An agent begins to answer; the message begins anew for whoever had some of it."""

    message_id = fields.String()
    session_id = fields.String()
    sender_type = OneOf("agent")
    sender_id = fields.String()


class StreamChunk(Told):
    """`index` rises by one, from 0; who comes in the middle has the text so far in a chunk with a higher one."""

    message_id = fields.String()
    session_id = fields.String()
    content = fields.String()
    index = Count()


class StreamEnd(Told):
    """With all of the text. `seq` and `created_at` are those of the message, where it was stored: one that was
    `cancelled` is, one that ended with an `error` is not. `latency_ms` from the question to here."""

    optional = ("seq", "created_at", "cancelled", "error", "content", "intent", "suggested_action", "source_documents")

    message_id = fields.String()
    session_id = fields.String()
    content = fields.String()
    seq = Count()
    created_at = Moment()
    tokens_used = Count(allow_none=True)
    latency_ms = Count(allow_none=True)
    cancelled = Flag()
    error = fields.Nested(Error)
    intent = fields.String(allow_none=True)
    suggested_action = fields.String()
    source_documents = fields.List(fields.Dict(keys=fields.String()))


TELLS: Tells = {
    **BASE,
    "message": Message,
    "message_edited": MessageEdited,
    "message_deleted": MessageDeleted,
    "typing": Typing,
    "read": Read,
    "system": System,
    "notification": Notification,
    "handover_requested": Handover,
    "stream_start": StreamStart,
    "stream_chunk": StreamChunk,
    "stream_end": StreamEnd,
}
