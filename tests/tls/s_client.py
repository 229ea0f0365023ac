"""`openssl s_client`: one connection, one request, and all that it says of both."""

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
        # Whoever is refused may be gone by now.
        with suppress(BrokenPipeError):
            self.process.stdin.write(text.encode())

    def text(self):
        return self.output.read_text()

    @classmethod
    def stream(cls, server, user, *options):
        """A connection on which the user's stream is open."""
        client = cls(server, *options, target=server.target(user))
        client.wait_for("event: heartbeat")
        return client

    def wait_for(self, words):
        wait(lambda: f"openssl says {words!r}, and not only\n{self.text()}", lambda: words in self.text())

    def end(self):
        """What it said, once the server has ended the connection."""
        try:
            wait(lambda: f"the connection ends, and not\n{self.text()}", lambda: self.process.poll() is not None)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
        check("unexpected eof" not in self.text(), f"the connection ended without close_notify:\n{self.text()}")
        return self.text()


def connect(server, *options, says):
    """One whole connection, of which openssl has to say this."""
    text = SClient(server, *options).end()
    check(says in text, f"openssl does not say {says!r}, but\n{text}")
    return text
