"""The topics of a stream, by the token's `topics` claim, as in Idlewild."""

from __future__ import annotations

from collections.abc import Iterable


def allowed(asked: list[str], patterns: Iterable[str]) -> frozenset[str] | None:
    """The topics of a stream; None if no pattern matches one of the requested topics."""
    patterns = list(patterns)
    if not asked:
        return frozenset(pattern for pattern in patterns if not _is_wild(pattern))
    is_allowed = all(any(matches(pattern, topic) for pattern in patterns) for topic in asked)
    return frozenset(asked) if is_allowed else None


def matches(pattern: str, topic: str) -> bool:
    """Matches a topic: `*` stands for a whole segment, `**` for the rest."""
    segments = iter(topic.split("/"))
    for wanted in pattern.split("/"):
        if wanted == "**":
            return True
        segment = next(segments, None)
        if segment is None or wanted not in ("*", segment):
            return False
    return next(segments, None) is None


def _is_wild(pattern: str) -> bool:
    return any(segment in ("*", "**") for segment in pattern.split("/"))
