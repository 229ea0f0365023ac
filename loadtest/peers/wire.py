"""Counts the bytes that one client of a server receives for an event of 1 KiB of JSON: the stream's framing, names, ids and
transfer coding included, the headers of TCP and IP not. Writes the figure as JSON, like a scenario of idlewild-load.

It connects and publishes as the server's template says, and waits until nothing more arrives. The figure is the median of
several events, each complete.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import socket
import statistics
import sys
import time
import tomllib
import urllib.parse
import zlib

EVENTS = 5
EVENT_BYTES = 1024
# An event has arrived if nothing has followed for this time.
SILENCE_S = 0.4
TIMEOUT_S = 10


def main():
    options = arguments()
    with open(options.template, "rb") as file:
        template = tomllib.load(file)
    stream = subscribe(template, options)
    read(stream)  # what a stream begins with
    counts = []
    for number in range(EVENTS):
        before = len(stream.received)
        publish(template["publish"], event(number), options)
        read(stream)
        counts.append(len(stream.received) - before)
        if f'"number":{number}' not in stream.text().replace(": ", ":"):
            sys.exit(f"wire.py: event {number} did not arrive: {bytes(stream.received)!r}")
    with open(options.json, "w", encoding="utf-8") as file:
        figures = {"scenario": "wire", "subject": template["name"], "connections": 1, "connected": 1}
        figures |= {"event_bytes": EVENT_BYTES, "wire_bytes_per_delivery": statistics.median(counts)}
        json.dump(figures | {"problems": []}, file)


def arguments():
    parser = argparse.ArgumentParser(description="Bytes that a client receives for an event of 1 KiB.")
    parser.add_argument("template", help="a template of loadtest/peers")
    parser.add_argument("--url", required=True, help="host:port for clients")
    parser.add_argument("--admin-url", required=True, help="host:port for publishers")
    parser.add_argument("--secret-file", required=True, help="signs the client's token")
    parser.add_argument("--api-key-file")
    parser.add_argument("--path", help="the stream's path, if it is not the template's")
    parser.add_argument("--ws", action="store_true", help="over WebSocket")
    parser.add_argument("--gzip", action="store_true", help="accept gzip, and require it")
    parser.add_argument("--json", required=True, help="the file to write")
    return parser.parse_args()


def event(number):
    """An order with thirteen lines, as an application might send. The codes in it do not compress."""
    lines = []
    for line in range(13):
        code = hashlib.sha256(f"{number} {line}".encode()).hexdigest()[:10]
        lines.append({"sku": code, "name": f"Article {line + 1}", "quantity": line % 4 + 1, "price": f"{line * 7 + 9}.90"})
    order = {"number": number, "type": "order.shipped", "carrier": "Example Post", "lines": lines, "note": ""}
    missing = EVENT_BYTES - len(json.dumps(order, separators=(",", ":")))
    note = "Thank you for your order. It has left our warehouse today and will be with you in two or three working days. "
    order["note"] = note[:missing]
    text = json.dumps(order, separators=(",", ":"))
    assert len(text) == EVENT_BYTES, len(text)
    return text


class Stream:
    """A client's connection: what it has received after the head of the response."""

    def __init__(self, connection, options):
        self.connection = connection
        self.received = bytearray()
        while b"\r\n\r\n" not in self.received:
            part = connection.recv(65536)
            if not part:
                sys.exit(f"wire.py: closed by the server: {bytes(self.received)!r}")
            self.received += part
        head, _, rest = bytes(self.received).partition(b"\r\n\r\n")
        self.received = bytearray(rest)
        status, self.head = head.split(b" ")[1], head.lower()
        if status != (b"101" if options.ws else b"200"):
            sys.exit(f"wire.py: refused: {head!r}")
        self.zipped = b"content-encoding: gzip" in self.head
        if self.zipped != options.gzip:
            sys.exit(f"wire.py: gzip {options.gzip} was wanted: {head!r}")

    def text(self):
        """Everything received, without the transfer and content codings."""
        body = bytes(self.received)
        if b"transfer-encoding: chunked" in self.head:
            body = b"".join(chunks(body))
        if self.zipped:
            body = zlib.decompressobj(wbits=31).decompress(body)
        return body.decode(errors="replace")


def chunks(body):
    while body:
        size, _, body = body.partition(b"\r\n")
        yield body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]


def subscribe(template, options):
    way = template["websocket" if options.ws else "subscribe"]
    path = (options.path or way["path"]).replace("${user}", "0").replace("${number}", "0")
    path += ("&" if "?" in path else "?") + "token=" + token(options.secret_file)
    headers = {"Host": options.url} | way.get("headers", {})
    if options.ws:
        key = base64.b64encode(os.urandom(16)).decode()
        headers |= {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        headers["Sec-WebSocket-Key"] = key
    else:
        headers["Accept"] = "text/event-stream"
    if options.gzip:
        headers["Accept-Encoding"] = "gzip"
    return Stream(request(options.url, "GET", path, headers, b""), options)


def publish(way, data, options):
    key = ""
    if options.api_key_file:
        with open(options.api_key_file, encoding="utf-8") as file:
            key = file.read().strip()
    values = {
        "${data}": data,
        "${data_form}": urllib.parse.quote(data, safe=""),
        "${sse_json}": json.dumps(f"data: {data}\n\n"),
        "${key}": key,
    }

    def filled(text):
        for name, value in values.items():
            text = text.replace(name, value)
        return text

    body = filled(way["body"]).encode()
    headers = {name: filled(value) for name, value in way.get("headers", {}).items()}
    headers |= {"Host": options.admin_url, "Content-Length": str(len(body)), "Connection": "close"}
    with request(options.admin_url, way.get("method", "POST"), filled(way["path"]), headers, body) as connection:
        status = connection.recv(65536).split(b" ")[1]
    if int(status) not in way.get("status", [200, 201, 202, 204]):
        sys.exit(f"wire.py: the event was refused with {status.decode()}")


def request(address, method, path, headers, body):
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
    lines = [f"{method} {path} HTTP/1.1"] + [f"{name}: {value}" for name, value in headers.items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return connection


def read(stream):
    stream.connection.settimeout(SILENCE_S)
    try:
        while part := stream.connection.recv(65536):
            stream.received += part
        sys.exit("wire.py: the server has ended the stream")
    except TimeoutError:
        pass


def token(secret_file):
    with open(secret_file, "rb") as file:
        secret = file.read().rstrip(b"\r\n")
    now = int(time.time())
    claims = {"user_id": 0, "token_type": "access", "iat": now, "exp": now + 3600}
    signed = b".".join(url_safe(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (signed + b"." + url_safe(hmac.digest(secret, signed, "sha256"))).decode()


def url_safe(text):
    return base64.urlsafe_b64encode(text).rstrip(b"=")


if __name__ == "__main__":
    main()
