"""`openssl s_client`: one connection, one request, and everything it prints about them."""

import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from scenes_common import check, wait
from scenes_common import environment


class SClient:
    def __init__(self, server, *options, target="/healthz"):
        output = tempfile.NamedTemporaryFile(dir=server.work, delete=False)
        self.output = Path(output.name)
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}", *options],
            env=environment(), bufsize=0, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)
        self.type(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    def type(self, text):
        # A refused client may be gone already.
        with suppress(BrokenPipeError):
            self.process.stdin.write(text.encode())

    def text(self):
        return self.output.read_text()

    @classmethod
    def stream(cls, server, user, *options):
        """Opens the user's stream on a connection."""
        client = cls(server, *options, target=server.target(user))
        client.wait_for("event: heartbeat")
        return client

    def wait_for(self, words):
        wait(lambda: f"openssl prints {words!r}; so far it printed\n{self.text()}\n", lambda: words in self.text())

    def end(self):
        """Waits until the server has ended the connection; returns all output."""
        try:
            wait(lambda: f"the connection ends; openssl printed\n{self.text()}\n", lambda: self.process.poll() is not None)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
        check("unexpected eof" not in self.text(), f"the connection ended without close_notify:\n{self.text()}")
        return self.text()


def connect(server, *options, says):
    """Makes one complete connection and checks that openssl prints `says`."""
    text = SClient(server, *options).end()
    check(says in text, f"openssl does not print {says!r}, but\n{text}")
    return text
