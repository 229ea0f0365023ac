"""`fail_silently`, for a call and as a setting."""

from __future__ import annotations

import asyncio
import logging

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

import idlewild_django
from idlewild_django import (
    Rejected,
    Unauthorized,
    Unavailable,
    broadcast,
    force_logout,
    send_to_topic,
    send_to_user,
    send_to_users,
)
from idlewild_django.models import DeviceSession
from idlewild_django.sessions import start_session

pytestmark = pytest.mark.django_db(transaction=True)

CALLS = [
    lambda **how: send_to_user(1, "x", **how),
    lambda **how: send_to_users([1, 2], "x", **how),
    lambda **how: send_to_topic("a", "x", **how),
    lambda **how: broadcast("x", **how),
    lambda **how: force_logout(1, **how),
    lambda **how: asyncio.run(idlewild_django.asend_to_user(1, "x", **how)),
    lambda **how: asyncio.run(idlewild_django.asend_to_users([1], "x", **how)),
    lambda **how: asyncio.run(idlewild_django.asend_to_topic("a", "x", **how)),
    lambda **how: asyncio.run(idlewild_django.abroadcast("x", **how)),
]


@pytest.fixture
def down(idlewild_outbox):
    with idlewild_outbox.failing():
        yield


@pytest.mark.parametrize("call", CALLS)
def test_a_call_can_fail_silently(down, call, caplog, settings):
    with pytest.raises(Unavailable):
        call()
    with caplog.at_level(logging.ERROR, "idlewild_django"):
        assert call(fail_silently=True) is None
    assert [record.message for record in caplog.records] == ["not sent"]
    assert caplog.records[0].exc_info
    settings.IDLEWILD |= {"FAIL_SILENTLY": True}
    assert call() is None
    with pytest.raises(Unavailable):
        call(fail_silently=False)


def test_a_forced_log_out_ends_the_session_in_any_case(idlewild_outbox, user):
    start_session(user)
    with idlewild_outbox.failing():
        assert force_logout(user, fail_silently=True) is None
    row = DeviceSession.objects.get(user=user)
    assert (row.session_id, row.registered) == ("", False)


REJECTED = [
    lambda: send_to_user(1, "x" * 4, fail_silently=True),
    lambda: send_to_users([1], "x" * 4, fail_silently=True),
    lambda: send_to_user(1, "x", "heartbeat", fail_silently=True),
    lambda: send_to_topic("a/*", "x", fail_silently=True),
    lambda: asyncio.run(idlewild_django.asend_to_topic("a/*", "x", fail_silently=True)),
]


@pytest.mark.parametrize("call", REJECTED)
def test_a_rejected_call_is_an_error_in_any_case(idlewild_outbox, settings, call):
    settings.IDLEWILD |= {"MAX_DATA_BYTES": 3, "FAIL_SILENTLY": True}
    with pytest.raises(Rejected):
        call()


def test_an_unknown_key_is_silenced(idlewild_outbox):
    with idlewild_outbox.failing(Unauthorized("unauthorized", "x")):
        with pytest.raises(Unauthorized):
            send_to_user(1, "x")
        assert send_to_user(1, "x", fail_silently=True) is None


def test_a_wrong_call_is_an_error_in_any_case(idlewild_outbox):
    with pytest.raises(TypeError):
        send_to_user(1, object(), fail_silently=True)
    with pytest.raises(ValueError, match="has no id"):
        send_to_user("", "x", fail_silently=True)


def test_a_command_reports_its_failure_in_any_case(down, settings):
    settings.IDLEWILD |= {"FAIL_SILENTLY": True}
    with pytest.raises(CommandError, match="set to fail"):
        call_command("idlewild_publish", "--all", "--data", "x")
