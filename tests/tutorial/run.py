"""Does what docs/tutorial.md says, and compares what it shows: run.py PAGE DIRECTORY PACKAGES SERVER.

PAGE is the tutorial, DIRECTORY an empty directory to work in, PACKAGES a directory with the packages of this tree, and
SERVER the server's binary. The page has no hidden marks; this is how it is read:

- A code block whose first line is a comment with a path is that file. With "at the end of" before the path, the block
  is appended to the file.
- Any other `sh` block is typed into a terminal, line by line. Every line must exit with 0. The last line may go on, if
  its output is shown.
- A `text` block is what the terminal has printed since the last block. `…` stands for anything within a line, and a
  line with only `…` for any lines. A value of a form in VARYING stands for any value of that form. Empty lines do not
  count. What is not shown must not be printed.
- The terminal is the one that the prose before a block names last ("terminal 2"); otherwise it stays the same.
- After the words "The page shows:", a block is the whole text of the page in the browser.
- The sentences in SENTENCES are done as well.

The ports in the page are replaced by free ones, and the packages that are installed by those in PACKAGES.
"""

import contextlib
import fcntl
import json
import os
import pty
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

# Longest wait for one output, also of `npm install` with an empty cache on a busy machine.
DEADLINE_S = 120
# Longest time for a process to end after SIGTERM. Idlewild needs the longest, for its drain.
STOP_DEADLINE_S = 35
PORTS = ("8000", "8001", "8080", "5173")
# Below the range from which the kernel takes ports for outgoing connections, so a free port stays free.
FREE_PORTS = range(15000, 32000)
# What bash prints before it reads a line, and before it reads the rest of one. The first has the exit status.
PROMPT = re.compile("\x01([0-9]+|more)\x02")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


# What differs from run to run: event ids, times, reconnect delays, durations, versions.
VARYING = (r"\d{13}-\d+", r"\d{4}-\d\d-\d\dT[\d:.]+Z", r"retry: \d+", r"\d+ ms", r"\d+\.\d+\.\d+(?!\.)", r"…")


class Wrong(Exception):
    """The tutorial does not do what it says."""


class Terminal:
    """A shell on a terminal of its own, as a reader has it."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.shell, self.fd = pty.fork()
        if self.shell == 0:
            # A job in the background is started without them, and its children cannot get them back by themselves.
            for interrupt in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(interrupt, signal.SIG_DFL)
            os.chdir(directory)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], environment)
        # Wide, so that no program wraps its lines.
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 500, 0, 0))
        self.raw = ""
        self.is_running = False
        # Whether the output of the last line is still to be compared.
        self.is_unread = False
        # Whether more output is to come that is not shown, after a `…` at the end.
        self.may_print = False
        self.wait_for_prompt()
        self.type(r"stty -echo; PS2=$'\001more\002'; PS1=$'\001''$?'$'\002'")
        self.raw = ""

    def wait_for_prompt(self) -> None:
        # Before PS1 is set, bash has its own prompt.
        deadline = time.monotonic() + DEADLINE_S
        while not (PROMPT.search(self.raw) or self.raw.rstrip().endswith(("$", "#"))):
            self.read(deadline)

    def read(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.fd], [], [], left)[0]:
            raise Wrong(f"nothing more came; the terminal has\n{self.raw}")
        self.raw += os.read(self.fd, 65536).decode(errors="replace")

    def type(self, line: str) -> None:
        os.write(self.fd, f"{line}\n".encode())
        self.is_running = True
        self.finish()

    def run(self, lines: list[str]) -> None:
        """Types lines; returns after the last one is typed, not when its command has ended."""
        self.finish()
        if (left := self.output()) and not self.may_print:
            raise Wrong("this was printed and is not shown:\n" + "\n".join(left))
        self.raw = ""
        self.may_print = False
        for line in lines[:-1]:
            self.type(line)
        os.write(self.fd, f"{lines[-1]}\n".encode())
        self.is_running = self.is_unread = True

    def finish(self, is_interrupted: bool = False) -> None:
        """Waits until the last line that was typed has ended."""
        deadline = time.monotonic() + DEADLINE_S
        while self.is_running and not (prompt := PROMPT.search(self.raw)):
            self.read(deadline)
        if self.is_running:
            self.is_running = False
            self.raw = PROMPT.sub("", self.raw)
            if prompt[1] not in ("0", "more") and not is_interrupted:
                raise Wrong(f"a command has exited with {prompt[1]}:\n{self.raw}")

    def interrupt(self) -> None:
        os.write(self.fd, b"\x03")
        self.finish(is_interrupted=True)
        self.raw = ""

    def output(self) -> list[str]:
        text = ESCAPES.sub("", PROMPT.sub("", self.raw)).replace("\r", "")
        return [line.rstrip() for line in text.split("\n") if line.strip()]

    def expect(self, shown: str) -> None:
        """Waits for the output, and forgets it."""
        self.is_unread = False
        lines = [line.rstrip() for line in shown.split("\n") if line.strip()]
        pattern = "".join(
            "(?:[^\n]*\n)*?" if line.strip() == "…" else line_pattern(line)
            for line in lines
        )
        self.may_print = lines[-1].strip() == "…"
        deadline = time.monotonic() + DEADLINE_S
        while True:
            has_ended = not self.is_running or PROMPT.search(self.raw) is not None
            output = "".join(line + "\n" for line in self.output())
            # A command that has ended has printed everything; one that runs may be within a line.
            found = re.fullmatch(pattern, output) if has_ended else re.match(pattern, output)
            if found and (has_ended or self.raw.rstrip(" ").endswith("\n")):
                if has_ended:
                    self.finish()
                print(found[0], end="", flush=True)
                self.raw = output[found.end() :]
                return
            if has_ended:
                raise Wrong(f"shown:\n{shown}\nprinted:\n{output}")
            try:
                self.read(deadline)
            except Wrong:
                raise Wrong(f"shown:\n{shown}\nprinted:\n{output}") from None

    def close(self) -> None:
        """Ends what runs in it, and then the shell."""
        group = os.tcgetpgrp(self.fd)
        deadline = time.monotonic() + STOP_DEADLINE_S
        with contextlib.suppress(ProcessLookupError):
            if group != self.shell:
                os.killpg(group, signal.SIGTERM)
            while group != self.shell and os.tcgetpgrp(self.fd) == group:
                if time.monotonic() > deadline:
                    os.killpg(group, signal.SIGKILL)
                # A full terminal would keep it from ending.
                if select.select([self.fd], [], [], 0.1)[0]:
                    os.read(self.fd, 65536)
        os.kill(self.shell, signal.SIGKILL)
        os.waitpid(self.shell, 0)
        os.close(self.fd)


class Browser:
    """The page in Chromium, driven by tests/browser/tutorial.mjs."""

    def __init__(self) -> None:
        script = Path(__file__).parents[1] / "browser" / "tutorial.mjs"
        self.process = subprocess.Popen(
            ["node", script, str(DEADLINE_S * 1000)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, **command: object) -> None:
        assert self.process.stdin and self.process.stdout
        print(json.dumps(command), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if answer != '"done"':
            raise Wrong(f"the page: {json.loads(answer) if answer else 'the browser has ended'}")

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


class Tutorial:
    def __init__(self, directory: Path, packages: Path, server: Path) -> None:
        self.project = directory / "project"
        self.project.mkdir()
        programs = directory / "programs"
        programs.mkdir()
        (programs / "idlewild").symlink_to(server)
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HISTFILE": "",
            "VIRTUAL_ENV_DISABLE_PROMPT": "1",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_COLOR": "1",
            "PIP_PROGRESS_BAR": "off",
            "npm_config_audit": "false",
            "npm_config_fund": "false",
            "npm_config_prefer_offline": "true",
            "npm_config_update_notifier": "false",
            "npm_config_progress": "false",
        }
        self.replaced = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.installed = {
            "pip install idlewild-django": ["pip install", *packages.glob("*.whl")],
            "npm install @idlewild/react": ["npm install", *packages.glob("*.tgz")],
        }
        self.terminals: dict[str, Terminal] = {}
        self.terminal = "1"
        self.browser: Browser | None = None

    def here(self, text: str) -> str:
        """With the ports of this run."""
        return re.sub(r"(?<![\w.])\d{4}(?!\w)", lambda port: self.replaced.get(port[0], port[0]), text)

    def follow(self, page: str) -> None:
        prose = ""
        kind = ""
        block: list[str] | None = None
        for number, line in enumerate(page.split("\n"), 1):
            try:
                if block is None and line.startswith("```"):
                    kind, block = line[3:], []
                    self.read(prose)
                elif block is not None and line == "```":
                    self.do(kind, block, prose)
                    prose, block = "", None
                elif block is not None:
                    block.append(line)
                else:
                    prose += line + "\n"
            except Wrong as wrong:
                raise Wrong(f"line {number}: {wrong}") from None
        self.read(prose)

    def read(self, prose: str) -> None:
        """Does what sentences say, and notes the terminal."""
        found = [(match.start(), do, match) for pattern, do in SENTENCES for match in re.finditer(pattern, prose)]
        for _, do, match in sorted(found, key=lambda each: each[0]):
            do(self, *map(self.here, match.groups()))
        if prose.count("Ctrl-C") != len(re.findall(INTERRUPT, prose)):
            raise Wrong("a Ctrl-C that names no terminal")
        if named := re.findall(r"[Tt]erminal (\d)", prose):
            self.terminal = named[-1]

    def do(self, kind: str, block: list[str], prose: str) -> None:
        text = "\n".join(block)
        is_of_page = prose.rstrip().endswith("The page shows:")
        if kind != "text" or is_of_page:
            # A command without output on the page is over before anything else is done.
            for terminal in self.terminals.values():
                if terminal.is_unread:
                    terminal.finish()
        if named := re.match(r"(?:#|//|<!--) (at the end of )?([\w./-]+\.\w+)(?: -->)?$", block[0]):
            path = self.project / named[2]
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a" if named[1] else "w") as file:
                file.write(f"{self.here(text)}\n")
        elif kind == "sh":
            if self.terminal not in self.terminals:
                self.terminals[self.terminal] = Terminal(self.project, self.environment)
            commands = self.here(text)
            for command, (install, *packages) in self.installed.items():
                # An absolute path is a package for npm, too.
                commands = commands.replace(command, " ".join([str(install), *map(str, packages)]))
            self.terminals[self.terminal].run(commands.split("\n"))
            print(f"terminal {self.terminal}: " + text.replace("\n", "\n            "), flush=True)
        elif kind == "text" and is_of_page:
            assert self.browser
            self.browser.do(do="expect", text=self.here(text))
            print("the page: " + text.replace("\n", " | "), flush=True)
        elif kind == "text":
            self.terminals[self.terminal].expect(self.here(text))
        else:
            raise Wrong(f"a block of the kind {kind!r} that names no file")

    def interrupt(self, terminal: str) -> None:
        self.terminals[terminal].interrupt()

    def open(self, url: str) -> None:
        self.browser = Browser()
        self.browser.do(do="open", url=url)

    def log_in(self, name: str, password: str) -> None:
        assert self.browser
        self.browser.do(do="log in", name=name, password=password)

    def set_network(self, state: str) -> None:
        assert self.browser
        self.browser.do(do="network", offline=state == "Offline")

    def close(self) -> None:
        if self.browser:
            self.browser.close()
        for terminal in self.terminals.values():
            terminal.close()


def line_pattern(line: str) -> str:
    """The expression for a line of output."""
    pattern = ""
    # With the group, every second part is what varies.
    for index, part in enumerate(re.split(f"({'|'.join(VARYING)})", line)):
        if index % 2 == 0:
            pattern += re.escape(part)
        elif part == "…":
            pattern += "[^\n]*"
        else:
            pattern += next(f"(?:{form})" for form in VARYING if re.fullmatch(form, part))
    return pattern + "\n"


INTERRUPT = r"Press Ctrl-C in terminal (\d)"
SENTENCES = (
    (INTERRUPT, Tutorial.interrupt),
    (r"Open <(http://[^>]+)>", Tutorial.open),
    (r"Log in as `([^`]+)` with the password `([^`]+)`", Tutorial.log_in),
    (r"set the network to (Offline|No throttling)", Tutorial.set_network),
)


def free_ports(count: int) -> list[str]:
    found: list[str] = []
    for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
        try:
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                with socket.socket(family) as probe:
                    probe.bind((host, port))
        except OSError:
            continue
        found.append(str(port))
        if len(found) == count:
            return found
    raise Wrong("no free ports")


def main() -> None:
    page, directory, packages, server = map(Path, sys.argv[1:])
    tutorial = Tutorial(directory, packages, server)
    try:
        tutorial.follow(page.read_text())
    except Wrong as wrong:
        sys.exit(f"test-tutorial: {page}, {wrong}")
    finally:
        tutorial.close()


if __name__ == "__main__":
    main()
