"""The streams of one process: what each receives, and how it ends."""

from __future__ import annotations

import asyncio
import threading

import pytest

from idlewild_django import (
    Rejected,
    broadcast,
    disconnect,
    force_logout,
    presence,
    send_to_topic,
    send_to_user,
    send_to_users,
    set_session,
)
from idlewild_django.local import topics
from idlewild_django.local.backend import TooManyConnections, frame
from idlewild_django.local.stream import (
    HEARTBEAT,
    MAX_FRAMES,
    PROBE,
    RETRY,
    Client,
    LoopStream,
    ThreadStream,
)

pytestmark = pytest.mark.django_db(transaction=True)


def heard(stream: ThreadStream) -> list[str]:
    """Ends a stream and returns the data of its events."""
    stream.end()
    return ["".join(text.split("data: ")[1:]).strip() for text in stream if "data: " in text]


def test_each_stream_receives_its_events(local):
    ann = local.open(ThreadStream, Client("1", topics=frozenset({"orders/eu"})))
    bob = local.open(ThreadStream, Client("2"))
    send_to_user(1, "to ann")
    send_to_users([2, 3], "to bob")
    send_to_topic("orders/eu", "to orders")
    broadcast("to all")
    assert heard(ann) == ["to ann", "to orders", "to all"]
    assert heard(bob) == ["to bob", "to all"]


def test_a_frame_is_written_as_idlewild_writes_it(local):
    assert frame("1-0", "message", "a\nb\r\nc") == (
        "id: 1-0\nevent: message\ndata: a\ndata: b\ndata: c\n\n"
    )
    stream = local.open(ThreadStream, Client("1"))
    id = send_to_user(1, {"a": 1}, "order")
    send_to_user(1, "", persist=False)
    stream.end()
    assert list(stream) == [
        RETRY,
        f'id: {id}\nevent: order\ndata: {{"a":1}}\n\n',
        "event: message\ndata: \n\n",
    ]


def test_ids_rise(local):
    ids = [broadcast(number) for number in range(50)]
    assert ids == sorted(ids, key=lambda each: tuple(map(int, each.split("-"))))
    assert len(set(ids)) == 50


def test_a_name_that_would_break_the_lines_is_refused(local):
    for name in ("a\nb", "", "a\rb"):
        with pytest.raises(Rejected, match=r"event: .* control characters"):
            broadcast("x", name)


def test_a_sixth_stream_of_a_user_is_refused(local):
    streams = [local.open(ThreadStream, Client("1")) for _ in range(5)]
    with pytest.raises(TooManyConnections):
        local.open(ThreadStream, Client("1"))
    local.open(ThreadStream, Client("2"))
    streams[0].close()
    local.open(ThreadStream, Client("1"))


def test_a_new_session_ends_the_streams_of_the_others(local):
    old, new, none = (
        local.open(ThreadStream, Client("1", session=session)) for session in ("old", "new", None)
    )
    id = set_session(1, "new", "Elsewhere.")
    told = (
        f"id: {id}\nevent: message\n"
        'data: {"type":"FORCE_LOGOUT","data":{"message":"Elsewhere.","reason":"new_login"}}\n\n'
    )
    assert list(old) == list(none) == [RETRY, told]
    assert heard(new) == []


def test_a_log_out_ends_all_streams_of_the_user(local):
    ann, bob = (local.open(ThreadStream, Client(user, session="s")) for user in ("1", "2"))
    force_logout(1, "Bye.", "because")
    assert '"message":"Bye.","reason":"because"' in list(ann)[-1]
    assert heard(bob) == []


def test_presence_lists_the_streams_and_disconnect_ends_them(local):
    assert not presence(1).online
    stream = local.open(ThreadStream, Client("1", "s", frozenset({"b", "a"}), remote="127.0.0.1"))
    (connection,) = presence(1).connections
    assert (connection.session, connection.topics) == ("s", ("a", "b"))
    assert (connection.remote, connection.since) == (
        "127.0.0.1",
        stream.client.since.replace(microsecond=0),
    )
    assert disconnect(1) == 1
    assert list(stream) == [RETRY]
    stream.close()
    assert not presence(1).online


def test_quiet_streams_have_heartbeats(local, settings):
    settings.IDLEWILD |= {"HEARTBEAT": 0.01}
    stream = iter(local.open(ThreadStream, Client("1")))
    assert [next(stream) for _ in range(3)] == [RETRY, HEARTBEAT, HEARTBEAT]

    async def in_a_loop() -> list[str]:
        stream = aiter(local.open(LoopStream, Client("1")))
        return [await anext(stream) for _ in range(3)]

    assert asyncio.run(in_a_loop()) == [RETRY, HEARTBEAT, HEARTBEAT]


def test_a_thread_probes_for_a_client_that_has_left(local, monkeypatch):
    monkeypatch.setattr("idlewild_django.local.stream.PROBE_S", 0.01)
    stream = iter(local.open(ThreadStream, Client("1")))
    assert [next(stream) for _ in range(3)] == [RETRY, PROBE, PROBE]


@pytest.mark.parametrize("kind", [ThreadStream, LoopStream])
def test_a_client_that_reads_nothing_is_disconnected(local, kind):
    stream = local.open(kind, Client("1"))
    for number in range(MAX_FRAMES + 1):
        broadcast(number)

    async def read() -> list[str]:
        return [text async for text in stream]

    assert (list(stream) if kind is ThreadStream else asyncio.run(read())) == []


def test_a_waiting_thread_is_woken(local):
    stream = local.open(ThreadStream, Client("1"))
    found = []
    reader = threading.Thread(target=lambda: found.extend(stream))
    reader.start()
    send_to_user(1, "x")
    force_logout(1)
    reader.join(10)
    assert len(found) == 3


def test_a_waiting_loop_is_woken_from_another_thread(local):
    stream = local.open(LoopStream, Client("1"))

    async def read() -> list[str]:
        found = []
        async for text in stream:
            found.append(text)
            if text == RETRY:
                await asyncio.to_thread(broadcast, "x", on_commit=False)
            elif "data: x" in text:
                await asyncio.to_thread(disconnect, 1)
        return found

    assert len(asyncio.run(asyncio.wait_for(read(), 10))) == 2


@pytest.mark.parametrize(
    ("asked", "patterns", "heard"),
    [
        ([], ["a/b", "c/*", "d/**"], {"a/b"}),
        (["a/b"], ["a/b"], {"a/b"}),
        (["c/1", "d/1/2"], ["c/*", "d/**"], {"c/1", "d/1/2"}),
        (["c/1/2"], ["c/*"], None),
        (["c"], ["c/*"], None),
        (["d"], ["d/**"], {"d"}),
        (["a", "b"], ["a"], None),
        (["a"], [], None),
    ],
)
def test_topics_are_limited_to_those_of_the_token(asked, patterns, heard):
    assert topics.allowed(asked, patterns) == heard
