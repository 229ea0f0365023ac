"""`idlewild serve --dev` as the pages take it for granted, on free ports."""

import os
import re
import subprocess
import time

KEY = "the-api-key-of-the-tests-of-the-pages-0123456789"
# Many times longer than anything here takes.
TIMEOUT_S = 30


class Failed(Exception):
    """What is wrong, for people."""


class Server:
    """A server, and the environment of its users: `idlewild` in the PATH, and the API key in $KEY."""

    def __init__(self, binary, directory):
        # As an installed one: `idlewild`, and nothing of the caller's configuration.
        (directory / "bin").mkdir()
        (directory / "bin" / "idlewild").symlink_to(binary)
        self.environment = {
            "PATH": f"{directory / 'bin'}:{os.environ['PATH']}", "HOME": str(directory), "LANG": "C.UTF-8", "KEY": KEY}
        self.directory = directory
        # The server keeps its key there, and uses one that it finds.
        kept = directory / ".idlewild-dev"
        kept.mkdir(mode=0o700)
        (kept / "api-key").write_text(KEY)
        (kept / "api-key").chmod(0o600)
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["idlewild", "serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
                executable=binary, cwd=directory, stderr=log, stdout=log,
                env=self.environment)
        self.ports = {"localhost:8000": self.endpoint("public"), "localhost:8001": self.endpoint("admin")}

    def endpoint(self, listener):
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(rf"{listener} listener.* endpoint=([0-9.]+:[0-9]+)", self.log.read_text())
            if found:
                return found[1]
            time.sleep(0.02)
        raise Failed(f"the server did not start:\n{self.log.read_text()}")

    def here(self, commands):
        """The commands with the ports of this server."""
        for page, real in self.ports.items():
            commands = commands.replace(page, real)
        return commands

    def stop(self):
        self.process.terminate()
        self.process.wait(TIMEOUT_S)
