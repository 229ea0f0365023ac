"""Shared by the scenes of tests/nginx, tests/interop and tests/tls: failures, the environment, waiting, free ports.
Their scripts put this directory into PYTHONPATH."""

import os
import socket
import time


class Failed(Exception):
    """The reason why a scene failed."""


def environment():
    """The caller's environment, without the variables that would configure the server under test."""
    return {name: value for name, value in os.environ.items() if not name.startswith("IDLEWILD_")}


def check(holds, reason):
    if not holds:
        raise Failed(reason)


def wait(what, condition, seconds=10.0):
    """Polls until `condition` returns something true, and returns that. `what` is a text or a function that returns one."""
    end = time.monotonic() + seconds
    while not (got := condition()):
        check(time.monotonic() < end, f"{what() if callable(what) else what}: not within {seconds:g} s")
        time.sleep(0.02)
    return got


def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
