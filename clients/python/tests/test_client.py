"""Requests to the admin listener over real sockets: retries and connections."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from hub_support.admin import Admin, Answer
from hub_support.server import API_KEY, free_port
from idlewild import AsyncClient, Client, Rejected, Unauthorized, Unavailable
from idlewild.attempts import LONGEST_PAUSE_S, Attempts
from idlewild.settings import Settings

from .conftest import async_client, client


def error(status: int, code: str = "invalid", message: str = "no") -> Answer:
    return Answer(status, {"error": {"code": code, "message": message}})


def both_ways(admin: Admin, answers: list[Answer], **settings) -> Iterator[Callable[[], str]]:
    """Sends with `Client` and with `AsyncClient`, with the same responses."""
    hub, async_hub = client(admin, **settings), async_client(admin, **settings)
    for attempt in (
        lambda: hub.send_to_user(1, "x"),
        lambda: asyncio.run(async_hub.send_to_user(1, "x")),
    ):
        admin.asked.clear()
        admin.answers.clear()
        admin.answers.extend(answers)
        yield attempt
    hub.close()


def test_no_exception_contains_a_key_that_httpx_refuses(admin):
    hub, async_hub = client(admin), async_client(admin)
    for each in (hub, async_hub):
        # `Settings` would never keep this.
        object.__setattr__(each._settings, "api_key", "idw_secret\n")
    for ask in (lambda: hub.disconnect(1), lambda: asyncio.run(async_hub.disconnect(1))):
        with pytest.raises(Unavailable, match="LocalProtocolError") as raised:
            ask()
        shown = "".join(traceback.format_exception(raised.value))
        assert "secret" not in f"{shown} {raised.value!r} {hub!r}"
    hub.close()


def test_an_event_carries_the_key_and_returns_its_id(admin):
    for attempt in both_ways(admin, []):
        assert attempt() == "1-0"
        (asked,) = admin.asked
        assert (asked.method, asked.path) == ("POST", "/v1/events")
        assert asked.headers["Authorization"] == f"Bearer {API_KEY}"
        assert asked.json["to"] == {"user": "1"}
        assert asked.json["event"] == "message"
        assert asked.json["persist"] is True


@pytest.mark.parametrize(
    "failure",
    [
        *(Answer(status) for status in (408, 429, 502, 503, 504)),
        error(408, "timeout", "the body took too long"),
        Answer(is_dropped=True),
    ],
    ids=str,
)
def test_a_retry_is_the_same_event(admin, failure):
    for attempt in both_ways(admin, [failure, failure]):
        assert attempt() == "3-0"
        assert len(admin.asked) == 3
        assert len({each.json["id"] for each in admin.asked}) == 1


def test_a_slow_response_is_retried(admin):
    for attempt in both_ways(admin, [], timeout=0.2):
        release = threading.Event()
        admin.answers.append(Answer(json=lambda held=release: held.wait(10)))
        assert attempt() == "2-0"
        release.set()


def test_the_number_of_retries_is_limited(admin):
    for attempt in both_ways(admin, [Answer(503)] * 9, retries=2):
        with pytest.raises(Unavailable, match=r"status 503; tried 3 times"):
            attempt()
        assert len(admin.asked) == 3


def test_a_refused_connection_is_unavailable():
    with (
        Client(f"http://127.0.0.1:{free_port()}", API_KEY) as hub,
        pytest.raises(Unavailable, match=r"ConnectError.*tried 4 times"),
    ):
        hub.send_to_user(1, "x")


@pytest.mark.parametrize("status", [400, 404, 409, 413])
def test_a_refusal_is_not_retried_and_has_the_reason(admin, status):
    for attempt in both_ways(admin, [error(status, "invalid", "to: expected one")]):
        with pytest.raises(Rejected, match="to: expected one") as raised:
            attempt()
        assert (raised.value.code, len(admin.asked)) == ("invalid", 1)


def test_a_wrong_key_has_its_own_exception(admin):
    for attempt in both_ways(admin, [error(401, "unauthorized", "no such key")]):
        with pytest.raises(Unauthorized, match="no such key"):
            attempt()


def test_a_throttled_wrong_key_is_a_wrong_key_and_is_not_retried(admin):
    throttled = error(429, "too_many_requests", "too many wrong keys from this address")
    for attempt in both_ways(admin, [throttled]):
        with pytest.raises(Unauthorized, match="too many wrong keys"):
            attempt()
        assert len(admin.asked) == 1


def test_a_response_that_is_not_from_idlewild_is_reported(admin):
    admin.answers.extend([Answer(404, ["<html>"]), Answer(500, "x"), Answer(200, ["list"])])
    with client(admin) as hub:
        with pytest.raises(Rejected, match="status 404 from"):
            hub.send_to_user(1, "x")
        for status in (500, 200):
            with pytest.raises(Unavailable, match=f"status {status}"):
                hub.send_to_user(1, "x")


def test_retry_after_is_honoured_within_the_total_time():
    attempts = Attempts(Settings(total_timeout=60))
    assert attempts.pause_after_answer(httpx.Response(503, headers={"Retry-After": "7"})) == 7
    impatient = Attempts(Settings(total_timeout=5))
    with pytest.raises(Unavailable, match="tried once"):
        impatient.pause_after_answer(httpx.Response(503, headers={"Retry-After": "7"}))


def test_pauses_are_random_and_grow_to_a_limit(monkeypatch):
    monkeypatch.setattr("idlewild.attempts.FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    attempts = Attempts(Settings(retries=9, total_timeout=99))
    pauses = [attempts.pause_after_error(httpx.ConnectError("x")) for _ in range(7)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == LONGEST_PAUSE_S


def test_an_attempt_waits_no_longer_than_the_remaining_time(monkeypatch):
    now = 100.0
    monkeypatch.setattr("idlewild.attempts.time.monotonic", lambda: now)
    attempts = Attempts(Settings(timeout=2, total_timeout=5))
    assert attempts.timeout() == 2
    now = 104.0
    assert attempts.timeout() == 1
    now = 106.0
    assert 0 < attempts.timeout() < 0.01


def test_our_own_mistakes_are_not_retried():
    with pytest.raises(Unavailable, match="tried once"):
        Attempts(Settings()).pause_after_error(httpx.UnsupportedProtocol("x"))


def test_connections_are_reused(admin):
    with client(admin) as hub:
        for _ in range(5):
            hub.send_to_user(1, "x")
    assert {each.connection for each in admin.asked} == {0}

    async def several() -> None:
        async with async_client(admin) as hub:
            for _ in range(5):
                await hub.send_to_user(1, "x")

    asyncio.run(several())
    assert {each.connection for each in admin.asked} == {0, 1}


def test_threads_share_the_pool(admin):
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for _ in range(10):
            hub.broadcast("x")

    with client(admin) as hub:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(admin.asked) == 40
    # Four that are kept, and a few of threads that were not the first.
    assert len({each.connection for each in admin.asked}) <= 8


def test_a_forked_worker_has_its_own_connections(admin):
    with client(admin) as hub:
        hub.send_to_user(1, "parent")
        pid = os.fork()
        if pid == 0:
            try:
                hub.send_to_user(1, "child")
            finally:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        hub.send_to_user(1, "parent")
    parent, child, again = (each.connection for each in admin.asked)
    assert parent == again != child


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_closed_event_loop_leaves_no_connections(admin):
    hub = async_client(admin)
    asyncio.run(hub.send_to_user(1, "x"))
    before = descriptors()
    for _ in range(20):
        asyncio.run(hub.send_to_user(1, "x"))
    # The listener's ends of the connections are in this process, too.
    assert descriptors() < before + 10


def test_a_closed_client_has_no_connections(admin):
    async def asynchronous() -> int:
        async with async_client(admin) as hub:
            await hub.send_to_user(1, "x")
            return len(hub._loops)

    with client(admin) as hub:
        hub.send_to_user(1, "x")
        assert len(hub._clients) == 1
    assert hub._clients == {}
    assert asyncio.run(asynchronous()) == 1


def test_a_proxy_in_the_environment_is_not_used(admin, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    for attempt in both_ways(admin, []):
        assert attempt() == "1-0"


def test_a_users_id_is_one_path_segment(admin):
    with client(admin) as hub:
        hub.set_session("a/b ?", "s", "Elsewhere.")
        hub.disconnect("ü")
    assert admin.paths == [
        "PUT /v1/users/a%2Fb%20%3F/session",
        "DELETE /v1/users/%C3%BC/connections",
    ]
    assert admin.asked[0].json == {"session_id": "s", "message": "Elsewhere."}


def test_what_is_not_given_is_not_sent(admin):
    with client(admin) as hub:
        hub.set_session(1, "s")
        hub.force_logout(1)
    assert [each.json for each in admin.asked] == [{"session_id": "s"}, {}]


def test_a_long_list_of_users_is_sent_in_several_requests(admin):
    with client(admin) as hub:
        assert hub.send_to_users(range(10_001), "x") == ["1-0", "2-0"]
    assert [len(each.json["to"]["users"]) for each in admin.asked] == [10_000, 1]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_both_clients_have_the_same_methods(kind):
    shared = {"send_to_user", "send_to_users", "send_to_topic", "broadcast", "force_logout",
              "set_session", "disconnect", "presence", "perform"}  # fmt: skip
    public = {name for name in vars(kind) if not name.startswith("_")} - {"close", "aclose"}
    assert public == shared
