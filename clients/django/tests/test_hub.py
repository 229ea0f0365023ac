"""What this package adds to the clients of `idlewild`, whose own tests are about requests."""

from __future__ import annotations

import asyncio
import copy
import pickle

import pytest
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.test import override_settings
from hub_support.admin import Answer
from hub_support.server import API_KEY

from idlewild_django import (
    Rejected,
    Unauthorized,
    Unavailable,
    asend_to_user,
    broadcast,
    send_to_user,
    send_to_users,
    set_session,
)


def send(user: object, data: object) -> str | None:
    return send_to_user(user, data, on_commit=False)


def test_an_event_carries_the_settings_of_the_project(admin, settings):
    settings.IDLEWILD |= {"RETRIES": 1}
    for attempt in (lambda: send(1, "x"), lambda: asyncio.run(asend_to_user(1, "x"))):
        admin.answers.extend([Answer(503), Answer(503)])
        with pytest.raises(Unavailable, match="tried 2 times"):
            attempt()
        asked = admin.asked[-1]
        assert asked.headers["Authorization"] == f"Bearer {API_KEY}"
        assert asked.headers["User-Agent"] == "idlewild-django"


def test_connections_are_kept_until_the_setting_changes(admin, settings):
    for _ in range(3):
        send(1, "x")
    assert {each.connection for each in admin.asked} == {0}
    settings.IDLEWILD |= {"RETRIES": 1}
    broadcast("x", on_commit=False)
    assert admin.asked[-1].connection == 1


def test_a_synchronous_function_fails_in_asynchronous_code(admin):
    async def wrong() -> None:
        send_to_user(1, "x", on_commit=False)

    with pytest.raises(SynchronousOnlyOperation, match="asend_to_user"):
        asyncio.run(wrong())


def test_without_a_key_no_request_is_sent():
    with (
        override_settings(IDLEWILD={}),
        pytest.raises(ImproperlyConfigured, match=r"IDLEWILD_API_KEY.*idlewild token api-key"),
    ):
        send(1, "x")


def test_a_key_from_the_environment_is_used(admin, monkeypatch, settings):
    monkeypatch.setenv("IDLEWILD_API_KEY", " idw_environment\n")
    settings.IDLEWILD = {"URL": admin.url}
    send(1, "x")
    assert admin.asked[0].headers["Authorization"] == "Bearer idw_environment"


def test_the_message_to_other_devices_is_that_of_the_setting(admin):
    set_session("a/b", "s")
    assert admin.asked[0].json["message"] == "You have been logged in from another device."


def test_a_long_list_of_users_is_sent_in_several_requests(admin):
    assert send_to_users(range(10_001), "x", on_commit=False) == ["1-0", "2-0"]
    assert [len(each.json["to"]["users"]) for each in admin.asked] == [10_000, 1]


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([Answer(503)] * 9, Unavailable),
        ([Answer(400, {"error": {"code": "invalid_request", "message": "to: no"}})], Rejected),
        ([Answer(401, {"error": {"code": "unauthorized", "message": "no key"}})], Unauthorized),
    ],
)
def test_an_error_can_be_pickled_and_copied(admin, answers, kind):
    """As Celery and process pools do."""
    admin.answers.extend(answers)
    with pytest.raises(kind) as raised:
        send(1, "x")
    for twin in (pickle.loads(pickle.dumps(raised.value)), copy.deepcopy(raised.value)):
        assert (type(twin), str(twin)) == (kind, str(raised.value))
