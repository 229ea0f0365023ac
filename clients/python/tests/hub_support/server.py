"""A real Idlewild on free ports."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

API_KEY = "idw_of-the-tests"
SECRET = "of-the-tests-and-of-nothing-else-0123456789"
"""`auth.secret`, which tokens are signed with."""
START_TIMEOUT_S = 20
FREE_PORTS = range(15_000, 32_000)
"""Below the range from which the kernel takes ports, so a free port stays free over a restart."""


def binary() -> str:
    path = os.environ.get("IDLEWILD_BIN", "")
    if not path or not Path(path).is_file():
        raise RuntimeError(
            f"IDLEWILD_BIN: {path!r} is no file; build the server (`cargo build --release`) and "
            "set it to target/release/idlewild"
        )
    return path


class Server:
    """`auth` is TOML for the table `auth`; `environment` is added to the server's."""

    def __init__(
        self, directory: Path, auth: str = "", environment: dict[str, str] | None = None
    ) -> None:
        self.directory = directory
        self.socket = directory / "admin.sock"
        # Kept over a restart, so that a publisher finds the server again.
        self._ports = (free_port(), free_port())
        self._config = directory / "idlewild.toml"
        key = hashlib.sha256(API_KEY.encode()).hexdigest()
        self._config.write_text(
            f"""\
listen = ["127.0.0.1:{self._ports[0]}"]
admin_listen = ["127.0.0.1:{self._ports[1]}", "unix:{self.socket}"]
shards = 1
max_connections = 100
max_handshakes = 50
drain_timeout = "2s"
[auth]
secret = "{SECRET}"
{auth}
[history]
path = "{directory / "history"}"
fsync = "always"
[[admin.api_keys]]
name = "tests"
hash = "sha256:{key}"
"""
        )
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports[1]}"

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}/api/v1/auth"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def start(self) -> None:
        with (self.directory / "log").open("w") as log:
            self._process = subprocess.Popen(
                [binary(), "serve", "--config", str(self._config)],
                stderr=log,
                # The server reads every variable with this prefix as a configuration key.
                env={k: v for k, v in os.environ.items() if not k.startswith("IDLEWILD_")}
                | self._environment,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not re.search("admin listener.*unix", self.log):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self.log}")
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(START_TIMEOUT_S)
            self._process = None


def free_port() -> int:
    for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")
