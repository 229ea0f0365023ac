"""Simulates hours of a stream in seconds: every peer with every cipher reads the same 10,000 events.

A quiet stream has a heartbeat every 30 s, 120 records per hour, so 10,000 records are three and a half days of it.
Events of one batch share records, and on a busy machine others do as well. The usual number is some 5,000 records, two
days of a quiet stream. With fewer than `MIN_RECORDS`, the test would prove nothing.
"""

import json
import time

from peers import CIPHERS, Peer
from scenes_common import Failed, check
from scenes_server import wait
from stream import Stream
from tls_server import TlsServer

EVENTS = 10_000
# Events with a request each; the rest is sent in batches.
SINGLE = 5_000
BATCH = 500
# An event larger than two records (RFC 8446 §5.1), in the middle of the single ones.
LARGE = SINGLE // 2
LARGE_BYTES = 40_000
MAX_RECORD_BYTES = 16_384
# Events have all these sizes, in leaps.
SIZES = range(0, 1_500)
SIZE_STEP = 611
# Half a day of heartbeats.
MIN_RECORDS = 12 * 120
# The backlog is large enough that no peer is disconnected as slow. One heartbeat per second, so that there are some.
SETTINGS = 'heartbeat = "1s"\nmax_backlog_bytes = "16MiB"'


class Hours:
    def __init__(self, binary, certificate, names):
        self.server = TlsServer(binary, [certificate], SETTINGS)
        self.certificate = certificate
        self.names = names
        self.peers = []
        self.opened = {}
        self.published = 0

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        for peer in self.peers:
            peer.close()
        self.server.__exit__(*reason)

    def play(self, say):
        for act in (self.open, self.single, self.upgrade, self.batches, self.heartbeats, self.drain, self.judge):
            began = time.monotonic()
            act()
            say(f"{act.__doc__} ({time.monotonic() - began:.1f} s)")
        for peer in self.peers:
            say(f"  {peer.name}: {self.published} events in {self.records(peer)} records")

    def open(self):
        """every peer opens its stream with each cipher"""
        self.server.start()
        self.peers = [Peer(name, cipher, self.server, self.certificate) for name in self.names for cipher in CIPHERS]
        self.each("opened", lambda peer: peer.after("event: heartbeat\n"))
        self.opened = {peer.name: len(peer.tap.lengths) for peer in self.peers}

    def single(self):
        """numbered events of all sizes arrive one by one, with one that needs three records"""
        for number in range(SINGLE):
            self.server.ask("/v1/events", event(number))
        self.published = SINGLE
        self.each_has_all()
        for peer in self.peers:
            full = [length for length in peer.tap.lengths if length > MAX_RECORD_BYTES]
            # There may be more, if several small events filled a record together.
            check(len(full) >= LARGE_BYTES // MAX_RECORD_BYTES, f"{peer.name} got {len(full)} full records of the large event")

    def upgrade(self):
        """an upgrade hands all connections over to a new process, with their keys and record numbers"""
        self.server.upgrade()
        last = self.server.ask("/v1/stats")["last_upgrade"]
        moved = (last["connections"], last["lost"])
        check(moved == (len(self.peers), 0), f"{moved[0]} streams moved and {moved[1]} were lost, of {len(self.peers)}")

    def batches(self):
        """more events arrive in batches and share records"""
        before = {peer.name: self.records(peer) for peer in self.peers}
        for start in range(SINGLE, EVENTS, BATCH):
            lines = [json.dumps(event(number)) for number in range(start, start + BATCH)]
            accepted = self.server.ask("/v1/events/batch", "\n".join(lines).encode())
            check(accepted == {"accepted": BATCH, "errors": []}, f"the batch was answered {accepted}")
        self.published = EVENTS
        self.each_has_all()
        for peer in self.peers:
            records = self.records(peer) - before[peer.name]
            check(records < EVENTS - SINGLE, f"{peer.name}: {records} records for {EVENTS - SINGLE} events in batches")

    def heartbeats(self):
        """heartbeats arrive when nothing else does"""
        self.each("a heartbeat after the last event", lambda peer: "event: heartbeat\n" in peer.after(ending(EVENTS - 1)))

    def drain(self):
        """SIGTERM ends every body and every connection properly"""
        self.server.stop()
        self.each("ended", Peer.has_ended)

    def judge(self):
        """every peer received each number once and in order, over TLS 1.3 with its cipher"""
        expected = [json.dumps(event(number)["data"], separators=(",", ":")) for number in range(EVENTS)]
        for peer in self.peers:
            try:
                judge(peer, expected)
            except Failed as reason:
                raise Failed(f"{peer.name}: {reason}\n--- its last messages\n{peer.said.read_text()[-1000:]}") from None
            records = self.records(peer)
            check(records >= MIN_RECORDS, f"{peer.name} received all events in {records} records, too few to stand for hours")
        leaks = self.server.leaks()
        check(not leaks, f"the log contains a token: {leaks[:1]}")

    def records(self, peer):
        """Records since its stream opened."""
        return len(peer.tap.lengths) - self.opened[peer.name]

    def each_has_all(self):
        self.each("has all", lambda peer: peer.after(ending(self.published - 1)))

    def each(self, what, condition):
        for peer in self.peers:
            wait(lambda: f"{peer.name}: {what}\n{peer.said.read_text()[-1000:]}", lambda: condition(peer) or peer.has_ended())
            check(condition(peer), f"{peer.name} ended before: {what}\n{peer.said.read_text()[-1000:]}")


def event(number):
    size = LARGE_BYTES if number == LARGE else SIZES[number * SIZE_STEP % len(SIZES)]
    return {"to": {"all": True}, "data": {"text": "x" * size, "number": number}}


def ending(number):
    return f'"number":{number}}}'


def judge(peer, expected):
    """Compares received events with those published."""
    said = peer.said.read_text()
    check(peer.agreed in said, f"it did not print {peer.agreed!r}")
    check(peer.process.returncode == 0, f"it exited with {peer.process.returncode}")
    check("unexpected eof" not in said, "the connection ended without close_notify")
    check(peer.tap.ended_with_alert(), f"the last record has {peer.tap.lengths[-1]} bytes, so it is not close_notify")
    stream = Stream(peer.printed.read_bytes(), peer.shows_chunks)
    events = [one for one in stream.events if one.name != "heartbeat"]
    for number, (one, data) in enumerate(zip(events, expected)):
        check(one.data == data, f"event {number} is {one.data[-100:]!r}, not {data[-100:]!r}")
    positions = [one.position() for one in events]
    check(positions == sorted(set(positions)), "an id occurs twice, or before a smaller one")
    check(len(events) == len(expected), f"{len(events)} events, not {len(expected)}")
    check(stream.frames[-1].startswith("retry: "), f"the last frame is {stream.frames[-1]!r}, not `retry:`")
