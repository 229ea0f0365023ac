"""Chooses what performs operations (`BACKEND`): Idlewild, this process's streams, or a list."""

from __future__ import annotations

from typing import Protocol, TypeVar

from django.core.signals import setting_changed
from idlewild.operations import Operation

from .conf import SETTING, config
from .hub import Hub
from .local.backend import Local
from .memory import Memory

T = TypeVar("T")


class Backend(Protocol):
    def perform(self, operation: Operation[T]) -> T: ...
    async def aperform(self, operation: Operation[T]) -> T: ...
    def close(self) -> None: ...


# At most one, under its only key. `setdefault` decides which of two threads came first. A lock
# could stay held forever after a fork.
_made: dict[None, Backend] = {}


def backend() -> Backend:
    return _made.get(None) or _made.setdefault(None, _make())


def _make() -> Backend:
    current = config()
    match current.backend:
        case "local":
            return Local()
        case "memory":
            return Memory()
        case _:
            return Hub(current)


def _replace(*, setting: str, **_: object) -> None:
    if setting == SETTING and _made:
        _made.pop(None).close()


# Runs after the receiver of `conf`, which this module imports, so that the next backend gets the
# new setting.
setting_changed.connect(_replace, dispatch_uid="idlewild_django.backends")
