from __future__ import annotations

import json
import uuid

import pytest

from idlewild import Rejected
from idlewild.events import MAX_USERS_BYTES, Event, Format, for_users

TO = {"user": "42"}


def body(data, **more) -> dict:
    return json.loads(Event.new(TO, data, **more).body)


@pytest.mark.parametrize("data", [None, 0, False, [], {}, "", "two\nlines", '{"a": 1}', "grüße"])
def test_every_value_is_encoded_unchanged(data):
    assert body(data)["data"] == data


@pytest.mark.parametrize("data", [float("nan"), b"bytes", object()])
def test_values_without_a_json_form_are_refused(data):
    with pytest.raises((TypeError, ValueError)):
        body(data)


def test_an_encoder_adds_types():
    class Encoder(json.JSONEncoder):
        def default(self, value):
            return str(value)

    number = uuid.uuid4()
    assert body({"id": number}, format=Format(encoder=Encoder))["data"] == {"id": str(number)}


def test_each_event_has_its_own_id_unless_one_is_given():
    assert body(1)["id"] != body(1)["id"]
    assert body(1, id="order-7-paid")["id"] == "order-7-paid"


def test_the_size_limit_applies_to_the_encoded_data():
    ten = Format(max_data_bytes=10)
    assert body("ü" * 5, format=ten)
    with pytest.raises(Rejected, match="data: 11 bytes, at most 10") as raised:
        body("ü" * 5 + "x", format=ten)
    assert raised.value.code == "too_large"
    assert body({"a": "é"}, format=ten)  # {"a":"é"} is ten bytes


def test_many_users_are_split_into_full_events():
    events = for_users(map(str, range(25_000)), 1, id="sale")
    assert [len(event.to["users"]) for event in events] == [10_000, 10_000, 5_000]
    assert [json.loads(event.body)["id"] for event in events] == ["sale:0", "sale:1", "sale:2"]


def test_long_ids_are_limited_by_their_bytes():
    users = [f"{number:0250}" for number in range(5_000)]
    events = for_users(users, 1)
    assert len(events) > 1
    assert [user for event in events for user in event.to["users"]] == users
    assert all(len(event.body) <= MAX_USERS_BYTES + 1_000 for event in events)


def test_a_user_given_twice_is_sent_to_once():
    (event,) = for_users(["1", "2", "1"], 1, id="sale")
    assert (event.to, json.loads(event.body)["id"]) == ({"users": ["1", "2"]}, "sale")
    assert for_users([], 1) == []
