"""What Idlewild refuses, for the backends that do not ask it."""

from __future__ import annotations

from idlewild import Rejected
from idlewild.events import Event

# As `src/event.rs` and `src/topic.rs` have them.
MAX_NAME_BYTES = 128
MAX_TOPIC_BYTES = 256
RESERVED_NAMES = frozenset({"heartbeat", "replay_gap", "token_expired", "evicted", "open", "error"})


def check(event: Event) -> None:
    """Raises `Rejected` for an event that Idlewild would refuse."""
    name = event.name
    if not _is_line(name, MAX_NAME_BYTES):
        raise _rejected(
            f"event: {name!r} must be 1 to {MAX_NAME_BYTES} bytes long, without control characters"
        )
    if name in RESERVED_NAMES:
        raise _rejected(f"event: {name!r} is a name of Idlewild's own events")
    topic = event.to.get("topic")
    if topic is None:
        return
    segments = topic.split("/")
    if not _is_line(topic, MAX_TOPIC_BYTES) or "" in segments:
        raise _rejected(
            f"to.topic: {topic!r} must be 1 to {MAX_TOPIC_BYTES} bytes long, without control "
            "characters or empty segments"
        )
    if "*" in segments or "**" in segments:
        raise _rejected(f"to.topic: {topic!r} has a wildcard; only a token's patterns have them")


def _is_line(text: str, most_bytes: int) -> bool:
    has_control = any(ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 for each in text)
    return 1 <= len(text.encode()) <= most_bytes and not has_control


def _rejected(message: str) -> Rejected:
    return Rejected("invalid_request", message)
