#!/usr/bin/env python3
"""runnable.py IDLEWILD PAGE …: runs the commands in pages that are marked as runnable, against a real server.

A block ```sh runnable is run with bash, and all blocks of a page in one session, so later ones may use the variables of
earlier ones. A block ```text output behind it is what the session then prints: its lines, in order, among others. In
it, every run of digits stands for any digits, and … for any text.

What a page takes for granted is there: `idlewild` in the PATH, `idlewild serve --dev` (whatever page says
localhost:8000 and localhost:8001 gets the ports that it really has) with its secrets in the current directory, and its
API key in $KEY. `curl -N` follows a stream, for which a reader opens another terminal; it runs in the background, and
what it prints is kept apart.
"""

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from server import TIMEOUT_S, Failed, Server

BLOCK = re.compile(r"^```(?P<kind>sh runnable|text output)\n(?P<text>.*?)^```$", re.M | re.S)
# What looks like one of these, so that a slip of the pen leaves no block out.
ALMOST = re.compile(r"^[ >]*`{3,} *(?:sh|bash|text|console) +\S.*$", re.M)
DONE = "--- the block is done"


def blocks(page):
    """The runnable blocks of a page: line, commands, and the expected output, if the page shows it."""
    text = page.read_text()
    for match in ALMOST.finditer(text):
        if match[0] not in ("```sh runnable", "```text output"):
            line = text.count("\n", 0, match.start()) + 1
            raise Failed(f"{page}:{line}: {match[0]} is neither ```sh runnable nor ```text output")
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["kind"] == "sh runnable":
            found.append([line, match["text"], None])
        elif not found or found[-1][2] is not None:
            raise Failed(f"{page}:{line}: output without a runnable block before it")
        else:
            found[-1][2] = match["text"]
    return found


def pattern(output):
    """A regular expression for lines that occur in this order."""
    def line(text):
        parts = re.split(r"(\d+|…)", text)
        return "".join({"…": ".*"}.get(part, r"\d+" if part.isdigit() else re.escape(part)) for part in parts)
    lines = [line(text) for text in output.splitlines() if text]
    return re.compile("^" + r"$(?:.|\n)*?^".join(lines) + "$", re.M)


class Session:
    """A shell, and what it and its streams print."""

    def __init__(self, server):
        read, write = os.pipe()
        self.shell = subprocess.Popen(
            ["bash", "-euo", "pipefail"], cwd=server.directory, env=server.environment | {"STREAMS": str(write)},
            start_new_session=True, pass_fds=[write],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.close(write)
        self.streams = os.fdopen(read, "rb", buffering=0)
        self.selector = selectors.DefaultSelector()
        for output in (self.shell.stdout, self.streams):
            os.set_blocking(output.fileno(), False)
            self.selector.register(output, selectors.EVENT_READ)
        self.printed = {}

    def run(self, commands):
        """Runs a block to its end."""
        commands = re.sub(r"^(curl -N (?:.*\\\n)*.*)$", r"\1 2>/dev/null >&$STREAMS &", commands, flags=re.M)
        self.printed = {self.shell.stdout: "", self.streams: ""}
        self.shell.stdin.write(f"{commands}\necho; echo '{DONE}'\n".encode())
        self.shell.stdin.flush()
        self.wait(re.compile(f"^{DONE}$", re.M), "the end of the block")

    def wait(self, wanted, what):
        end = time.monotonic() + TIMEOUT_S
        while not any(map(wanted.search, self.printed.values())):
            ready = self.selector.select(max(0, end - time.monotonic()))
            if not ready:
                raise Failed(f"{what} did not come; printed:\n{self.all()}")
            for key, _ in ready:
                more = key.fileobj.read()
                if more == b"":
                    raise Failed(f"a command failed; printed:\n{self.all()}")
                # Heads of responses end their lines with CRLF.
                self.printed[key.fileobj] += (more or b"").decode(errors="replace").replace("\r", "")

    def all(self):
        return "--- its streams:\n".join(self.printed.values())

    def end(self):
        """Ends the shell and its background jobs, which are a process group of their own."""
        os.killpg(self.shell.pid, signal.SIGKILL)
        self.shell.wait()
        self.selector.close()
        self.shell.stdout.close()
        self.streams.close()


def check(page, binary):
    """Runs a page; returns the number of its blocks."""
    found = blocks(page)
    if not found:
        return 0
    directory = Path(tempfile.mkdtemp(prefix="idlewild-docs-"))
    server = session = None
    try:
        server = Server(binary, directory)
        session = Session(server)
        for line, commands, output in found:
            try:
                session.run(server.here(commands))
                if output is not None:
                    session.wait(pattern(output), f"the output that the page shows:\n{output}")
            except Failed as reason:
                raise Failed(f"{page}:{line}: {reason}") from None
    finally:
        if session:
            session.end()
        if server:
            server.stop()
        shutil.rmtree(directory)
    return len(found)


def main():
    binary = Path(sys.argv[1]).resolve()
    ran = 0
    try:
        for page in map(Path, sys.argv[2:]):
            if count := check(page, binary):
                print(f"{page}: {count} runnable blocks")
            ran += count
    except Failed as reason:
        sys.exit(f"runnable: {reason}")
    if not ran:
        sys.exit("runnable: no page has a block that is marked as `sh runnable`")


main()
