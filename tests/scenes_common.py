"""Shared by the scenes of tests/nginx, tests/interop and tests/tls: failures, the environment, waiting, free ports.
Their scripts put this directory into PYTHONPATH."""

import os
import random
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


# Below the range from which the kernel takes ports, so a free port stays free, also over a restart.
FREE_PORTS = range(15_000, 32_000)


def free_ports(count):
    found = []
    for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise Failed("no free ports")
