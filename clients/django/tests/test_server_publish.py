"""Publishing to a real Idlewild."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import httpx
import pytest
from django.core.management import call_command
from django.db import transaction
from hub_support.admin import Answer
from hub_support.server import API_KEY
from hub_support.streams import StreamClient
from rest_framework_simplejwt.tokens import AccessToken

import idlewild_django
from idlewild_django import (
    Rejected,
    Unauthorized,
    broadcast,
    presence,
    send_to_topic,
    send_to_user,
    send_to_users,
)

from .conftest import bearer, run

if TYPE_CHECKING:
    from hub_support.server import Server

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def name() -> str:
    """A user that no other test uses."""
    return uuid.uuid4().hex


def stream(server: Server, user: str, query: str = "", **claims: object) -> StreamClient:
    token = AccessToken()
    for claim, value in {"user_id": user, **claims}.items():
        token[claim] = value
    return StreamClient(f"{server.base}/sse/notifications/{query}", headers=bearer(str(token)))


def test_every_target_is_reached(server, name):
    with stream(server, name, topics=["orders/eu"]) as opened:
        opened.frame()
        send_to_user(name, 1)
        send_to_users([name, "another"], 2)
        send_to_topic("orders/eu", 3)
        broadcast("4", "tick")
        events = [opened.event() for _ in range(4)]
        assert [each.json for each in events] == [1, 2, 3, 4]
        assert [each.name for each in events] == ["message", "message", "message", "tick"]


def test_every_asynchronous_version_does_the_same(server, name):
    async def twins(opened: StreamClient) -> None:
        await idlewild_django.asend_to_user(name, 1)
        await idlewild_django.asend_to_users([name, "another"], 2)
        await idlewild_django.asend_to_topic("orders/eu", 3)
        await idlewild_django.abroadcast(4)
        assert [opened.event().json for _ in range(4)] == [1, 2, 3, 4]
        assert (await idlewild_django.apresence(name)).online
        await idlewild_django.aset_session(name, "s", "Elsewhere.")
        assert opened.event().json["data"]["message"] == "Elsewhere."
        assert await idlewild_django.adisconnect(name) == 0

    with stream(server, name, topics=["orders/eu"]) as opened:
        opened.frame()
        run(twins(opened))


def test_force_logout_has_an_asynchronous_version(server, user):
    with stream(server, str(user.pk)) as opened:
        opened.frame()
        run(idlewild_django.aforce_logout(user, "Bye."))
        assert opened.event().json["data"]["message"] == "Bye."


def test_a_payload_arrives_as_it_was_sent(server, name):
    with stream(server, name) as opened:
        opened.frame()
        for data in ("two\nlines", "  spaces  ", '{"a": 1}', "grüße 日本 🎈"):
            send_to_user(name, data)
            assert opened.event().fields["data"] == data
        send_to_user(name, {"b": 1.5, "ä": [None, True]})
        assert opened.event().fields["data"] == '{"b":1.5,"ä":[null,true]}'


def test_only_committed_events_are_sent(server, name):
    with stream(server, name) as opened:
        opened.frame()
        with transaction.atomic():
            send_to_user(name, "rolled back")
            transaction.set_rollback(True)
        with transaction.atomic():
            send_to_user(name, "committed")
        assert opened.event().fields["data"] == "committed"


def test_a_repeated_id_is_one_event(server, name):
    with stream(server, name) as opened:
        opened.frame()
        first = send_to_user(name, "once", id=f"{name}-paid")
        assert send_to_user(name, "once", id=f"{name}-paid") == first
        send_to_user(name, "end")
        assert [opened.event().fields["data"] for _ in range(2)] == ["once", "end"]


def test_a_response_lost_in_a_restart_causes_no_second_event(own_server, admin, name, settings):
    """The first response is lost between Django and Idlewild, and Idlewild restarts."""

    def ask() -> dict:
        asked = admin.asked[-1]
        headers = bearer(API_KEY)
        answer = httpx.post(f"{own_server.url}{asked.path}", json=asked.json, headers=headers)
        stored.append(answer.json()["id"])
        return answer.json()

    def ask_and_restart() -> None:
        ask()
        own_server.stop()
        own_server.start()

    stored: list[str] = []
    admin.answers.extend([Answer(json=ask_and_restart, is_dropped=True), Answer(json=ask)])
    assert send_to_user(name, "once") == stored[0] == stored[1]
    with stream(own_server, name, "?last_event_id=1-0") as opened:
        _, gap, event = (opened.frame() for _ in range(3))
        assert (gap.name, event.id) == ("replay_gap", stored[0])
        settings.IDLEWILD |= {"URL": own_server.url}
        send_to_user(name, "end")
        assert opened.frame().fields["data"] == "end"


def test_a_publisher_waits_while_idlewild_restarts(own_server, name, settings):
    settings.IDLEWILD |= {"RETRIES": 1_000, "TOTAL_TIMEOUT": 15}
    send_to_user(name, "on a connection that the restart ends")
    own_server.stop()
    starting = threading.Timer(0.1, own_server.start)
    starting.start()
    assert send_to_user(name, "x")
    starting.join()


def test_ten_thousand_users_and_one_more(server, name):
    with stream(server, name) as opened:
        opened.frame()
        users = [*(f"{name}-{number}" for number in range(10_000)), name]
        first, second = send_to_users(users, "sale") or ()
        assert first != second
        event = opened.event()
        assert (event.id, event.fields["data"]) == (second, "sale")


def test_long_ids_and_a_full_payload_fit(server, name):
    users = [f"{name}{number:0224}" for number in range(4_000)]
    assert len(send_to_users(users, "ü" * 32_768) or ()) == 3


def test_the_largest_payload_is_accepted_and_a_larger_one_is_not(server, name, settings):
    assert send_to_user(name, "x" * 65_536)
    settings.IDLEWILD |= {"MAX_DATA_BYTES": 1_000_000}
    with pytest.raises(Rejected) as raised:
        send_to_user(name, "x" * 65_537)
    assert raised.value.code == "too_large"


def test_the_servers_reason_is_in_the_exception(server, name, settings):
    with pytest.raises(Rejected, match=r"to\.topic"):
        send_to_topic("a//b", 1)
    settings.IDLEWILD |= {"API_KEY": "idw_wrong"}
    with pytest.raises(Unauthorized):
        send_to_user(name, 1)


def test_a_unix_socket_serves_as_well(server, name, settings):
    settings.IDLEWILD |= {"URL": f"unix:{server.socket}"}
    with stream(server, name) as opened:
        opened.frame()
        send_to_user(name, "by socket")
        assert opened.event().fields["data"] == "by socket"
        assert run(idlewild_django.apresence(name)).online
    assert presence("nobody").connections == ()


def test_the_command_publishes(server, name, capsys):
    with stream(server, name) as opened:
        opened.frame()
        call_command("idlewild_publish", "--user", name, "--event", "tick", "--data", '{"a": 1}')
        event = opened.event()
        assert (event.name, event.json) == ("tick", {"a": 1})
        assert capsys.readouterr().out == f"{event.id}\n"
        call_command("idlewild_publish", "--user", name, "--no-persist", "--data", "x")
        assert opened.event().id is None
