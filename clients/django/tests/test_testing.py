"""The outbox, its fixture and its assertions, as a project's tests use them."""

from __future__ import annotations

import asyncio

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.test import TestCase, TransactionTestCase

import idlewild_django
from idlewild_django import (
    Rejected,
    Unavailable,
    broadcast,
    disconnect,
    force_logout,
    presence,
    send_to_topic,
    send_to_user,
    send_to_users,
    set_session,
)
from idlewild_django.backends import backend
from idlewild_django.memory import Memory
from idlewild_django.testing import (
    OutboxMixin,
    assert_logged_out,
    assert_not_sent,
    assert_sent,
    capture,
    outbox,
)

from .conftest import log_in

pytestmark = pytest.mark.django_db(transaction=True)


def test_events_are_in_the_outbox_in_order(idlewild_outbox):
    assert send_to_user(1, {"type": "order_paid"}, "order", id="order-7") == "1-0"
    send_to_users([2, 3], "sale", persist=False)
    send_to_topic("orders/eu", 1)
    broadcast(None)
    first, second, third, fourth = idlewild_outbox
    assert (first.users, first.data, first.event) == ({"1"}, {"type": "order_paid"}, "order")
    assert (first.id, first.persist) == ("order-7", True)
    assert (second.users, second.data, second.persist) == ({"2", "3"}, "sale", False)
    assert (third.topic, third.users, third.data) == ("orders/eu", frozenset(), 1)
    assert (fourth.is_for_all, fourth.topic, fourth.data) == (True, None, None)


def test_the_asynchronous_versions_fill_it_too(idlewild_outbox):
    async def several() -> None:
        await idlewild_django.asend_to_user(1, "x")
        await idlewild_django.asend_to_users([1, 2], "x")
        await idlewild_django.asend_to_topic("a", "x")
        await idlewild_django.abroadcast("x")

    asyncio.run(several())
    assert len(idlewild_outbox) == 4


def test_everything_else_is_recorded(idlewild_outbox):
    set_session(1, "s", "Elsewhere.")
    force_logout(1, "Bye.", "because")
    assert [each.session_id for each in idlewild_outbox.sessions] == ["s"]
    assert [each.message for each in idlewild_outbox.log_outs] == ["Bye."]
    assert (disconnect(1), presence(1).online) == (0, False)
    idlewild_outbox.online.add("1")
    assert (disconnect(1), presence(1).online) == (1, True)
    assert idlewild_outbox.disconnects == ["1", "1"]


def test_a_login_works_without_idlewild(idlewild_outbox, user, client):
    log_in(client)
    (session,) = idlewild_outbox.sessions
    assert session.session_id == user.idlewild_session.session_id
    assert user.idlewild_session.registered


def test_an_event_waits_for_the_commit(idlewild_outbox):
    with transaction.atomic():
        send_to_user(1, "x")
        assert idlewild_outbox == []
        with pytest.raises(AssertionError, match=r"for the commit.*: 1; .*execute=True"):
            assert_sent(user=1)
    assert_sent(user=1)


def test_what_is_not_an_event_of_the_package_may_wait(idlewild_outbox):
    with transaction.atomic():
        force_logout(1)
        transaction.on_commit(lambda: None)
        assert_not_sent()
        with pytest.raises(AssertionError, match=r"user 1 was not logged out.*\n.*commit.*: 1; "):
            assert_logged_out(1)


def test_a_rolled_back_event_is_not_sent(idlewild_outbox):
    with transaction.atomic():
        with transaction.atomic():
            send_to_user(1, "x")
            transaction.set_rollback(True)
        assert_not_sent()


def test_an_id_is_published_once_for_each_target(idlewild_outbox):
    assert send_to_user(1, "x", id="sale") == send_to_user(1, "again", id="sale")
    send_to_user(2, "x", id="sale")
    send_to_users([2, 1], "x", id="sale")
    send_to_users([1, 2], "x", id="sale")
    assert [each.to for each in idlewild_outbox] == [
        {"user": "1"},
        {"user": "2"},
        {"users": ["2", "1"]},
    ]


REFUSED = [
    ("a//b", "message"),
    ("/a", "message"),
    ("", "message"),
    ("a/*", "message"),
    ("a/**", "message"),
    ("a\n", "message"),
    ("a\x7f", "message"),
    ("a\x85", "message"),
    ("x" * 257, "message"),
    ("ü" * 129, "message"),
    ("a", ""),
    ("a", "a\nb"),
    ("a", "x" * 129),
    ("a", "open"),
    ("a", "heartbeat"),
    ("a", "replay_gap"),
    ("a", "token_expired"),
    ("a", "evicted"),
    ("a", "error"),
]
ACCEPTED = [("a*/b **", "Open"), ("x" * 256, "x" * 128), ("ü" * 128, "a b")]


@pytest.fixture(params=["memory", "local", "hub"])
def each_backend(request, settings):
    if request.param == "hub":
        request.getfixturevalue("server")
    else:
        settings.IDLEWILD = {"BACKEND": request.param}


@pytest.mark.parametrize(("topic", "name"), REFUSED)
def test_what_idlewild_refuses_is_refused(each_backend, topic, name):
    with pytest.raises(Rejected) as raised:
        send_to_topic(topic, "x", name)
    assert raised.value.code == "invalid_request"


@pytest.mark.parametrize(("topic", "name"), ACCEPTED)
def test_what_idlewild_accepts_is_accepted(each_backend, topic, name):
    assert send_to_topic(topic, "x", name)


def test_the_outbox_can_fail(idlewild_outbox):
    with idlewild_outbox.failing(), pytest.raises(Unavailable):
        send_to_user(1, "x")
    with idlewild_outbox.failing(Rejected("too_large", "x")), pytest.raises(Rejected):
        send_to_user(1, "x")
    assert idlewild_outbox == []
    assert send_to_user(1, "x")


def test_assertions_about_what_was_sent(idlewild_outbox):
    user = get_user_model()(pk=7, username="ann")
    send_to_users([user, 8], {"n": 1}, "order")
    send_to_topic("orders/eu", "x")
    broadcast(None)
    assert assert_sent(user=user).data == {"n": 1}
    assert_sent(user=8, event="order", data={"n": 1}, count=1)
    assert_sent(topic="orders/eu")
    assert_sent(all=True, data=None)
    assert_sent(count=3)
    for wrong in (
        {"user": 9},
        {"user": 7, "event": "message"},
        {"user": 7, "data": {"n": 2}},
        {"topic": "orders/us"},
        {"all": True, "data": "x"},
    ):
        assert_not_sent(**wrong)
        with pytest.raises(AssertionError, match=r"no event was sent .*\nsent:\n  Sent\("):
            assert_sent(**wrong)
    with pytest.raises(AssertionError, match="1 events were sent to user 7, not 2"):
        assert_sent(user=7, count=2)
    with pytest.raises(AssertionError, match="1 events were sent to topic orders/eu"):
        assert_not_sent(topic="orders/eu")
    with pytest.raises(AssertionError, match="3 events were sent at all"):
        assert_not_sent()


def test_assertions_about_log_outs(idlewild_outbox):
    force_logout(7, "Bye.", "terms_changed")
    assert assert_logged_out(7).message == "Bye."
    assert_logged_out(get_user_model()(pk=7), "terms_changed")
    for wrong in ((8,), (7, "logout")):
        with pytest.raises(AssertionError, match=r"user . was not logged out"):
            assert_logged_out(*wrong)


def test_each_test_begins_with_an_empty_outbox(idlewild_outbox):
    assert (idlewild_outbox, idlewild_outbox.log_outs) == ([], [])
    assert idlewild_outbox is outbox
    assert isinstance(backend(), Memory)


def test_what_was_sent_before_is_not_in_it(settings):
    settings.IDLEWILD = {"BACKEND": "memory"}
    send_to_user(1, "x")
    force_logout(1)
    with capture() as captured:
        assert (captured, captured.log_outs) == ([], [])
        send_to_user(1, "y")
    assert (outbox, outbox.log_outs) == ([], [])


def test_without_the_fixture_nothing_changes(settings):
    assert not isinstance(backend(), Memory)


class TestWithUnittest(OutboxMixin, TransactionTestCase):
    def test_the_mixin_has_an_outbox(self):
        send_to_user(1, "x")
        assert [each.data for each in self.outbox] == ["x"]
        assert_sent(user=1)


class TestInATransaction(OutboxMixin, TestCase):
    def test_the_commit_has_to_be_captured(self):
        with self.captureOnCommitCallbacks(execute=True):
            send_to_user(1, "x")
        assert_sent(user=1, count=1)
        assert_not_sent(user=2)

    def test_an_event_that_waits_is_not_taken_for_none(self):
        send_to_user(1, "x")
        for given in ({}, {"user": 1}, {"user": 2}):
            with pytest.raises(AssertionError, match=r"may still be sent\n.*\n.*execute=True"):
                assert_not_sent(**given)
