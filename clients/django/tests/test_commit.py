"""Inside an atomic block, events are sent after the commit."""

from __future__ import annotations

import logging

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from hub_support.admin import Answer

from idlewild_django import Unavailable, broadcast, force_logout, send_to_user, send_to_users

pytestmark = pytest.mark.django_db(transaction=True)


def test_outside_a_transaction_events_are_sent_at_once(admin):
    assert send_to_user(1, "x") == "1-0"


def test_in_a_transaction_events_are_sent_after_the_commit_in_order(admin):
    with transaction.atomic():
        assert send_to_user(1, "first") is None
        assert send_to_users([1, 2], "second") is None
        assert broadcast("third") is None
        assert force_logout(1) is None
        assert admin.asked == []
    assert admin.paths == ["POST /v1/events"] * 3 + ["POST /v1/users/1/logout"]
    assert [each.json["data"] for each in admin.asked[:3]] == ["first", "second", "third"]


def test_rolled_back_events_are_never_sent(admin):
    with transaction.atomic():
        send_to_user(1, "x")
        transaction.set_rollback(True)
    with transaction.atomic():
        with transaction.atomic():
            send_to_user(1, "inner")
            transaction.set_rollback(True)
        send_to_user(1, "outer")
    assert [each.json["data"] for each in admin.asked] == ["outer"]


def test_later_changes_of_the_data_do_not_change_the_event(admin):
    data = {"state": "paid"}
    with transaction.atomic():
        send_to_user(1, data)
        data["state"] = "changed"
    assert admin.asked[0].json["data"] == {"state": "paid"}


@pytest.mark.parametrize(
    "call", [lambda: send_to_user(1, "x"), lambda: send_to_users([1], "x"), lambda: force_logout(1)]
)
def test_a_missing_key_is_an_error_before_the_commit(settings, call):
    settings.IDLEWILD = {}
    with transaction.atomic(), pytest.raises(ImproperlyConfigured, match="API_KEY"):
        call()


def test_a_failure_after_the_commit_is_logged_and_breaks_nothing(away, caplog):
    with caplog.at_level(logging.ERROR, "idlewild_django"), transaction.atomic():
        send_to_user(1, "x")
    assert "not sent after the commit" in caplog.text


def test_a_failure_after_the_commit_does_not_stop_the_other_hooks(admin):
    called = []
    admin.answers.append(Answer(202, {"no": "id"}))
    with transaction.atomic():
        send_to_user(1, "x")
        transaction.on_commit(lambda: called.append(1))
    assert called == [1]


def test_without_on_commit_events_are_sent_at_once_and_errors_raised(admin, settings):
    with transaction.atomic():
        assert send_to_user(1, "x", on_commit=False) == "1-0"
        settings.IDLEWILD |= {"RETRIES": 0}
        admin.answers.append(Answer(503))
        with pytest.raises(Unavailable):
            send_to_user(1, "x", on_commit=False)
