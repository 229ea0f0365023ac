#!/usr/bin/env python3
"""run.py IDLEWILD [PEER …]: has other people's TLS read a real server's streams, and try its handshake; prints a line an
act, and at the first failure, why."""

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from certificates import Certificate
from hours import Hours
from handshakes import HANDSHAKES
from peers import PEERS
from scenes_common import Failed, check


def main():
    binary, *names = sys.argv[1:]
    unknown = set(names) - set(PEERS)
    if unknown:
        print(f"test-tls: no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}", file=sys.stderr)
        return 2
    # As an exception, so that what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = Path(tempfile.mkdtemp(prefix="idlewild-tls-"))
    try:
        play_hours(binary, Certificate(directory, "localhost", "IP:127.0.0.1"), names or PEERS)
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


def play_hours(binary, certificate, names):
    hours = Hours(binary, certificate, names)
    try:
        hours.play(say)
        leaks = hours.server.leaks()
        check(not leaks, f"a token stands in the log: {leaks[:1]}")
    except Failed:
        print("--- the server's log, its last lines", *hours.server.log.read_text().splitlines()[-15:], sep="\n", file=sys.stderr)
        raise
    finally:
        hours.close()


def say(line):
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
