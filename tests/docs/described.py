#!/usr/bin/env python3
"""described.py IDLEWILD DOCUMENT: sends requests to a real public listener. Each response must be one that the OpenAPI
document has for its operation, and each body, event and message must match its schema. Every operation of the
document gets a request."""

import http.client
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

from jsonschema import Draft202012Validator

from server import KEY, TIMEOUT_S, Failed, Server

BASE = "/api/v1/auth"
STREAM = f"{BASE}/sse/notifications/"
STREAMS_PER_USER = 5
ACCOUNT = {"email": "user@example.com", "password": "password"}
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}


class Stream:
    """An open response that is a stream, or the body of a refusal."""

    def __init__(self, document, connection, response, schema):
        self.document, self.connection, self.response, self.schema = document, connection, response, schema

    def event(self):
        """The next event, checked; None at the end."""
        block = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, value = line.split(": ", 1)
            block[name] = int(value) if name == "retry" else "\n".join(filter(None, [block.get(name), value]))
        if not block:
            return None
        self.document.check(block, self.schema, "event")
        return block


class Socket:
    """An upgraded connection."""

    TEXT, CLOSE, PING = 1, 8, 9

    def __init__(self, document, connection, response, schema):
        self.document, self.connection, self.source, self.schema = document, connection, response.fp, schema

    def message(self):
        """The next message, checked; the code, checked, if the server closes."""
        kind, payload = self.frame()
        while kind == self.PING:
            kind, payload = self.frame()
        if kind == self.CLOSE:
            code = int.from_bytes(payload[:2], "big")
            self.document.check(code, {"$ref": "#/components/schemas/CloseCode"}, "close code")
            return code
        message = json.loads(payload)
        self.document.check(message, self.schema, "message")
        return message

    def frame(self):
        first, length = self.source.read(2)
        if length == 126:  # two more bytes follow; no message here needs eight
            length = int.from_bytes(self.source.read(2), "big")
        return first & 0x0F, self.source.read(length)


class Document:
    def __init__(self, path, listener):
        self.tree = json.loads(path.read_text())
        self.listener = listener
        self.seen = set()

    def resolve(self, value):
        while "$ref" in value:
            reference, value = value["$ref"], self.tree
            for part in reference.removeprefix("#/").split("/"):
                value = value[part]
        return value

    def check(self, value, schema, what):
        """Checks a value, also what a string holds as JSON."""
        validator = Draft202012Validator({"components": self.tree["components"], **schema})
        wrong = next(validator.iter_errors(value), None)
        if wrong:
            raise Failed(f"{what} {value}: {wrong.message}")
        inner = self.resolve(schema).get("properties", {}).get("data", {})
        if "contentSchema" in inner:
            self.check(json.loads(value["data"]), inner["contentSchema"], what)
        for each in self.resolve(schema).get("oneOf", []):
            if "$ref" in each and Draft202012Validator({"components": self.tree["components"], **each}).is_valid(value):
                self.check(value, each, what)

    def ask(self, expected, method, path, body=None, **headers):
        """Sends a request, and returns its checked response: a Stream, JSON, or text."""
        plain = path.partition("?")[0]
        operation = self.tree["paths"][plain][method.lower()]
        self.seen.add(operation["operationId"])
        connection = http.client.HTTPConnection(self.listener, timeout=TIMEOUT_S)
        body = body if body is None or isinstance(body, str) else json.dumps(body)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        what = f"{method} {path}: {response.status}"
        if response.status != expected:
            raise Failed(f"{what}, not {expected}")
        if str(response.status) not in operation["responses"]:
            raise Failed(f"{what} is not in the document")
        described = self.resolve(operation["responses"][str(response.status)])
        for name, header in described.get("headers", {}).items():
            value = response.getheader(name)
            if value is None and "Only if" in self.resolve(header).get("description", ""):
                continue
            schema = self.resolve(header)["schema"]
            self.check(int(value) if schema.get("type") == "integer" and value else value, schema, f"{what}, {name}")
        if method == "HEAD":
            return None
        if response.status == 101:
            return Socket(self, connection, response, described["content"]["application/json"]["itemSchema"])
        kind = response.getheader("Content-Type").partition(";")[0]
        if kind not in described["content"]:
            raise Failed(f"{what}: the document has no {kind}")
        content = described["content"][kind]
        if kind == "text/event-stream":
            return Stream(self, connection, response, content["itemSchema"])
        text = response.read().decode()
        value = json.loads(text) if kind == "application/json" else text
        self.check(value, content["schema"], what)
        return value


def admin(server, method, path, body):
    connection = http.client.HTTPConnection(server.ports["localhost:8001"], timeout=TIMEOUT_S)
    connection.request(method, path, json.dumps(body), {"Authorization": f"Bearer {KEY}"})
    return json.loads(connection.getresponse().read())


def equal(got, expected):
    if got != expected:
        raise Failed(f"{got!r}, not {expected!r}")


def scene(document, server):
    ask = document.ask
    equal(ask(200, "GET", "/healthz"), "ok\n")
    ask(200, "HEAD", "/healthz")
    ask(200, "GET", "/")
    ask(200, "HEAD", "/")
    ask(200, "GET", f"{BASE}/sse/test/").event()
    ask(200, "HEAD", f"{BASE}/sse/test/")

    ask(400, "POST", f"{BASE}/login/", "no JSON")
    ask(401, "POST", f"{BASE}/login/", ACCOUNT | {"password": "wrong"})
    ask(413, "POST", f"{BASE}/login/", ACCOUNT | {"password": "x" * 5_000})
    token = ask(200, "POST", f"{BASE}/login/", ACCOUNT)["access"]
    bearer = {"Authorization": f"Bearer {token}"}

    refused = ask(401, "GET", STREAM).event()
    equal(json.loads(refused["data"]), {"error": "Authentication required"})
    ask(401, "HEAD", STREAM)
    ask(200, "HEAD", STREAM, **bearer)
    ask(403, "GET", f"{STREAM}?topic=news", **bearer).event()
    ask(400, "GET", f"{STREAM}?topic=a//b", **bearer).event()
    for path in ["/ws/notifications/", f"{BASE}/ws/notifications/"]:
        ask(426, "GET", path)
        ask(400, "GET", path, **UPGRADE | {"Sec-WebSocket-Key": "short"})
        equal(ask(101, "GET", path, **UPGRADE).message(), 4001)

    ask(401, "POST", f"{BASE}/sse/ticket/")
    ticket = ask(201, "POST", f"{BASE}/sse/ticket/", **bearer)["ticket"]
    streams = [ask(200, "GET", f"{STREAM}?ticket={ticket}")]
    first = streams[0].event()
    equal((first["event"], first["id"] != "", first["retry"] > 0), ("heartbeat", True, True))
    socket = ask(101, "GET", "/ws/notifications/", **UPGRADE | bearer)
    equal(socket.message()["event"], "open")
    while len(streams) < STREAMS_PER_USER - 1:
        streams.append(ask(200, "GET", f"{STREAM}?last_event_id=1-0", **bearer))
        equal("id" in streams[-1].event(), False)
        equal(streams[-1].event()["event"], "replay_gap")
    ask(429, "GET", STREAM, **bearer).event()

    admin(server, "POST", "/v1/events", {"to": {"user": "1"}, "event": "order", "data": "two\nlines"})
    admin(server, "POST", "/v1/events", {"to": {"all": True}, "data": {"a": 1}, "persist": False})
    admin(server, "POST", "/v1/users/1/logout", {})
    for stream in streams:
        while (event := stream.event())["event"] == "heartbeat":
            pass  # At the user's limit, the server looks whether these are alive.
        equal(event["data"], "two\nlines")
        equal(stream.event(), {"event": "message", "data": '{"a":1}'})
        message = json.loads(stream.event()["data"])
        document.check(message, {"$ref": "#/components/schemas/ForceLogout"}, "log-out")
        equal(stream.event(), None)
    while (message := socket.message())["event"] == "heartbeat":
        pass
    equal(message["data"], "two\nlines")
    equal(socket.message(), {"event": "message", "data": {"a": 1}})
    document.check(socket.message()["data"], {"$ref": "#/components/schemas/ForceLogout"}, "log-out")
    equal(socket.message(), 4003)
    ask(401, "GET", STREAM, **bearer).event()


def main():
    binary, path = (Path(argument).resolve() for argument in sys.argv[1:])
    directory = Path(tempfile.mkdtemp(prefix="idlewild-docs-"))
    server = None
    try:
        server = Server(binary, directory)
        document = Document(path, server.ports["localhost:8000"])
        scene(document, server)
        missing = set(re.findall(r'"operationId": "(\w+)"', path.read_text())) - document.seen
        if missing:
            raise Failed(f"no request for {', '.join(sorted(missing))}")
        print(f"{len(document.seen)} operations answer as {path.name} says")
    except Failed as reason:
        sys.exit(f"described: {reason}")
    finally:
        if server:
            server.stop()
        shutil.rmtree(directory)


main()
