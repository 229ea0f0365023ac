"""A server with a plain and a TLS listener."""

import re
import signal
import sys
from functools import partial

from scenes_common import check
from scenes_server import STREAM, Server, wait
from successor import Successor, adopt


class TlsServer(Server):
    def __init__(self, binary, certificates, settings="", tls=""):
        named = ", ".join(certificate.toml() for certificate in certificates)
        super().__init__(binary, f'{settings}\n[tls]\nlisten = ["127.0.0.1:0"]\ncertificates = [{named}]\n{tls}')

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            print("--- the last lines of the server's log", *self.log.read_text().splitlines()[-15:], sep="\n", file=sys.stderr)
        self.close()

    def start(self, **how):
        super().start(**how)
        # It may be ready shortly before it logs the port.
        said = partial(re.search, r"public TLS listener endpoint=127\.0\.0\.1:(\d+)")
        self.tls_port = int(wait("the TLS listener's port", lambda: said(self.log.read_text()))[1])

    def upgrade(self):
        """Hands over to a new process, once, and waits until the old one has ended."""
        adopt()
        self.process.send_signal(signal.SIGUSR2)
        said = partial(re.search, r" upgraded pid=(\d+)")
        new = wait("the new process has taken over", lambda: said(self.log.read_text()))[1]
        ended = self.process.wait(40)
        self.process = Successor(int(new))
        check(ended == 0, f"the old process exited with {ended}")

    def target(self, user):
        """The request target of the user's stream, the same on any port."""
        return f"{STREAM}?token={self.token(user)}"
