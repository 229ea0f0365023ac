#!/usr/bin/env python3
"""run.py [--compressed] IDLEWILD [CLIENT …]: has third-party clients read a real server's stream. Prints one line per
act, and the reason at the first failure. `--compressed` turns compression on for those that ask for it."""

import signal
import sys

from clients import CLIENTS
from scene import COMPRESSION, SETTINGS, Scene
from scenes_common import Failed, check
from scenes_server import Server


def main():
    arguments = sys.argv[1:]
    is_compressed = arguments[:1] == ["--compressed"]
    binary, *names = arguments[is_compressed:]
    unknown = set(names) - {client.name for client in CLIENTS}
    if unknown:
        print(f"test-interop: unknown client {', '.join(sorted(unknown))}; known are {', '.join(c.name for c in CLIENTS)}", file=sys.stderr)
        return 2
    chosen = [client for client in CLIENTS if not names or client.name in names]
    if is_compressed:
        # A WebSocket is never compressed.
        chosen = [client for client in chosen if client.transport == "sse"]
    # As an exception, so that the cleanup below runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    server = Server(binary, SETTINGS, COMPRESSION if is_compressed else "")
    scene = None
    try:
        server.start()
        scene = Scene(server, chosen)
        print(", ".join(one.name for one in scene.running), flush=True)
        scene.play(lambda line: print(line, flush=True))
        leaks = server.leaks()
        check(not leaks, f"the log contains a token: {leaks[:1]}")
    except Failed as reason:
        print(f"\ntest-interop: {reason}", file=sys.stderr)
        print("--- the last lines of the server's log", *server.log.read_text().splitlines()[-15:], sep="\n", file=sys.stderr)
        return 1
    finally:
        if scene:
            scene.close()
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
