"""What /trading tells its clients, as schemas: events and acks. What they send is in `schemas`."""

from __future__ import annotations

from marshmallow import fields

from server.realtime.schema import Count, Flag
from server.realtime.told import ANY, Ack, Authenticated, Counted, Moment, OneOf, Tells, Told
from server.realtime.told import TELLS as BASE

# -- events ---------------------------------------------------------------------------------------------------------


class Published(Told):
    """On a channel: the event is the `type` that its publisher gave it, and `data` what was published. `seq` rises by
    one in a channel, so that a gap shows; of a conflated channel `conflated` says how many this one replaced."""

    optional = ("conflated",)

    channel = fields.String()
    seq = Count()
    timestamp = Moment()
    data = fields.Raw(allow_none=True)
    conflated = Count()


class ChatMessage(Told):
    """`client_id` is what the client calls itself, `user_id` who it is."""

    optional = ("conflated",)

    channel = fields.String()
    seq = Count()
    timestamp = Moment()
    client_id = fields.String()
    user_id = fields.String()
    message = fields.String()
    conflated = Count()


class Unsubscribed(Told):
    """The user's rights have changed, and no longer allow the channel."""

    channel = fields.String()


# -- acks -----------------------------------------------------------------------------------------------------------


class Kept(Told):
    """A message in an ack: its event is the `type`; `chat_message`s have their own fields instead of `data`."""

    optional = ("data", "client_id", "user_id", "message")

    type = fields.String()
    channel = fields.String()
    seq = Count()
    timestamp = Moment()
    data = fields.Raw(allow_none=True)
    client_id = fields.String()
    user_id = fields.String()
    message = fields.String()


class Position(Told):
    seq = Count()
    epoch = fields.String()


class Subscribed(Ack):
    """What it holds and the events with a higher `seq` are together every message, each once. `messages` are those
    after `since`, where it is `recovered`; else `snapshot` are those that are kept. Of a pattern `seq` and `epoch` are
    null: `channels` has those of each."""

    optional = ("recovered", "messages", "snapshot", "channels")

    channel = fields.String()
    success = Flag()
    seq = Count(allow_none=True)
    epoch = fields.String(allow_none=True)
    recovered = Flag()
    messages = fields.List(fields.Nested(Kept))
    snapshot = fields.List(fields.Nested(Kept))
    channels = fields.Dict(keys=fields.String(), values=fields.Nested(Position))


class UnsubscribedAck(Ack):
    """`success`: whether it was subscribed."""

    channel = fields.String()
    success = Flag()


class Receipt(Ack):
    """Where the message stands, and how many subscribers it was for."""

    seq = Count()
    epoch = fields.String()
    subscribers = Count()


class ChatReceipt(Counted):
    channel = fields.String()
    seq = Count()
    epoch = fields.String()


class Presence(Ack):
    """The longest there first; `count` is of all, where not all are named."""

    channel = fields.String()
    users = fields.List(fields.String())
    count = Count()


class NodeStats(Told):
    """The counters, which are those of the whole process since its start, are for who looks after the server."""

    optional = ("total_connections", "messages_sent", "messages_received", "errors")

    total_connections = Count()
    messages_sent = Count()
    messages_received = Count()
    errors = Count()
    active_connections = Count()
    channels = Count()
    users_with_connections = Count()


class Stats(Ack, NodeStats):
    """Of all nodes together, and of each by its name."""

    nodes = fields.Dict(keys=fields.String(), values=fields.Nested(NodeStats))


class History(Told):
    """How many messages are `held` of at most `count`, for `seconds`."""

    held = Count()
    count = Count()
    seconds = fields.Float()


class ChannelInfo(Ack):
    """`subscribers`, their connections' ids, are for who may publish, and for admins."""

    optional = ("subscribers",)

    channel = fields.String()
    subscriber_count = Count()
    seq = Count()
    epoch = fields.String(allow_none=True)
    last_published = Moment(allow_none=True)
    history = fields.Nested(History)
    conflated = Flag()
    priority = fields.String()
    presence = Flag()
    subscribers = fields.List(fields.String())


class ClientMetadata(Told):
    tenant = fields.String(allow_none=True)
    username = fields.String(allow_none=True)
    roles = fields.List(fields.String())
    address = fields.String()
    connected_at = Moment()
    node = fields.String()


class ClientInfo(Ack):
    """A connection. `last_ping`: when its application sent `ping` last."""

    client_id = fields.String()
    user_id = fields.String()
    channels = fields.List(fields.String())
    state = OneOf("connected")
    last_ping = Moment(allow_none=True)
    last_pong = Moment(allow_none=True)
    metadata = fields.Nested(ClientMetadata)


class AuthenticatedAck(Authenticated):
    """`unsubscribed`: the channels that the new token does not allow."""

    optional = ("unsubscribed",)

    unsubscribed = fields.List(fields.String())


TELLS: Tells = {**BASE, "chat_message": ChatMessage, "unsubscribed": Unsubscribed, ANY: Published}
