"""Logins with SimpleJWT against a real Idlewild: one device per user, and log-outs."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from hub_support.streams import StreamClient

from idlewild_django import disconnect, force_logout, presence, send_to_user
from idlewild_django.models import DeviceSession

from .conftest import bearer, log_in

pytestmark = pytest.mark.django_db(transaction=True)


def stream(server, token: str) -> StreamClient:
    return StreamClient(f"{server.base}/sse/notifications/", headers=bearer(token))


def refresh(client, token: str):
    return client.post("/api/v1/auth/refresh/", {"refresh": token})


def test_a_token_of_simplejwt_opens_a_stream(server, user, client):
    with stream(server, log_in(client)["access"]) as opened:
        assert opened.status == 200
        sent = send_to_user(user, {"type": "order_paid"})
        event = opened.event()
        assert (event.id, event.json) == (sent, {"type": "order_paid"})


def test_a_refreshed_token_opens_a_stream_and_a_refresh_token_does_not(server, user, client):
    given = log_in(client)
    access = refresh(client, given["refresh"]).json()["access"]
    with stream(server, access) as opened, stream(server, given["refresh"]) as refused:
        assert (opened.status, refused.status) == (200, 401)


def test_a_second_login_logs_the_first_device_out(server, user, client):
    first = log_in(client)["access"]
    with stream(server, first) as opened:
        assert opened.frame().fields.keys() == {"id", "retry", "event", "data"}
        second = log_in(client)["access"]
        (told,) = opened.rest()
        assert told.json == {
            "type": "FORCE_LOGOUT",
            "data": {
                "message": "You have been logged in from another device.",
                "reason": "new_login",
            },
        }
    with stream(server, first) as refused, stream(server, second) as opened:
        assert (refused.status, opened.status) == (401, 200)
    assert DeviceSession.objects.get(user=user).registered


def test_presence_names_the_session(server, user, client):
    with stream(server, log_in(client)["access"]) as opened:
        opened.frame()
        here = presence(user)
        assert here.online
        (connection,) = here.connections
        assert connection.session == DeviceSession.objects.get(user=user).session_id
        assert connection.transport == "sse"
        assert disconnect(user) == 1
        assert opened.rest() == []


def test_a_forced_log_out_ends_streams_and_tokens_in_both_places(server, user, client):
    given = log_in(client)
    with stream(server, given["access"]) as opened:
        opened.frame()
        force_logout(user, "Bye.", reason="because")
        (told,) = opened.rest()
        assert told.json["data"] == {"message": "Bye.", "reason": "because"}
    with stream(server, given["access"]) as refused:
        assert refused.status == 401
    assert client.get("/me/", headers=bearer(given["access"])).status_code == 401
    assert refresh(client, given["refresh"]).status_code == 401


def test_a_login_right_after_a_log_out_works(server, user, client):
    log_in(client)
    force_logout(user)
    with stream(server, log_in(client)["access"]) as opened:
        assert opened.status == 200


def test_a_new_password_logs_out(server, user, client):
    access = log_in(client)["access"]
    with stream(server, access) as opened:
        opened.frame()
        user.set_password("new")
        user.save()
        (told,) = opened.rest()
        assert told.json["data"]["reason"] == "password_changed"
    with (
        stream(server, access) as refused,
        stream(server, log_in(client, password="new")["access"]),
    ):
        assert refused.status == 401


def test_a_deactivated_user_is_logged_out(server, user, client):
    access = log_in(client)["access"]
    with stream(server, access) as opened:
        opened.frame()
        user.is_active = False
        user.save()
        assert opened.rest()[0].json["data"]["reason"] == "deactivated"


def test_the_command_sends_a_session_that_idlewild_missed(own_server, user, client, settings):
    settings.IDLEWILD |= {"RETRIES": 0}
    first = log_in(client)["access"]
    own_server.stop()
    second = log_in(client)["access"]
    own_server.start()
    with stream(own_server, first) as opened:
        assert opened.status == 200  # Idlewild does not know yet
        opened.frame()
        call_command("idlewild_register_sessions")
        assert opened.rest()[0].json["data"]["reason"] == "new_login"
    with stream(own_server, first) as refused, stream(own_server, second) as opened:
        assert (refused.status, opened.status) == (401, 200)
