from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.contrib.auth import get_user_model
from django.utils.translation import gettext_lazy

from idlewild_django import Rejected
from idlewild_django.events import MAX_USERS_BYTES, Event, for_users
from idlewild_django.users import user_id

TO = {"user": "42"}


def body(data, **more) -> dict:
    event = Event.new(TO, data, more.get("name", "message"), more.get("id"), True)
    return json.loads(event.body)


def test_all_types_of_djangos_encoder_can_be_sent():
    number = uuid.uuid4()
    data = {
        "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "price": Decimal("1.50"),
        "id": number,
        "text": gettext_lazy("Paid"),
    }
    assert body(data)["data"] == {
        "at": "2026-01-02T03:04:05Z",
        "price": "1.50",
        "id": str(number),
        "text": "Paid",
    }


@pytest.mark.parametrize("data", [None, 0, False, [], {}, "", "two\nlines", '{"a": 1}', "grüße"])
def test_every_value_is_encoded_unchanged(data):
    assert body(data)["data"] == data


def test_a_lazy_text_is_sent_as_text():
    assert body(gettext_lazy("Paid"))["data"] == "Paid"


@pytest.mark.parametrize("data", [float("nan"), b"bytes", object()])
def test_values_without_a_json_form_are_refused(data):
    with pytest.raises((TypeError, ValueError)):
        body(data)


def test_each_event_has_its_own_id_unless_one_is_given():
    assert body(1)["id"] != body(1)["id"]
    assert body(1, id="order-7-paid")["id"] == "order-7-paid"


def test_the_size_limit_applies_to_the_encoded_data(settings):
    settings.IDLEWILD = {"MAX_DATA_BYTES": 10}
    assert body("ü" * 5)
    with pytest.raises(Rejected, match="data: 11 bytes, at most 10") as raised:
        body("ü" * 5 + "x")
    assert raised.value.code == "too_large"
    assert body({"a": "é"})  # {"a":"é"} is ten bytes


def test_many_users_are_split_into_full_events():
    events = for_users(range(25_000), 1, "message", "sale", True)
    assert [len(event.to["users"]) for event in events] == [10_000, 10_000, 5_000]
    assert [json.loads(event.body)["id"] for event in events] == ["sale:0", "sale:1", "sale:2"]


def test_long_ids_are_limited_by_their_bytes():
    users = [f"{number:0250}" for number in range(5_000)]
    events = for_users(users, 1, "message", None, True)
    assert len(events) > 1
    assert [user for event in events for user in event.to["users"]] == users
    assert all(len(event.body) <= MAX_USERS_BYTES + 1_000 for event in events)


def test_a_user_given_twice_is_sent_to_once():
    (event,) = for_users([1, "2", 1], 1, "message", "sale", True)
    assert (event.to, json.loads(event.body)["id"]) == ({"users": ["1", "2"]}, "sale")
    assert for_users([], 1, "message", None, True) == []


def test_a_user_is_an_instance_or_an_id(settings):
    user = get_user_model()(pk=7, username="ann")
    number = uuid.uuid4()
    assert [user_id(each) for each in (user, 7, "7", number)] == ["7", "7", "7", str(number)]
    settings.IDLEWILD = {"USER_ID_FIELD": "username"}
    assert user_id(user) == "ann"


@pytest.mark.parametrize("user", [get_user_model()(), "", None])
def test_a_user_without_an_id_is_an_error(user):
    with pytest.raises(ValueError, match="has no id"):
        user_id(user)
