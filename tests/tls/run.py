#!/usr/bin/env python3
"""run.py IDLEWILD [PEER …]: has other TLS implementations read a real server's streams and try its handshake. Prints one
line per act, and the reason at the first failure."""

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from certificates import Certificate
from handshakes import HANDSHAKES
from hours import Hours
from peers import PEERS
from scenes_common import Failed


def main():
    binary, *names = sys.argv[1:]
    unknown = set(names) - set(PEERS)
    if unknown:
        print(f"test-tls: unknown peer {', '.join(sorted(unknown))}; known are {', '.join(PEERS)}", file=sys.stderr)
        return 2
    # As an exception, so that the cleanup below runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = Path(tempfile.mkdtemp(prefix="idlewild-tls-"))
    try:
        with Hours(binary, Certificate(directory, "localhost", "IP:127.0.0.1"), names or PEERS) as hours:
            hours.play(say)
        for scene in HANDSHAKES:
            began = time.monotonic()
            scene(binary, directory)
            say(f"{scene.__doc__} ({time.monotonic() - began:.1f} s)")
    except Failed as reason:
        print(f"\ntest-tls: {reason}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory)
    return 0


def say(line):
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
