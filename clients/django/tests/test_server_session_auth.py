"""A browser with only Django's session cookie, with a real Idlewild.

Needs a server with `auth.session_auth_url`.
"""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from hub_support.server import API_KEY, Server
from hub_support.streams import StreamClient

from idlewild_django import send_to_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def asking_server(tmp_path, live_server, settings):
    url = f"{live_server.url}/api/v1/auth/session-auth/"
    server = Server(tmp_path, auth=f'session_auth_url = "{url}"')
    settings.IDLEWILD = {"URL": server.url, "API_KEY": API_KEY}
    server.start()
    yield server
    server.stop()


def stream(server: Server, cookie: str) -> StreamClient:
    return StreamClient(f"{server.base}/sse/notifications/", headers={"Cookie": cookie})


def cookie(client) -> str:
    return f"sessionid={client.cookies['sessionid'].value}"


def test_a_session_of_django_opens_a_stream(asking_server, user, client):
    client.force_login(user)
    with stream(asking_server, cookie(client)) as opened:
        assert opened.status == 200
        opened.frame()
        send_to_user(user, "for the session's user")
        assert opened.event().fields["data"] == "for the session's user"


def test_a_session_unknown_to_django_is_refused(asking_server):
    with stream(asking_server, "sessionid=unknown") as refused:
        assert refused.status == 401
        assert refused.frame().json == {"error": "Authentication required"}


def test_a_session_of_an_inactive_user_is_refused(asking_server, user, client):
    client.force_login(user)
    get_user_model().objects.filter(pk=user.pk).update(is_active=False)
    with stream(asking_server, cookie(client)) as refused:
        assert refused.status == 401


def test_without_django_streams_get_503(tmp_path, user, client):
    server = Server(tmp_path, auth='session_auth_url = "http://127.0.0.1:9/nobody/"')
    server.start()
    try:
        client.force_login(user)
        with stream(server, cookie(client)) as refused:
            assert refused.status == 503
            assert refused.frame().json == {"error": "Authentication unavailable"}
    finally:
        server.stop()
