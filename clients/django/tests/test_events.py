"""Events with Django's types; the tests of `idlewild` are about the rest."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.contrib.auth import get_user_model
from django.utils.translation import gettext_lazy

from idlewild_django import Rejected, events
from idlewild_django.users import user_id


def body(data) -> dict:
    return json.loads(events.new({"user": "42"}, data, "message", None, True).body)


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


def test_a_lazy_text_is_sent_as_text():
    assert body(gettext_lazy("Paid"))["data"] == "Paid"
    (event,) = events.for_users([1], gettext_lazy("Paid"), "message", None, True)
    assert event.data == "Paid"


@pytest.mark.parametrize("data", [float("nan"), b"bytes", object()])
def test_values_without_a_json_form_are_refused(data):
    with pytest.raises((TypeError, ValueError)):
        body(data)


def test_the_size_limit_is_that_of_the_setting(settings):
    settings.IDLEWILD = {"MAX_DATA_BYTES": 10}
    assert body("ü" * 5)
    with pytest.raises(Rejected, match="data: 11 bytes, at most 10") as raised:
        body("ü" * 5 + "x")
    assert raised.value.code == "too_large"


def test_users_are_instances_or_ids_and_each_is_sent_to_once():
    ann = get_user_model()(pk=7, username="ann")
    (event,) = events.for_users([ann, 7, "8"], 1, "message", "sale", True)
    assert event.to == {"users": ["7", "8"]}


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
