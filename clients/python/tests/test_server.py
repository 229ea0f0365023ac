"""Both clients with a real Idlewild."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time

import pytest

from hub_support.server import API_KEY, SECRET, Server
from hub_support.streams import StreamClient
from idlewild import AsyncClient, Client, Rejected, Unauthorized


def token(**claims: object) -> str:
    """A JWT as the application would sign it."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    now = int(time.time())
    claims = {"iat": now, "exp": now + 300} | claims
    signed = ".".join(part(json.dumps(each).encode()) for each in ({"alg": "HS256"}, claims))
    signature = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{part(signature)}"


def stream(server: Server, user: str, **claims: object) -> StreamClient:
    headers = {"Authorization": f"Bearer {token(user_id=user, **claims)}"}
    return StreamClient(f"{server.base}/sse/notifications/", headers=headers)


def test_every_method_of_the_synchronous_client(server, name):
    with (
        Client(server.url, API_KEY) as hub,
        stream(server, name, topics=["orders/eu"], session_id="first") as opened,
    ):
        opened.frame()
        first = hub.send_to_user(name, {"a": 1})
        hub.send_to_users([name, "another"], 2)
        hub.send_to_topic("orders/eu", 3)
        hub.broadcast("4", "tick", persist=False)
        events = [opened.event() for _ in range(4)]
        assert events[0].id == first
        assert [each.json for each in events] == [{"a": 1}, 2, 3, 4]
        assert [each.name for each in events] == ["message", "message", "message", "tick"]
        here = hub.presence(name)
        (connection,) = here.connections
        assert (here.online, connection.session) == (True, "first")
        assert (connection.transport, connection.topics) == ("sse", ("orders/eu",))
        hub.set_session(name, "second", "Elsewhere.")
        assert opened.event().json["data"] == {"message": "Elsewhere.", "reason": "new_login"}
        assert hub.disconnect(name) == 0
        hub.force_logout(name, "Bye.", "because")
    with stream(server, name, session_id="second") as refused:
        assert refused.status == 401


def test_every_method_of_the_asynchronous_client(server, name):
    async def publish(opened: StreamClient) -> None:
        async with AsyncClient(server.url, API_KEY) as hub:
            first = await hub.send_to_user(name, {"a": 1})
            await hub.send_to_users([name, "another"], 2)
            await hub.send_to_topic("orders/eu", 3)
            await hub.broadcast("4", "tick", persist=False)
            events = [opened.event() for _ in range(4)]
            assert events[0].id == first
            assert [each.json for each in events] == [{"a": 1}, 2, 3, 4]
            assert (await hub.presence(name)).online
            await hub.set_session(name, "second", "Elsewhere.")
            assert opened.event().json["data"]["message"] == "Elsewhere."
            assert await hub.disconnect(name) == 0
            await hub.force_logout(name, "Bye.", "because")

    with stream(server, name, topics=["orders/eu"], session_id="first") as opened:
        opened.frame()
        asyncio.run(publish(opened))
    with stream(server, name, session_id="second") as refused:
        assert refused.status == 401


def test_the_same_id_is_delivered_once(server, name):
    with Client(server.url, API_KEY) as hub, stream(server, name) as opened:
        opened.frame()
        assert hub.send_to_user(name, 1, id="sale") == hub.send_to_user(name, 1, id="sale")
        hub.send_to_user(name, 2)
        assert [opened.event().json for _ in range(2)] == [1, 2]


def test_a_publisher_waits_while_idlewild_restarts(own_server, name):
    with Client(own_server.url, API_KEY, retries=1_000, total_timeout=15) as hub:
        hub.send_to_user(name, "on a connection that the restart ends")
        own_server.stop()
        starting = threading.Timer(0.1, own_server.start)
        starting.start()
        assert hub.send_to_user(name, "x")
        starting.join()


def test_the_servers_reason_is_in_the_exception(server, name):
    with Client(server.url, API_KEY) as hub, pytest.raises(Rejected, match=r"to\.topic"):
        hub.send_to_topic("a//b", 1)
    with Client(server.url, "idw_wrong") as hub, pytest.raises(Unauthorized):
        hub.send_to_user(name, 1)


def test_a_unix_socket_serves_as_well(server, name):
    with Client(f"unix:{server.socket}", API_KEY) as hub, stream(server, name) as opened:
        opened.frame()
        hub.send_to_user(name, "by socket")
        assert opened.event().fields["data"] == "by socket"


def test_the_server_and_the_client_take_the_same_variable(tmp_path, name, monkeypatch):
    """With whitespace around it, as from a file. The server's own configuration has no such key."""
    key = "idw_of-the-environment-0123456789abcdef"
    server = Server(tmp_path, environment={"IDLEWILD_API_KEY": f" {key}\n"})
    monkeypatch.setenv("IDLEWILD_API_KEY", f" {key}\n")
    server.start()
    try:
        with Client(server.url) as hub:
            assert hub.send_to_user(name, "x")
    finally:
        server.stop()
