"""Logins with SimpleJWT against a real Idlewild: one device a user, and log-outs."""

from __future__ import annotations

import pytest

import idlewild_django
from idlewild_django.models import DeviceSession

from .conftest import PASSWORD
from .streams import StreamClient

pytestmark = pytest.mark.django_db(transaction=True)


def log_in(client, password: str = PASSWORD) -> dict:
    answer = client.post(
        "/api/v1/auth/login/",
        {"email": "ann@example.com", "password": password},
        content_type="application/json",
    )
    assert answer.status_code == 200, answer.content
    return answer.json()


def stream(server, token: str) -> StreamClient:
    return StreamClient(
        f"{server.base}/sse/notifications/", headers={"Authorization": f"Bearer {token}"}
    )


def test_a_token_of_simplejwt_opens_a_stream(server, user, client):
    with stream(server, log_in(client)["access"]) as opened:
        assert opened.status == 200
        sent = idlewild_django.send_to_user(user, {"type": "order_paid"})
        event = opened.event()
        assert (event.id, event.json) == (sent, {"type": "order_paid"})


def test_a_second_login_forces_the_first_device_out(server, user, client):
    first = log_in(client)["access"]
    with stream(server, first) as opened:
        assert opened.frame().fields.keys() == {"retry"}
        second = log_in(client)["access"]
        (told,) = opened.rest()
        assert told.json["type"] == "FORCE_LOGOUT"
        assert told.json["data"]["reason"] == "new_login"
    with stream(server, first) as refused, stream(server, second) as opened:
        assert (refused.status, opened.status) == (401, 200)
    assert DeviceSession.objects.get(user=user).registered
