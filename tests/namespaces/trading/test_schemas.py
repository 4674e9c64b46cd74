from __future__ import annotations

import pytest

from server.errors import InvalidMessage
from server.namespaces.trading import schemas
from server.namespaces.trading.schemas import Since
from server.realtime import schema


@pytest.mark.parametrize("payload", [{}, {"channel": ""}, {"channel": None}])
def test_no_channel_is_left_to_the_service_to_name(payload: dict[str, object]) -> None:
    assert schema.load(schemas.Subscribe(), payload)["channel"] is None
    assert schema.load(schemas.Unsubscribe(), payload)["channel"] is None


@pytest.mark.parametrize("channel", [" ", " general", "a\nb", "a\0b", "\u202e", "x" * 101, 5, ["general"], {}])
@pytest.mark.parametrize(
    ("shape", "rest"),
    [
        (schemas.Subscribe, {}),
        (schemas.Unsubscribe, {}),
        (schemas.Publish, {"data": 1}),
        (schemas.ChatMessage, {"message": "hi"}),
    ],
)
def test_a_channels_name_is_short_and_printable(
    shape: type[schema.Payload], rest: dict[str, object], channel: object
) -> None:
    with pytest.raises(InvalidMessage) as refused:
        schema.load(shape(), {"channel": channel, **rest})
    assert list(refused.value.details or {}) == ["channel"]


@pytest.mark.parametrize(
    ("shape", "rest"),
    [(schemas.Publish, {"data": 1}), (schemas.ChatMessage, {"message": "hi"}), (schemas.Channel, {})],
)
def test_a_pattern_is_no_name(shape: type[schema.Payload], rest: dict[str, object]) -> None:
    with pytest.raises(InvalidMessage) as refused:
        schema.load(shape(), {"channel": "ticks:*", **rest})
    assert refused.value.details == {"channel": ["May not contain `*`."]}


@pytest.mark.parametrize("shape", [schemas.Subscribe, schemas.Unsubscribe])
def test_which_patterns_are_subscribed_to_is_the_services_to_say(shape: type[schema.Payload]) -> None:
    assert schema.load(shape(), {"channel": "ticks:*"})["channel"] == "ticks:*"


@pytest.mark.parametrize("client_id", [None, "", "a\nb", "x" * 101, 5])
def test_a_clients_id_is_short_and_printable(client_id: object) -> None:
    with pytest.raises(InvalidMessage):
        schema.load(schemas.Client(), {"client_id": client_id})


def test_the_longest_name_passes() -> None:
    assert schema.load(schemas.Subscribe(), {"channel": "x" * 100})["channel"] == "x" * 100


def test_since() -> None:
    loaded = schema.load(schemas.Subscribe(), {"channel": "general", "since": {"epoch": "e", "seq": 0}})
    assert loaded["since"] == Since("e", 0)
    assert schema.load(schemas.Subscribe(), {"channel": "general", "since": None})["since"] is None


@pytest.mark.parametrize(
    "since",
    [{}, {"seq": 1}, {"epoch": "e"}, {"epoch": "e", "seq": -1}, {"epoch": "e", "seq": "1"}, {"epoch": 5, "seq": 1},
     {"epoch": "e", "seq": 1.5}, {"epoch": "e", "seq": 2**60}, {"epoch": "e" * 101, "seq": 1}, 5, "e:1",
     {"epoch": "e", "seq": 1, "more": 1}],
)  # fmt: skip
def test_a_since_of_another_shape_is_refused(since: object) -> None:
    with pytest.raises(InvalidMessage) as refused:
        schema.load(schemas.Subscribe(), {"channel": "general", "since": since})
    assert list(refused.value.details or {}) == ["since"]


@pytest.mark.parametrize("name", ["message", "tick", "a", "price_alert_2", "x" * 64])
def test_types_that_may_be_published(name: str) -> None:
    assert schema.load(schemas.Publish(), {"channel": "alerts", "type": name, "data": 1})["type"] == name


@pytest.mark.parametrize(
    "name", [*sorted(schemas.RESERVED_TYPES), "", "Tick", "2x", "a-b", "a b", "newListener", "x" * 65, "a\n", None, 5]
)
def test_types_that_mean_something_else_or_are_no_names(name: object) -> None:
    with pytest.raises(InvalidMessage) as refused:
        schema.load(schemas.Publish(), {"channel": "alerts", "type": name, "data": 1})
    assert list(refused.value.details or {}) == ["type"]


@pytest.mark.parametrize("data", [None, 0, "", [], {}, {"seq": 5, "channel": "x"}, [1, {"a": None}]])
def test_any_json_may_be_published(data: object) -> None:
    assert schema.load(schemas.Publish(), {"channel": "alerts", "data": data}) == {
        "channel": "alerts",
        "type": "message",
        "data": data,
        "idempotency_key": None,
    }


@pytest.mark.parametrize(
    "payload", [{"data": 1}, {"channel": "", "data": 1}, {"channel": None, "data": 1}, {"channel": "x"}]
)
def test_publishing_needs_a_channel_and_data(payload: dict[str, object]) -> None:
    with pytest.raises(InvalidMessage):
        schema.load(schemas.Publish(), payload)


@pytest.mark.parametrize("message", ["", "x" * 4001, 5, None, "a\0b"])
def test_a_chat_message_is_one_to_four_thousand_characters(message: object) -> None:
    with pytest.raises(InvalidMessage):
        schema.load(schemas.ChatMessage(), {"message": message})
    assert schema.load(schemas.ChatMessage(), {"message": "가" * 4000})["channel"] == "general"
