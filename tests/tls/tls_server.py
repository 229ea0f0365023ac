"""A server with a TLS listener beside its plain one."""

import re

from scenes_server import STREAM, Server


class TlsServer(Server):
    def __init__(self, binary, certificates, settings="", tls=""):
        named = ", ".join(certificate.toml() for certificate in certificates)
        super().__init__(binary, f'{settings}\n[tls]\nlisten = ["127.0.0.1:0"]\ncertificates = [{named}]\n{tls}')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def tls_port(self):
        return int(re.findall(r"public TLS listener endpoint=127\.0\.0\.1:(\d+)", self.log.read_text())[-1])

    def target(self, user):
        """The user's stream, as a request on any port names it."""
        return f"{STREAM}?token={self.token(user)}"
