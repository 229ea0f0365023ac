"""The scenes: each is a function whose docstring says what must hold. `scripts/test-nginx` runs them."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

from scenes_common import Failed, check, free_ports, wait
from world import API_KEY, BASE, SECRET, STREAM

# A short read timeout for tests: three heartbeats of the Idlewild in the scenes.
SHORT = ("proxy.conf", r"proxy_read_timeout 75s", "proxy_read_timeout 3s")


def loads(world):
    """nginx -t on every shipped file: both layouts, both upstreams, both syntaxes for HTTP/2, parts in another configuration"""
    new = world.version >= (1, 25, 1)
    for layout in ("idlewild.conf", "idlewild-direct.conf"):
        for upstream in ("unix", "tcp") if layout == "idlewild.conf" else ("unix",):
            for directive in (False, True) if new else (False,):
                world.configure(layout, http2_directive=directive, **({} if layout != "idlewild.conf" else {"upstream": upstream}))
                said = [line for line in world.test_nginx() if "open file resource limit" not in line and "setrlimit" not in line]
                # The syntax that works everywhere causes a deprecation warning in versions that have the newer one.
                expected = new and not directive
                check(all("http2" in line and "deprecated" in line for line in said) and bool(said) == expected,
                      f"{layout}, {upstream}, directive {directive}: {said}")
    world.configure_own()
    said = world.test_nginx()
    check(not said, f"parts in another configuration: {said}")


def guide(world):
    """the guide's curl scenes over TLS: test stream, token, stream, event, over HTTP/1.1 and HTTP/2"""
    world.configure()
    world.start_nginx()
    world.start_idlewild()
    versions = ("--http1.1", "--http2")
    tests = [world.listen(version, world.url(f"{BASE}/sse/test/")) for version in versions]
    for one in tests:
        one.sees(r"(?m)^data: Test message 0 at \d\d:\d\d:\d\d\n\n")
        one.sees(r"(?m)^data: Test message 1 at \d\d:\d\d:\d\d\n\n")
        one.leave()
    for version in versions:
        listener = world.listen(version, "-w", "%{http_version}", world.url() + f"?token={world.token(1)}")
        listener.sees(r"^id: [\d-]+\nretry: \d+\nevent: heartbeat\ndata: \{\}\n\n")
        world.publish({"type": "order_paid", "data": {"id": 7}}, {"user": "1"})
        listener.sees(r'\nid: \d+-\d+\nevent: message\ndata: \{"type":"order_paid","data":\{"id":7\}\}\n\n')
        listener.leave()
    said, _ = world.curl("--http2", "-o", "/dev/null", "-w", "%{http_version}", world.url("/"))
    check(said == "2", f"curl --http2 got HTTP/{said}")
    status, _, body = world.head(world.url())
    check(status == 401 and body == 'event: error\ndata: {"error": "Authentication required"}\n\n', f"no token: {status} {body!r}")
    status, _, body = world.head(world.url("/some/page?x=1"))
    check(status == 200 and json.loads(body)["path"] == "/some/page?x=1", f"Django: {status} {body}")
    check(world.head(world.url("/api/v1/auth/sse/notifications/", world.http, "http"))[0] == 403, "port 80 serves a stream")
    status, fields, _ = world.head(world.url("/page", world.http, "http"))
    check(status == 301 and fields["location"] == ["https://example.com/page"], f"port 80: {status} {fields}")
    check(world.head(f"http://127.0.0.1:{world.status}/healthz")[0] == 200, "healthz")
    check("Active connections" in world.curl(f"http://127.0.0.1:{world.status}/nginx")[0], "stub_status")


def unbuffered(world):
    """an event arrives while the response is open, whole, small or large, over HTTP/1.1 and HTTP/2"""
    large = "x" * 40_000
    for version in ("--http1.1", "--http2"):
        listener = world.listen(version, world.url() + f"?token={world.token(2)}")
        listener.sees("retry: ")
        for n in range(3):
            world.publish({"n": n}, {"user": "2"})
            listener.sees(rf'data: {{"n":{n}}}\n\n')
        world.publish(large, {"user": "2"})
        listener.sees(rf"data: {large}\n\n")
        check(listener.process.poll() is None, "the response ended")
        listener.leave()


def two_in_a_row(world):
    """behind another nginx with default settings, which buffers, the head and each event arrive immediately"""
    port, outer = world.start_outer_nginx()
    listener = world.listen("-i", f"http://127.0.0.1:{port}{STREAM}?token={world.token(12)}")
    listener.sees(r"^HTTP/1\.1 200 [^\0]*?\n\n")
    listener.sees("retry: ")
    for n in range(3):
        world.publish({"n": n}, {"user": "12"})
        listener.sees(rf'data: {{"n":{n}}}\n\n')
    listener.leave()
    world.end(outer)


def compressing(world):
    """behind an nginx that compresses event streams, each event arrives immediately, compressed: it ignores no-transform"""
    port, outer = world.start_outer_nginx("gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_http_version 1.0; gzip_min_length 0;")
    url = f"http://127.0.0.1:{port}{STREAM}?token={world.token(13)}"
    listener = world.listen("-i", "--compressed", url)
    head = listener.sees(r"^HTTP/1\.1 200 [^\0]*?\n\n").group().lower()
    check("\ncontent-encoding: gzip\n" in head, f"not compressed: {head}")
    listener.sees("retry: ")
    for n in range(3):
        world.publish({"n": n}, {"user": "13"})
        listener.sees(rf'data: {{"n":{n}}}\n\n')
    listener.leave()
    # Other proxies obey it, so it has to be there.
    _, direct, _ = world.head("--unix-socket", str(world.socket), "--max-time", "2", "-H", f"Authorization: Bearer {world.token(13)}", f"http://example.com{STREAM}")
    _, proxied, _ = world.head("--max-time", "2", url)
    check(proxied["cache-control"] == direct["cache-control"] == ["no-cache, no-transform"],
          f"Cache-Control: {proxied['cache-control']}, and {direct['cache-control']} without nginx")
    world.end(outer)


def own_compression(world):
    """a site that compresses its own event streams does not compress Idlewild's: `gzip off` in proxy.conf wins"""
    world.stop_nginx()
    world.configure(change=[("http.conf", r"\Z", "gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 0;\n")])
    world.start_nginx()
    for version in ("--http1.1", "--http2"):
        listener = world.listen(version, "-i", "--compressed", world.url() + f"?token={world.token(14)}")
        head = listener.sees(r"^HTTP/[^\0]*?\n\n").group().lower()
        check("content-encoding" not in head, f"compressed: {head}")
        world.publish({"n": 1}, {"user": "14"})
        listener.sees(r'data: {"n":1}\n\n')
        listener.leave()
    world.stop_nginx()
    world.configure()
    world.start_nginx()


def compressed_streams(world):
    """Idlewild's compressed streams pass through one nginx and through two, event by event, and end with a valid trailer"""
    world.end(world.idlewild)
    world.start_idlewild("[compression]\nenabled = true")
    port, outer = world.start_outer_nginx("proxy_http_version 1.1; proxy_buffering off;")
    token = f"?token={world.token(15)}"
    urls = {"--http1.1": world.url() + token, "--http2": world.url() + token, "-4": f"http://127.0.0.1:{port}{STREAM}{token}"}
    listeners = [world.listen(option, "-i", "--compressed", url) for option, url in urls.items()]
    for one in listeners:
        head = one.sees(r"^HTTP/[^\0]*?\n\n").group().lower()
        check("\ncontent-encoding: gzip\n" in head and "\nvary: accept-encoding\n" in head, f"not compressed: {head}")
    for n in (1, 100, 5_000):
        world.publish({"n": [n] * n}, {"user": "15"})
        for one in listeners:
            one.sees(rf'data: {{"n":\[{n}[^]]*\]}}\n\n')
    world.end(world.idlewild)
    # curl checks the trailer.
    statuses = [one.ended(5) for one in listeners]
    check(statuses == [0, 0, 0], f"curl exited with {statuses}: the streams did not end properly")
    world.end(outer)
    world.start_idlewild()


def untouched(world):
    """OPTIONS, CORS and every header of Idlewild pass unchanged"""
    own = {"server", "date", "strict-transport-security", "connection", "transfer-encoding", "keep-alive"}

    def fields(via, *args):
        if via == "nginx":
            status, got, body = world.head("--http1.1", *args, world.url())
        else:
            status, got, body = world.head("--unix-socket", str(world.socket), *args, f"http://example.com{STREAM}")
        return status, {name: value for name, value in got.items() if name not in own}, body

    origin = ["-H", "Origin: https://app.example.com"]
    preflight = ["-X", "OPTIONS", *origin, "-H", "Access-Control-Request-Method: GET", "-H", "Access-Control-Request-Headers: authorization, last-event-id"]
    for args in (preflight, origin, [*origin, "-H", "Authorization: Bearer nonsense"], ["-X", "DELETE"]):
        direct, proxied = fields("direct", *args), fields("nginx", *args)
        check(direct == proxied, f"{args}: {proxied}, and {direct} without nginx")
    check(proxied[0] == 405 and fields("nginx", *preflight)[0] == 204, "a preflight is not 204")
    stream = [*origin, "--max-time", "2", "-H", f"Authorization: Bearer {world.token(3)}"]
    direct, proxied = fields("direct", *stream), fields("nginx", *stream)
    check(direct[:2] == proxied[:2] and direct[0] == 200, f"a stream's head: {proxied[:2]}, and {direct[:2]} without nginx")


def heartbeats(world):
    """heartbeats keep a stream open beyond proxy_read_timeout; without them it is cut"""
    world.stop_nginx()
    world.configure(change=[SHORT])
    world.start_nginx()
    kept = [world.listen(version, world.url() + f"?token={world.token(4)}") for version in ("--http1.1", "--http2")]
    for one in kept:
        one.sees(r"(id: [\d-]+\nevent: heartbeat\ndata: \{\}\n\n){4}", 8)
        check(one.process.poll() is None, "cut")
        one.leave()
    world.end(world.idlewild)
    world.start_idlewild('heartbeat = "30s"')
    silent = world.listen("--http1.1", world.url() + f"?token={world.token(4)}")
    status = silent.ended(6)
    check(status == 18, f"without heartbeats, curl exited with {status}, not 18 (cut short)")
    world.end(world.idlewild)
    world.start_idlewild()


def disconnects(world):
    """Idlewild notices within a second when a client leaves, over HTTP/1.1 and HTTP/2"""
    # Without heartbeats, because a failed heartbeat would reveal it, too.
    world.end(world.idlewild)
    world.start_idlewild('heartbeat = "30s"')
    gone = 'idlewild_disconnects_total{reason="client_closed"}'
    for version in ("--http1.1", "--http2"):
        listener = world.listen(version, world.url() + f"?token={world.token(5)}")
        listener.sees("retry: ")
        before = world.metric(gone)
        listener.leave()
        wait(f"the disconnect ({version})", lambda: world.metric(gone) > before, 1)
    world.end(world.idlewild)
    world.start_idlewild()


def addresses(world):
    """Idlewild sees the client's address; X-Forwarded-For and X-Real-IP of a client are ignored"""
    for version, extra in (("--http1.1", []), ("--http2", ["-H", "X-Forwarded-For: 6.6.6.6", "-H", "X-Real-IP: 6.6.6.6"])):
        listener = world.listen(version, "--interface", "127.0.0.7", *extra, world.url() + f"?token={world.token(6)}")
        listener.sees("retry: ")
        remote = world.remote(6)
        listener.leave()
        check(remote == ["127.0.0.7"], f"presence shows {remote}")
        wait("the client leaves", lambda: not world.remote(6))


def websocket(world):
    """an upgrade reaches the upstream as such, and only an upgrade; the headers that Idlewild needs pass"""
    world.end(world.idlewild)
    stub = socket.socket(socket.AF_UNIX)
    world.socket.unlink(missing_ok=True)
    stub.bind(str(world.socket))
    world.socket.chmod(0o660)
    world.share_socket()
    stub.listen()
    heads = []

    def serve():
        while True:
            try:
                one, _ = stub.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += one.recv(4096)
            heads.append(head.decode())
            if b"upgrade: websocket" in head.lower():
                one.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi")
                one.recv(100)
            else:
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            one.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    upgrade = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    common = "Host: example.com\r\nCookie: access_token=abc\r\nLast-Event-ID: 1-1\r\nOrigin: https://a.example\r\nX-Forwarded-For: 6.6.6.6\r\nReferer: x\r\n"

    def send(path, more):
        with socket.create_connection(("127.0.0.1", world.plain), timeout=5) as one:
            one.sendall(f"GET {path} HTTP/1.1\r\n{common}{more}\r\n".encode())
            got = one.recv(4096)
            if got.startswith(b"HTTP/1.1 101") and not got.endswith(b"hi"):
                got += one.recv(100)
            return got, heads[-1]

    try:
        for path in (f"{BASE}/ws/notifications/?token=a.b.c", "/ws/notifications/?token=a.b.c",
                     f"{BASE}/ws/notifications?token=a.b.c", "/ws/notifications?token=a.b.c"):
            got, head = send(path, upgrade)
            check(got.startswith(b"HTTP/1.1 101") and got.endswith(b"\x81\x02hi"), f"{path}: {got}")
            check(head.startswith(f"GET {path} HTTP/1.1\r\n") and "\r\nUpgrade: websocket\r\n" in head and "\r\nConnection: upgrade\r\n" in head
                  and "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" in head, head)
            _, head = send(path, "")
            check("pgrade" not in head and "Connection" not in head, f"an upgrade without a request for one: {head}")
        _, head = send(f"{STREAM}?token=a.b.c", upgrade)
        check("\r\nUpgrade" not in head and "\r\nConnection" not in head, f"a stream's request: {head}")
        for line in ("Cookie: access_token=abc", "Last-Event-ID: 1-1", "Origin: https://a.example", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1"):
            check(f"\r\n{line}\r\n" in head, f"no `{line}` in {head}")
        check("6.6.6.6" not in head, head)
    finally:
        stub.shutdown(socket.SHUT_RDWR)
        stub.close()
        thread.join(5)
    world.start_idlewild()


def websocket_live(world):
    """WebSocket over TLS at both addresses: events, a refusal's 4001, the cookie for pages of the same host, pings past the read timeout, 426 without an upgrade, 1001 at a drain"""
    world.stop_nginx()
    world.configure(change=[SHORT])
    world.start_nginx()
    held = [WebSocket(world, f"{path}?token={world.token(20)}", source="127.0.0.7") for path in (f"{BASE}/ws/notifications/", "/ws/notifications/")]
    for one in held:
        check(one.head.startswith("HTTP/1.1 101 ") and "\r\nupgrade: websocket\r\n" in one.head.lower(), f"the handshake: {one.head!r}")
        check(one.message()["event"] == "open", "the first message is not `open`")
    check(world.remote(20) == ["127.0.0.7"] * 2, f"presence says {world.remote(20)}")
    for data in ({"n": 1}, "x" * 40_000):
        world.publish(data, {"user": "20"})
        for one in held:
            check((got := one.message())["data"] == data, f"{str(got)[:200]} for {str(data)[:50]}")
    # From now on, only heartbeats and the answers to their pings are sent.
    for one in held:
        beats = [one.message() for _ in range(5)]
        check([beat["event"] for beat in beats] == ["heartbeat"] * 5 and one.pings >= 5, f"{beats}, {one.pings} pings")
    refused = WebSocket(world, "/ws/notifications/?token=bad")
    check(refused.end() == (4001, "Authentication required"), "a bad token")
    refused.close()
    for origin, status in (("https://example.com", 101), ("https://evil.example", 403)):
        visitor = WebSocket(world, "/ws/notifications/", more=f"Cookie: access_token={world.token(22)}\r\nOrigin: {origin}\r\n")
        check(visitor.head.startswith(f"HTTP/1.1 {status} "), f"the cookie from a page of {origin}: {visitor.head!r}")
        visitor.close()
    for version, has_upgrade in (("--http1.1", True), ("--http2", False)):
        status, fields, body = world.head(version, world.url(f"/ws/notifications/?token={world.token(20)}"))
        check(status == 426 and json.loads(body) == {"error": "Upgrade to WebSocket over HTTP/1.1"} and ("upgrade" in fields) == has_upgrade,
              f"{version} without an upgrade: {status} {fields} {body!r}")
    gone = 'idlewild_disconnects_total{reason="client_closed"}'
    before = world.metric(gone)
    left = WebSocket(world, f"/ws/notifications/?token={world.token(21)}")
    left.message()
    left.close()
    wait("the disconnect", lambda: world.metric(gone) > before, 1)
    drain_of(world, held)
    away = WebSocket(world, "/ws/notifications/?token=a.b.c")
    check(away.head.startswith("HTTP/1.1 503 ") and "\r\nRetry-After: 6\r\n" in away.head, f"down: {away.head!r}")
    away.close()
    world.start_idlewild()


class WebSocket:
    """A WebSocket client over TLS that answers pings. `head` is the response to its handshake."""

    def __init__(self, world, path, source="127.0.0.1", port=None, name="example.com", more=""):
        trust = ssl.create_default_context(cafile=world.work / "fullchain.pem")
        # Browsers offer only this for a WebSocket.
        trust.set_alpn_protocols(["http/1.1"])
        plain = socket.create_connection(("127.0.0.1", port or world.tls), source_address=(source, 0), timeout=10)
        self.socket = trust.wrap_socket(plain, server_hostname=name)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n".encode())
        self.file = self.socket.makefile("rb")
        lines = []
        while (line := self.file.readline()) not in (b"\r\n", b""):
            lines.append(line.decode())
        self.head = "".join(lines) + "\r\n"
        self.pings = 0

    def frame(self):
        """The next frame's opcode and payload."""
        try:
            first, length = self.file.read(2)
            check(first & 0x80 and not length & 0x80, "a frame that is fragmented or masked")
            if length > 125:
                length = int.from_bytes(self.file.read(2 if length == 126 else 8))
            return first & 0x0F, self.file.read(length)
        except (OSError, ValueError) as error:
            raise Failed(f"a WebSocket ended without a close frame: {error!r}") from None

    def message(self):
        """The next message. Answers the pings before it."""
        while True:
            opcode, payload = self.frame()
            if opcode == 0x1:
                return json.loads(payload)
            check(opcode == 0x9, f"a frame with opcode {opcode}, {payload!r}")
            self.pings += 1
            # Masked with zeros, which leave the payload unchanged.
            self.socket.sendall(bytes([0x8A, 0x80 | len(payload), 0, 0, 0, 0]) + payload)

    def end(self):
        """The code and the reason of the server's close frame. Skips the frames before it."""
        while True:
            opcode, payload = self.frame()
            if opcode == 0x8:
                self.socket.sendall(bytes([0x88, 0x82, 0, 0, 0, 0]) + payload[:2])
                check(self.file.read() == b"", "bytes after the close frame")
                return int.from_bytes(payload[:2]), payload[2:].decode()

    def close(self):
        self.file.close()
        self.socket.close()


def drain_of(world, websockets):
    """Drains Idlewild while these clients are connected. They answer its close frames, for which it waits."""
    world.idlewild.send_signal(signal.SIGTERM)
    for one in websockets:
        check((how := one.end()) == (1001, "Going away"), f"drained with {how}")
        one.close()
    wait("Idlewild's end", lambda: world.idlewild.poll() is not None)
    check(world.idlewild.returncode == 0, f"Idlewild ended with {world.idlewild.returncode}")
    world.end(world.idlewild)


def limits(world):
    """over limit_conn and limit_req, a client gets 429 in Idlewild's format; other addresses and preflights do not"""
    world.stop_nginx()
    world.configure()
    world.start_nginx()
    shape = 'event: error\ndata: {"error": "Too many connections"}\n\n'
    held, heads = world.hold(range(1000, 1500), "127.0.0.9")
    check(set(heads) == {200}, f"500 streams from one address: {set(heads)}")
    time.sleep(1)    # until the limit on handshakes has room again
    args = ["--http1.1", "--interface", "127.0.0.9", "-H", "Origin: https://a.example"]
    status, fields, body = world.head(*args, world.url() + f"?token={world.token(1500)}")
    check(status == 429 and body == shape and fields["content-type"] == ["text/event-stream"] and fields["retry-after"] == ["6"]
          and fields["access-control-allow-origin"] == ["*"], f"the 501st: {status} {fields} {body!r}")
    check(world.head(*args, "-X", "OPTIONS", world.url())[0] == 204, "a preflight was counted")
    listener = world.listen("--http1.1", "--interface", "127.0.0.10", world.url() + f"?token={world.token(1500)}")
    listener.sees("retry: ")
    listener.leave()
    for one in held:
        one.close()
    # 1,200 requests on one connection, faster than 50 per second.
    printed, _ = world.curl("--http1.1", "--interface", "127.0.0.11", "-o", "/dev/null", "-w", "%{http_code}\n", world.url() + "?n=[1-1200]")
    codes = printed.split()
    check(codes[:500] == ["401"] * 500 and "429" in codes, f"handshakes: {sorted(set(codes))}, {codes[:500].count('401')} of the first 500 passed")


def crowd(world):
    """9,000 streams through the unix socket: all are open, and an event to all reaches all"""
    world.end(world.idlewild)
    world.start_idlewild('heartbeat = "30s"')
    # Enough addresses to keep each below the limits per address.
    sources = [arg for n in range(30) for arg in ("--source", f"127.0.1.{n + 1}")]
    said = Load(world, "broadcast", "-n", "9000", "--events", "2", "--rate", "1", "--rounds", "1", "--in-flight", "64", *sources).finish(60)
    check(said["connected"] == 9000 and said["received"] == said["expected"] == 18000, f"{said}")
    world.end(world.idlewild)
    world.start_idlewild()


class Load:
    """idlewild-load, running in the background."""

    def __init__(self, world, *args):
        self.world, self.json = world, world.work / "load.json"
        (world.work / "secret").write_text(SECRET)
        (world.work / "key").write_text(API_KEY)
        self.process = world.start(
            [str(world.binary.with_name("idlewild-load")), *args, "--url", f"http://127.0.0.1:{world.plain}", "--admin-url", f"http://127.0.0.1:{world.admin}",
             "--api-key-file", str(world.work / "key"), "--secret-file", str(world.work / "secret"), "--json", str(self.json)], "load.out")

    def finish(self, seconds):
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"idlewild-load did not end within {seconds} s") from None
        self.world.processes.remove(self.process)
        check(status == 0, f"idlewild-load exited with {status}: {(self.world.logs / 'load.out').read_text()}")
        return json.loads(self.json.read_text())


def read_to(one, end, seconds):
    """Reads a socket up to the bytes `end`, or up to its end if they are empty."""
    tail = b""
    one.settimeout(seconds)
    while not (end and tail.endswith(end)):
        try:
            more = one.recv(65536)
        except TimeoutError:
            raise Failed(f"a stream was still open after {seconds} s") from None
        except ConnectionResetError:
            more = b""
        if not more:
            check(not end, f"a stream ended with {tail!r}")
            return
        tail = (tail + more)[-64:]


def alive(held):
    """The number of open connections. Discards buffered data."""
    count = 0
    for one in held:
        one.setblocking(False)
        try:
            while one.recv(65536):
                pass
        except BlockingIOError:
            count += 1
        one.setblocking(True)
    return count


def reload(world):
    """a reload under load cuts no stream; worker_shutdown_timeout ends those of the old workers"""
    world.stop_nginx()
    world.configure(change=[("workers.conf", r"worker_shutdown_timeout 30m", "worker_shutdown_timeout 12s")])
    world.start_nginx()
    running = Load(world, "broadcast", "-n", "2000", "--events", "12", "--rate", "4", "--rounds", "1", "--in-flight", "32",
                   *[arg for n in range(8) for arg in ("--source", f"127.0.2.{n + 1}")])
    held, _ = world.hold(range(100, 200), "127.0.2.100")
    listeners = [world.listen(version, world.url() + f"?token={world.token(7)}") for version in ("--http1.1", "--http2")]
    for one in listeners:
        one.sees("retry: ")
    wait("all clients of idlewild-load are connected", lambda: world.metric("idlewild_connections") >= 2102, 20)
    old = set(world.workers())
    world.server.send_signal(signal.SIGHUP)
    began = time.monotonic()
    wait("new workers", lambda: (new := set(world.workers())) and not new & old)
    newcomer = world.listen("--http2", world.url() + f"?token={world.token(8)}")
    newcomer.sees("retry: ")
    world.publish({"after": "the reload"})
    for one in (*listeners, newcomer):
        one.sees("after")
    said = running.finish(20)
    check(said["lost"] == 0 and said["received"] == said["expected"] == 24000, f"{said}")
    check(alive(held) == 100, "the reload cut a stream")
    check(time.monotonic() - began < 11.5, "the machine is too slow for this scene")
    for one in held:
        read_to(one, b"", 13)
        one.close()
    statuses = [one.ended(3) for one in listeners]
    check(0 not in statuses, f"a cut stream looked complete: curl exited with {statuses}")
    wait("the old workers' end", lambda: not any(os.path.exists(f"/proc/{one}") for one in old))
    check(newcomer.process.poll() is None, "a stream of a new worker was cut")
    newcomer.leave()


def drain(world):
    """a shutdown of Idlewild ends every stream properly through nginx; then clients get 503; after its start, streams work again"""
    held, _ = world.hold(range(2000, 2400), "127.0.3.1")
    listeners = [world.listen(version, world.url() + f"?token={world.token(9)}") for version in ("--http1.1", "--http2")]
    for one in listeners:
        one.sees("retry: ")
    world.end(world.idlewild)
    check(world.idlewild.returncode == 0, f"Idlewild exited with {world.idlewild.returncode}")
    statuses = [one.ended(5) for one in listeners]
    check(statuses == [0, 0], f"curl exited with {statuses}: the streams did not end properly")
    for one in held:
        # nginx keeps the client's connection open, so the client reconnects without a handshake.
        read_to(one, b"\r\n0\r\n\r\n", 5)
        one.close()
    shape = 'event: error\ndata: {"error": "Unavailable"}\n\n'
    for version in ("--http1.1", "--http2"):
        status, fields, body = world.head(version, world.url() + f"?token={world.token(9)}")
        check(status == 503 and fields["retry-after"] == ["6"] and fields["content-type"] == ["text/event-stream"] and body == shape, f"down: {status} {fields} {body!r}")
    check(world.head(world.url("/"))[0] == 200, "the page is down, too")
    world.start_idlewild()
    held, heads = world.hold(range(2000, 2400), "127.0.3.2")
    check(set(heads) == {200}, f"after the start: {set(heads)}")
    for one in held:
        one.close()


def logs(world):
    """no token in any log, from query, header or cookie, with Idlewild up, silent, refusing, unreachable or gone, and over the limits"""
    world.stop_nginx()
    impatient = ("proxy.conf", r"proxy_read_timeout 75s", "proxy_read_timeout 1s")
    world.configure(change=[impatient])
    world.start_nginx()

    def ask(expected, state):
        token = world.token(10)
        asked = [
            world.start(world.curl_command("-o", "/dev/null", "-w", "%{http_code}", "--max-time", "3", version, *args),
                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for args in ([f"{world.url()}?token={token}"], [f"{world.url()}?topic=a&token={token}&ticket={token}"],
                         ["-H", f"Authorization: Bearer {token}", world.url()], ["-b", f"access_token={token}", world.url()],
                         ["-e", f"https://example.com/page?token={token}", f"{world.url()}?token={token}"],
                         [f"{world.url('//api/v1/auth//sse/notifications')}?token={token}"], [f"{world.url('/page')}?token={token}"])
            for version in ("--http1.1", "--http2")]
        statuses = {int(one.communicate()[0]) for one in asked}
        for one in asked:
            world.processes.remove(one)
        check(statuses <= expected, f"{state}: {statuses}")

    ask({200, 401, 403, 404, 429}, "up")
    world.idlewild.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    ask({200, 503}, "silent")
    world.idlewild.send_signal(signal.SIGCONT)
    world.end(world.idlewild, signal.SIGKILL)
    ask({200, 503}, "refusing")
    world.socket.chmod(0)
    ask({200, 503}, "unreachable")
    world.socket.unlink()
    ask({200, 503}, "gone")
    world.start_idlewild()
    world.stop_nginx()
    scarce = [("http.conf", r"rate=50r/s", "rate=1r/s"), ("proxy.conf", r" burst=500 nodelay", "")]
    world.configure(change=[impatient, *scarce])
    world.start_nginx()
    ask({200, 401, 403, 404, 429}, "limited")
    log = (world.logs / "access.log").read_text()
    for upstream in ("502", "504"):
        check(f"upstream={upstream}" in log, f"the access log does not show upstream={upstream}")
    check(f'"GET {STREAM} HTTP/2.0" 200' in log and " 429 " in log, "the access log lacks the requests")
    check((world.logs / "error.log").exists(), "no error log")
    # Our parts in a configuration that logs queries: the 429 and 503 of nginx itself come from our parts, too.
    world.stop_nginx()
    world.configure_own(change=scarce)
    world.start_nginx()
    url = f"{world.url(port=world.plain, scheme='http')}?token={world.token(10)}&topic=a"
    statuses = [world.head("--max-time", "2", url)[0] for _ in range(2)]
    world.end(world.idlewild)
    time.sleep(1)    # until the limit on handshakes has room again
    statuses.append(world.head("--max-time", "2", url)[0])
    check(statuses == [403, 429, 503], f"in another configuration: {statuses}")
    world.start_idlewild()


def several(world):
    """the TCP upstream: streams spread over two servers, from two addresses; a dead server is skipped"""
    world.stop_nginx()
    world.end(world.idlewild)
    ports = free_ports(4)
    trusted = 'trusted_proxies = ["127.0.0.2/31"]'
    servers = [world.start_idlewild(trusted, f'["127.0.0.1:{ports[n]}"]', ports[n + 2], f"idlewild-{n}.out") for n in (0, 1)]
    world.configure(upstream="tcp", change=[
        ("upstream-tcp.conf", r"10\.0\.0\.11:8000", f"127.0.0.1:{ports[0]}"), ("upstream-tcp.conf", r"10\.0\.0\.12:8000", f"127.0.0.1:{ports[1]}"),
        ("upstream-tcp.conf", r"10\.0\.0\.2", "127.0.0.2"), ("upstream-tcp.conf", r"10\.0\.0\.3", "127.0.0.3")])
    world.start_nginx()
    held, heads = world.hold(range(3000, 3200), "127.0.0.8")
    check(set(heads) == {200}, f"{set(heads)}")
    counts = [world.metric("idlewild_connections", ports[n + 2]) for n in (0, 1)]
    check(counts == [100, 100], f"least_conn gave {counts}")
    # With the address, because a client's own port may have this number.
    connections = subprocess.run(["ss", "-Htn", "state", "established", "dst", f"127.0.0.1:{ports[0]}"], capture_output=True, text=True, check=True).stdout
    # ss omits the state, because it is the filter, so the local address is the third column.
    sources = {line.split()[2].rsplit(":", 1)[0] for line in connections.splitlines()}
    check(sources == {"127.0.0.2", "127.0.0.3"}, f"connections to a server come from {sources}")
    remote = world.remote(3000, ports[2]) or world.remote(3000, ports[3])
    check(remote == ["127.0.0.8"], f"presence shows {remote}")
    world.end(servers[0], signal.SIGKILL)
    held_now, heads = world.hold(range(3200, 3240), "127.0.0.8")
    check(heads.count(503) <= 4 and heads.count(200) >= 36, f"with a dead server: {heads}")
    for one in (*held, *held_now):
        one.close()
    world.end(servers[1])
    world.stop_nginx()


def direct(world):
    """layout B: the page through nginx, streams directly to Idlewild with the client's address in a PROXY header"""
    # A version without PROXY headers refuses this with a line that says so.
    world.start_idlewild(f'proxy_protocol = ["unix:{world.socket}"]\nmax_handshakes = 4096\nmax_connections = 12000')
    world.configure("idlewild-direct.conf")
    world.start_nginx()
    url = f"https://stream.example.com:{world.stream}{STREAM}"
    listener = world.listen("--http1.1", "--interface", "127.0.0.7", "-H", "X-Forwarded-For: 6.6.6.6", url + f"?token={world.token(11)}")
    listener.sees("retry: ")
    remote = world.remote(11)
    check(remote == ["127.0.0.7"], f"presence shows {remote}")
    world.publish({"n": 1})
    listener.sees('data: {"n":1}')
    gone = 'idlewild_disconnects_total{reason="client_closed"}'
    before = world.metric(gone)
    listener.leave()
    wait("the disconnect", lambda: world.metric(gone) > before, 1)
    check(world.head(world.url("/page"))[0] == 200, "the page")
    over_websocket = WebSocket(world, f"{BASE}/ws/notifications/?token={world.token(11)}", "127.0.0.7", world.stream, "stream.example.com")
    check(over_websocket.message()["event"] == "open" and world.remote(11) == ["127.0.0.7"], "a WebSocket")
    other = world.listen("--http1.1", url + f"?token={world.token(11)}")
    other.sees("retry: ")
    drain_of(world, [over_websocket])
    check(other.ended(5) == 0, "the stream's end")
    world.stop_nginx()


# In this order: a scene may use the nginx and the Idlewild of the previous one.
SCENES = [loads, guide, unbuffered, two_in_a_row, compressing, own_compression, compressed_streams, untouched, heartbeats, disconnects, addresses, websocket, websocket_live, limits, crowd, reload, drain, logs, several, direct]
