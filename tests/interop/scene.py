"""The scene that all clients go through at the same time, each as its own user, and the comparison with what was sent."""

import json
import re
import signal
import time

from client import Running
from scenes_common import Failed, check
from scenes_server import wait

# One heartbeat per second, so that there are some; clients reconnect after a bit more than a second.
RETRY_MS = range(1000, 1501)
# A WebSocket client has to answer a ping within a heartbeat and `stall_timeout`.
SETTINGS = 'heartbeat = "1s"\nstall_timeout = "5s"\nretry_min = "1s"\nretry_max = "1500ms"'

# Small enough that a part of the payloads is compressed.
COMPRESSION = "[compression]\nenabled = true\nmin_bytes = 64\n"

PAYLOADS = [
    ("a string", {"data": "a plain string: with a colon, and a space at the end "}),
    ("JSON", {"data": {"type": "order_paid", "data": {"id": 7, "amount": 1.5, "note": None}}}),
    ("lines", {"data": "first\nsecond\r\nthird\rfourth\n\nsixth, after an empty one"}),
    ("a line that looks like a field", {"data": "one\nid: 0-0\nevent: evil\n: comment"}),
    ("a space in front", {"data": " two \n  three"}),
    ("unicode", {"data": "Zażółć 日本語 👩‍👩‍👧 \u2028 \u0085 \x0b \u00a0\ufeff end"}),
    ("a name", {"event": "order.paid", "data": "named"}),
    ("60 KB", {"data": "0123456789ab日 " * 3750}),
    ("no id", {"data": "not kept", "persist": False}),
    ("an id again", {"data": "kept"}),
]
BURST = 200
BURSTS = 5
# At one per second, longer than the heartbeat and `stall_timeout` of SETTINGS.
PINGS = 8


class Scene:
    def __init__(self, server, clients):
        self.server = server
        self.running = [Running(client, way, server) for client in clients for way in client.tokens]
        self.expected = {one.user: [] for one in self.running}

    def play(self, say):
        for act in (self.open, self.cut_first, self.events, self.burst, self.heartbeat, self.pings, self.cut, self.cut_again, self.restart, self.crash, self.log_out):
            began = time.monotonic()
            act()
            say(f"{act.__doc__} ({time.monotonic() - began:.1f} s)")

    def close(self):
        for one in self.running:
            one.end()

    # The acts.

    def open(self):
        """every client opens its stream and receives `retry`"""
        # Three of them start a Chromium, which takes long on a busy machine.
        self.each("opened", lambda one: one.all("open"), seconds=120)
        self.each("is online", self.is_online)

    def cut_first(self):
        """disconnected by a restart before the first event: each gets the broadcast sent while it was away"""
        self.each("its position", lambda one: one.heartbeats())
        for one in self.running:
            check(not one.events(), f"{one.name} has received an event: {one.events()[:1]}")
        opened = {one.user: len(one.all("open")) for one in self.running}
        self.server.stop()
        self.server.start(self.server.elsewhere)
        self.broadcast({"data": "while no client was connected"})
        self.server.stop()
        self.server.start()
        self.each("reconnected", lambda one: len(one.all("open")) > opened[one.user])
        self.each_has_all()

    def events(self):
        """text, JSON, lines, unicode, a name, 60 KB, and one without an id"""
        for _, event in PAYLOADS:
            for one in self.running:
                self.publish(one, event)
        self.each_has_all()

    def burst(self):
        """a thousand events, two hundred at a time"""
        burst = [{"data": {"burst": number}} for number in range(BURST)]
        self.publish_many(burst)
        self.each_has_all()
        for _ in range(BURSTS - 1):
            self.publish_to_all(burst)
            self.each_has_all()

    def heartbeat(self):
        """heartbeats, whose ids are positions that never decrease"""
        before = {one.user: len(one.heartbeats()) for one in self.running}
        self.each("a heartbeat", lambda one: len(one.heartbeats()) > before[one.user])
        for one in self.running:
            check(one.heartbeats()[-1][1], f"{one.name}: a heartbeat without an id on a quiet stream")

    def pings(self):
        """WebSocket clients answer pings, so none is closed as stalled"""
        running = [one for one in self.running if one.client.transport == "ws"]
        before = {one.user: (len(one.heartbeats()), len(one.all("open"))) for one in running}
        for one in running:
            heartbeats, _ = before[one.user]
            wait(f"{one.name}: {PINGS} pings", lambda: len(one.heartbeats()) >= heartbeats + PINGS)
        for one in running:
            check(len(one.all("open")) == before[one.user][1], f"{one.name} was closed: {one.all('away')[-1:]}")
        stalled = self.server.ask("/v1/stats")["disconnects"]["stalled"]
        check(stalled == 0, f"{stalled} clients were closed as stalled")

    def cut(self):
        """the server ends the stream: all reconnect and miss nothing"""
        self.end_streams({"data": "while it was away"})

    def cut_again(self):
        """the same when only a heartbeat has arrived since"""
        self.heartbeat()
        self.end_streams()
        self.heartbeat()
        self.end_streams({"data": "while it was away again"})

    def restart(self):
        """the server drains and restarts; all get the events from meanwhile"""
        self.away(signal.SIGTERM)

    def crash(self):
        """the server is killed and restarts; all get the events from meanwhile"""
        self.away(signal.SIGKILL)

    def log_out(self):
        """FORCE_LOGOUT is the last event, followed by a 401, or the close code 4001"""
        for one in self.running:
            done = self.server.ask(f"/v1/users/{one.user}/logout", {"message": "Goodbye.", "reason": "test"})
            message = {"type": "FORCE_LOGOUT", "data": {"message": "Goodbye.", "reason": "test"}}
            self.expected[one.user].append(("message", done["id"], json.dumps(message, separators=(",", ":"))))
        self.each("was refused", lambda one: one.all("refused"))
        self.each_has_all()
        for one in self.running:
            reported = one.all("refused")
            wanted = one.client.refused_with
            check(reported == [wanted], f"{one.name} was refused with {reported}, not [{wanted}]")
            for words in one.client.says:
                check(words in one.all("away"), f"{one.name} never printed {words!r}: {one.all('away')}")

    # Parts of the acts.

    def end_streams(self, event=None):
        """Ends the streams, publishes before the clients reconnect, and waits until they have."""
        opened = {one.user: len(one.all("open")) for one in self.running}
        for one in self.running:
            ended = self.server.ask(f"/v1/users/{one.user}/connections", method="DELETE")
            check(ended["ended"] == 1, f"{one.name} had {ended['ended']} connections, not one")
            if event:
                self.publish(one, event)
        self.each("reconnected", lambda one: len(one.all("open")) > opened[one.user])
        self.each_has_all()

    def away(self, how):
        """Publishes while no client can connect: the server that accepts the events has another public port."""
        opened = {one.user: len(one.all("open")) for one in self.running}
        self.server.stop(how)
        self.server.start(self.server.elsewhere)
        self.publish_many([{"data": f"missed {number}"} for number in range(20)])
        self.server.stop()
        self.server.start()
        self.publish_many([{"data": "after the restart"}])
        self.each("reconnected", lambda one: len(one.all("open")) > opened[one.user])
        self.each_has_all()
        replayed = self.server.ask("/v1/stats")["totals"]["replayed"]
        check(replayed >= 20 * len(self.running), f"{replayed} events were replayed, not 20 to each of {len(self.running)}")

    def publish(self, one, event):
        accepted = self.server.ask("/v1/events", {"to": {"user": one.user}, **event})
        self.expect(one, event, accepted["id"])

    def broadcast(self, event):
        accepted = self.server.ask("/v1/events", {"to": {"all": True}, **event})
        for one in self.running:
            self.expect(one, event, accepted["id"])

    def publish_many(self, events):
        """To each, in one batch."""
        self.publish_batch(events, [{"user": one.user} for one in self.running])

    def publish_to_all(self, events):
        """One event for all of them, in one batch."""
        self.publish_batch(events, [{"all": True}])

    def publish_batch(self, events, targets):
        """The response to a batch has no ids, so only their order is checked."""
        lines = [json.dumps({"to": target, **event}) for event in events for target in targets]
        accepted = self.server.ask("/v1/events/batch", "\n".join(lines).encode())
        check(accepted == {"accepted": len(lines), "errors": []}, f"the batch was answered {accepted}")
        for event in events:
            for one in self.running:
                self.expect(one, event, ...)

    def expect(self, one, event, id):
        data = event["data"] if isinstance(event["data"], str) else json.dumps(event["data"], separators=(",", ":"))
        if one.client.transport == "sse":
            # Every line end inside an event becomes \n (WHATWG).
            data = re.sub("\r\n|\r", "\n", data)
        self.expected[one.user].append((event.get("event", "message"), id if event.get("persist", True) else None, data))

    def each_has_all(self):
        self.each("received all events", lambda one: len(one.events()) >= len(self.expected[one.user]))
        for one in self.running:
            judge(one, self.expected[one.user])

    def each(self, what, condition, **limit):
        for one in self.running:
            try:
                wait(f"{one.name}: {what}", lambda: condition(one) or not one.thread.is_alive(), **limit)
                check(condition(one), f"{one.name} ended before: {what}")
            except Failed as reason:
                raise Failed(f"{reason}\n--- its last output\n{one.said()}") from None

    def is_online(self, one):
        return self.server.ask(f"/v1/users/{one.user}")["online"]


def judge(one, expected):
    """Compares received events with those published: names, data, order, number, and ids if known."""
    got = with_ids_before(one)
    for at, (wanted, came) in enumerate(zip(expected, got)):
        name, id, data = wanted
        before = came[3]
        check(came[0] == name, f"{one.name}, event {at}: its name is {came[0]!r}, not {name!r}")
        check(came[2] == data, f"{one.name}, event {at}: its data is {came[2][:200]!r}, not {data[:200]!r}")
        if id is None:
            check(came[1] in ("", before), f"{one.name}, event {at}: its id is {came[1]!r}, but it was sent without one")
            continue
        check(id in (..., came[1]), f"{one.name}, event {at}: its id is {came[1]!r}, not {id!r}")
        check(position(came[1]) > position(before), f"{one.name}, event {at}: id {came[1]!r} after {before!r}")
    check(len(got) == len(expected), f"{one.name} got {len(got)} events, not {len(expected)}; the last: {got[-1][0]} {got[-1][2][:100]!r}")
    beats = {data for _, _, data in one.heartbeats()}
    check(beats <= {"{}"}, f"{one.name}: heartbeats have the data {beats}")
    retries = one.all("retry")
    if one.client.shows_retry:
        opened = one.all("open")
        check(len(retries) >= len(opened), f"{one.name} got {len(retries)} retry fields over {len(opened)} streams")
        check(retries[0] in RETRY_MS, f"{one.name} got retry: {retries[0]}")
    if one.client.reconnects:
        check(one.starts == 1, f"{one.name} was started {one.starts} times")


def with_ids_before(one):
    """Events without heartbeats, each with the id before it, which may be a heartbeat's. Checks that no id decreases."""
    last, events = "", []
    for name, id, data in one.everything():
        if name != "heartbeat":
            events.append((name, id, data, last))
        if id:
            check(position(id) >= position(last), f"{one.name}: {name} has id {id!r} after {last!r}")
            last = id
    return events


def position(id):
    """An id as a pair, for comparison."""
    return tuple(map(int, id.split("-"))) if id else (0, 0)
