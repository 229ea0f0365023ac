"""Other TLS implementations, and how each opens a stream with one cipher."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scenes_common import environment
from tap import Tap

HERE = Path(__file__).parent
CIPHERS = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
# How much of the end of a peer's output is examined: more than the length of an event.
TAIL_BYTES = 128 * 1024


@dataclass(frozen=True)
class Ask:
    """A peer's request."""
    port: int
    target: str
    ca: Path
    cipher: str

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}{self.target}"

    @property
    def request(self):
        return f"GET {self.target} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode()


class Peer:
    """A peer that reads one stream to its end. It prints the response to one file and what was negotiated to another."""

    def __init__(self, name, cipher, server, certificate):
        self.name = f"{name} {cipher}"
        self.user = f"{name}-{cipher}"
        self.tap = Tap(server.tls_port)
        self.printed = server.work / f"{self.user}.out"
        self.said = server.work / f"{self.user}.err"
        ask = Ask(self.tap.port, server.target(self.user), certificate.chain, cipher)
        request = server.work / f"{self.user}.in"
        request.write_bytes(ask.request)
        command, self.shows_chunks, self.agreed = COMMANDS[name](ask)
        self.process = subprocess.Popen(
            command, env=environment() | variables(name, cipher, server.work),
            stdin=open(request), stdout=open(self.printed, "wb"), stderr=open(self.said, "wb"))

    def after(self, text):
        """What it printed after the last `text`; empty if it has not printed `text` yet."""
        with open(self.printed, "rb") as printed:
            printed.seek(max(0, self.printed.stat().st_size - TAIL_BYTES))
            _, found, rest = printed.read().decode().rpartition(text)
        return rest if found else ""

    def has_ended(self):
        return self.process.poll() is not None

    def close(self):
        self.process.kill()
        self.process.wait()


def curl(ask):
    command = ["curl", "-sSNvi", "--cacert", ask.ca, "--tls13-ciphers", ask.cipher, ask.url]
    return command, False, f"SSL connection using TLSv1.3 / {ask.cipher}"


def openssl(ask):
    command = ["openssl", "s_client", "-brief", "-ign_eof", "-connect", f"127.0.0.1:{ask.port}", "-CAfile", ask.ca,
               "-verify_return_error", "-alpn", "http/1.1", "-ciphersuites", ask.cipher]
    return command, True, f"Protocol version: TLSv1.3\nCiphersuite: {ask.cipher}"


def python(ask):
    return [sys.executable, HERE / "peers" / "read.py", str(ask.port), ask.ca], True, f"TLSv1.3 {ask.cipher}"


def node(ask):
    return ["node", HERE / "peers" / "read.mjs", ask.url, ask.ca, ask.cipher], False, f"TLSv1.3 {ask.cipher}"


# Its command, whether its output contains the HTTP chunks, and what it prints when TLS is negotiated.
COMMANDS = {"curl": curl, "openssl": openssl, "python": python, "node": node}
PEERS = tuple(COMMANDS)


def variables(name, cipher, directory):
    """Selects the cipher for Python: its `ssl` (3.11) cannot select TLS 1.3 ciphers, but OpenSSL's configuration can."""
    if name != "python":
        return {}
    path = directory / f"{cipher}.cnf"
    path.write_text(f"openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = peer\n[peer]\nCiphersuites = {cipher}\n")
    return {"OPENSSL_CONF": str(path)}
