#!/usr/bin/env python3
"""run.py IDLEWILD NGINX [SCENE …]: runs the scenes. Prints one line for each, and the reason and the logs at the first
failure."""

import sys
import time

import scenes
from scenes_common import Failed
from world import World


def main():
    binary, nginx, *names = sys.argv[1:]
    chosen = [scene for scene in scenes.SCENES if not names or scene.__name__ in names]
    world = World(binary, nginx)
    version = ".".join(map(str, world.version))
    try:
        for scene in chosen:
            began = time.monotonic()
            scene(world)
            leaks = world.leaks()
            if leaks:
                raise Failed("a log contains a token: " + leaks[0])
            print(f"nginx {version}, {scene.__name__}: {scene.__doc__} ({time.monotonic() - began:.1f} s)", flush=True)
    except Failed as reason:
        print(f"\ntest-nginx: nginx {version}, {scene.__name__}: {reason}", file=sys.stderr)
        for log in sorted(world.logs.iterdir()):
            lines = log.read_text(errors="replace").splitlines()
            if lines:
                print(f"--- the last lines of {log.name}", *lines[-15:], sep="\n", file=sys.stderr)
        return 1
    finally:
        world.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
