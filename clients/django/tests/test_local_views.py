"""The development streams as a client sees them, under WSGI (sockets) and ASGI."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import time
from typing import Any

import pytest
from django.core.asgi import get_asgi_application
from django.test import AsyncClient, Client
from hub_support.streams import WAIT_S, StreamClient
from rest_framework_simplejwt.tokens import AccessToken

from idlewild_django import force_logout, presence, send_to_topic, send_to_user
from idlewild_django.local.backend import Local
from idlewild_django.local.stream import RETRY, LoopStream

from .conftest import bearer, log_in, run

pytestmark = pytest.mark.django_db(transaction=True)

PLAIN = "rest_framework_simplejwt.authentication.JWTAuthentication"
PATH = "/api/v1/auth/sse/notifications/"


@pytest.fixture
def url(local, live_server) -> str:
    return f"{live_server.url}{PATH}"


@pytest.fixture
def access(local, user, client) -> str:
    return log_in(client)["access"]


def test_a_token_in_header_query_or_cookie_opens_a_stream(url, access, user):
    for request in (
        {"headers": bearer(access)},
        {"params": {"token": access}},
        {"headers": {"Cookie": f"access_token={access}"}},
    ):
        with StreamClient(url, **request) as opened:
            assert opened.status == 200
            id = send_to_user(user, {"type": "order_paid"})
            event = opened.event()
            assert (event.id, event.name, event.json) == (id, "message", {"type": "order_paid"})


def test_a_session_of_django_opens_a_stream(url, user, client):
    client.force_login(user)
    with StreamClient(url, headers={"Cookie": client.cookies.output(header="").strip()}) as opened:
        assert opened.status == 200


def test_a_stream_has_its_headers(url, access):
    with StreamClient(url, params={"token": access}) as opened:
        assert opened.headers["Content-Type"] == "text/event-stream"
        assert opened.headers["Cache-Control"] == "no-cache"
        assert opened.headers["X-Accel-Buffering"] == "no"
        assert opened.headers["Access-Control-Allow-Origin"] == "*"
        assert opened.frame().fields == {"retry": "3000"}


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/event-stream", None])
def test_any_accept_header_gets_the_stream(url, access, accept):
    headers = {"Accept": accept} if accept else {}
    with StreamClient(url, params={"token": access}, headers=headers) as opened:
        assert opened.status == 200
        assert opened.headers["Content-Type"] == "text/event-stream"


def test_compression_delays_no_event(access, settings):
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    answer = Client().get(PATH, {"token": access}, headers={"Accept-Encoding": "gzip"})
    assert next(iter(answer.streaming_content)).decode() == RETRY
    answer.close()


def test_a_client_without_credentials_gets_the_guides_refusal(url, access, client):
    for request in ({}, {"params": {"token": "forged"}}, {"headers": bearer("forged")}):
        with StreamClient(url, **request) as refused:
            assert refused.status == 401
            assert refused.headers["WWW-Authenticate"] == "Bearer"
            assert refused.headers["Content-Type"] == "text/event-stream"
            assert refused.frame().fields == {
                "event": "error",
                "data": '{"error": "Authentication required"}',
            }


def test_the_log_says_why_a_token_is_refused(local, user, client, caplog):
    with caplog.at_level(logging.INFO, "idlewild_django"):
        assert client.get(PATH, {"token": str(AccessToken.for_user(user))}).status_code == 401
    assert "stream refused: This token has no claim “session_id”" in caplog.text


@pytest.mark.parametrize("given", [{}, {"JWT_AUTHENTICATION": PLAIN}])
def test_with_several_devices_a_token_needs_no_session(local, user, client, settings, given):
    settings.IDLEWILD |= given
    if not given:
        settings.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [PLAIN]}
    response = client.get(PATH, {"token": str(AccessToken.for_user(user))})
    assert response.status_code == 200
    response.close()


def test_a_bad_header_is_not_rescued_by_a_good_cookie(url, access, user, client):
    client.force_login(user)
    cookies = client.cookies.output(header="", sep=";").strip()
    headers = bearer("forged") | {"Cookie": f"{cookies}; access_token={access}"}
    with StreamClient(url, headers=headers) as refused:
        assert refused.status == 401


def test_a_second_login_logs_the_first_device_out(url, access, user, client):
    with StreamClient(url, params={"token": access}) as opened:
        second = log_in(client)["access"]
        assert opened.rest()[-1].json["data"]["reason"] == "new_login"
    with StreamClient(url, params={"token": access}) as refused:
        assert refused.status == 401
    with StreamClient(url, params={"token": second}) as opened:
        assert opened.status == 200


def test_a_forced_log_out_ends_the_stream_and_its_token(url, access, user):
    with StreamClient(url, params={"token": access}) as opened:
        force_logout(user, "Bye.")
        assert opened.rest()[-1].json["data"]["message"] == "Bye."
    with StreamClient(url, params={"token": access}) as refused:
        assert refused.status == 401


def test_a_sixth_stream_is_refused(url, access, settings):
    settings.IDLEWILD |= {"MAX_CONNECTIONS_PER_USER": 1}
    with (
        StreamClient(url, params={"token": access}),
        StreamClient(url, params={"token": access}) as refused,
    ):
        assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
        assert refused.frame().json == {"error": "Too many connections"}


def test_the_stream_of_a_client_that_leaves_is_removed(url, access, user, monkeypatch):
    monkeypatch.setattr("idlewild_django.local.stream.PROBE_S", 0.01)
    with StreamClient(url, params={"token": access}) as opened:
        assert opened.frame().fields == {"retry": "3000"}
        assert presence(user).online
    deadline = time.monotonic() + WAIT_S
    while presence(user).online:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_topics_are_those_of_the_token(url, access):
    token = AccessToken(access)
    token["topics"] = ["orders/*"]
    asked = {"token": str(token)}
    with StreamClient(url, params=asked | {"topic": "prices"}) as refused:
        assert (refused.status, refused.frame().json) == (403, {"error": "Topic not allowed"})
    with StreamClient(url, params=asked | {"topic": "orders/eu"}) as opened:
        send_to_topic("orders/eu", "x")
        assert opened.event().fields["data"] == "x"


def test_the_test_stream_numbers_its_messages(local, live_server):
    with StreamClient(f"{live_server.url}/api/v1/auth/sse/test/") as opened:
        assert re.fullmatch(r"Test message 0 at \d\d:\d\d:\d\d", opened.frame().fields["data"])


def test_a_page_of_another_origin_is_allowed(local, client, settings):
    asked = client.options(PATH)
    assert (asked.status_code, asked["Access-Control-Allow-Origin"]) == (204, "*")
    assert not asked.has_header("Access-Control-Allow-Credentials")
    settings.IDLEWILD |= {"CORS_ORIGIN": "http://localhost:3000"}
    for answer in (client.options(PATH), client.get(PATH)):
        assert answer["Access-Control-Allow-Origin"] == "http://localhost:3000"
        assert answer["Access-Control-Allow-Credentials"] == "true"
        assert "Authorization" in answer["Access-Control-Allow-Headers"]


def test_with_the_hub_the_local_streams_are_not_served(client, settings):
    settings.IDLEWILD = {"API_KEY": "idw_x"}
    for path in (PATH, "/api/v1/auth/sse/test/"):
        assert client.get(path).status_code == 404
    assert client.post(PATH).status_code == 405


def test_under_asgi_the_stream_is_asynchronous(access, user):
    async def read() -> list[str]:
        response = await AsyncClient().get(PATH, {"token": access})
        assert (response.status_code, response.is_async) == (200, True)
        frames = aiter(response.streaming_content)
        found = [(await anext(frames)).decode()]
        await asyncio.to_thread(send_to_user, user, "x", on_commit=False)
        found.append((await anext(frames)).decode())
        response.close()
        return found

    retry, event = run(read())
    assert retry == RETRY
    assert event.endswith("event: message\ndata: x\n\n")
    assert not presence(user).online


async def ask(access: str, started: asyncio.Event, gone: asyncio.Event) -> None:
    """Runs the application as a server does, for a client that leaves."""
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict:
        if requests:
            return requests.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        if message["type"] == "http.response.body":
            started.set()

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": PATH,
        "query_string": f"token={access}".encode(),
        "headers": [],
    }
    await asyncio.wait_for(get_asgi_application()(scope, receive, send), 10)


def test_under_asgi_the_stream_of_a_client_that_leaves_is_removed(access, user):
    async def go() -> tuple[bool, bool]:
        started, gone = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(ask(access, started, gone))
        await asyncio.wait_for(started.wait(), 10)
        online = await asyncio.to_thread(presence, user)
        gone.set()
        await task
        return online.online, (await asyncio.to_thread(presence, user)).online

    assert run(go()) == (True, False)


def test_under_asgi_the_stream_of_a_client_that_leaves_early_is_removed(access, user, monkeypatch):
    """In this case, Django drops the view's response without closing it."""

    async def turns() -> None:
        # A few turns of the loop are enough for Django to notice and to cancel the request.
        for _ in range(50):
            await asyncio.sleep(0)

    async def go() -> None:
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        opened = Local.open

        def open_and_lose(*given: Any) -> LoopStream:
            stream = opened(*given)
            assert presence(user).online
            loop.call_soon_threadsafe(gone.set)
            asyncio.run_coroutine_threadsafe(turns(), loop).result(10)
            return stream

        monkeypatch.setattr(Local, "open", open_and_lose)
        await ask(access, asyncio.Event(), gone)

    run(go())
    gc.collect()
    assert not presence(user).online
