"""Parses a peer's output as an event stream."""

import re
from dataclasses import dataclass

from scenes_common import check


@dataclass(frozen=True)
class Event:
    id: str
    name: str
    data: str

    def position(self):
        return tuple(map(int, self.id.split("-")))


class Stream:
    """With `shows_chunks`, the output has the HTTP head and chunks; otherwise the body, perhaps after a head."""

    def __init__(self, printed, shows_chunks):
        head, between, rest = printed.partition(b"\r\n\r\n")
        if shows_chunks:
            check(head.startswith(b"HTTP/1.1 200 "), f"the response begins with {printed[:100]}")
            body = b"".join(chunks(rest))
        else:
            body = rest if between else printed
        # The last part is the text after the last empty line.
        *self.frames, rest = body.decode().split("\n\n")
        check(rest == "", f"the stream ends within {rest[-100:]!r}")
        self.events = [event for event in map(parse, self.frames) if event]


def chunks(rest):
    """Yields the contents of a body's chunks (RFC 9112 §7.1), which have to end with the empty one."""
    at = 0
    while True:
        end = rest.find(b"\r\n", at)
        check(end > 0, f"the body ends without its last chunk: {rest[-100:]}")
        size = int(rest[at:end], 16)
        if size == 0:
            check(rest[end:] == b"\r\n\r\n", f"after the last chunk there is {rest[end:][:100]}")
            return
        yield rest[end + 2:end + 2 + size]
        at = end + 2 + size + 2


def parse(frame):
    """Parses one frame; returns `None` for one without data, such as `retry:`."""
    fields = re.findall("^(id|event|data): (.*)$", frame, re.MULTILINE)
    data = [value for field, value in fields if field == "data"]
    if not data:
        return None
    named = dict(fields)
    return Event(named.get("id", ""), named.get("event", "message"), "\n".join(data))
