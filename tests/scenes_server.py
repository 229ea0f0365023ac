"""The real server of tests/interop and tests/tls, its admin listener, and what it needs: free ports, a token, a
directory."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from functools import partial
from pathlib import Path

import scenes_common
from scenes_common import check, environment, free_ports

API_KEY = "the-api-key-of-the-scenes-0123456789"
STREAM = "/api/v1/auth/sse/notifications/"

# Some clients reconnect slowly.
wait = partial(scenes_common.wait, seconds=30.0)


class Server:
    """Keeps its address and its history over a restart."""

    def __init__(self, binary, settings, sections=""):
        self.binary = Path(binary)
        self.work = Path(tempfile.mkdtemp(prefix="idlewild-scenes-"))
        self.log = self.work / "log"
        self.public, self.elsewhere, self.admin = free_ports(3)
        self.config = self.work / "idlewild.toml"
        self.config.write_text(
            f'admin_listen = ["127.0.0.1:{self.admin}"]\n{settings}\n'
            f'[auth]\nsecret = "the-secret-of-the-scenes-0123456789"\n[history]\npath = "{self.work}/history"\n{sections}')
        self.process = None

    def start(self, port=None, options=(), variables={}):
        self.process = subprocess.Popen(
            [self.binary, "serve", "--config", self.config, "--listen", f"127.0.0.1:{port or self.public}", *options],
            env=environment() | {"IDLEWILD_ADMIN__API_KEY": API_KEY, **variables}, cwd=self.work, stderr=open(self.log, "a"))
        wait("the server is ready", lambda: self.process.poll() is not None or self.is_ready())
        check(self.process.poll() is None, "the server did not start")

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        ended = self.process.wait(40)
        self.process = None
        check(ended == (0 if how == signal.SIGTERM else -how), f"the server exited with {ended}")

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.work, ignore_errors=True)

    def is_ready(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=1).status == 200
        except OSError:
            return False

    def token(self, user):
        made = subprocess.run([self.binary, "token", "--config", self.config, "--user", user],
                              env=environment(), capture_output=True, text=True, check=True)
        return made.stdout.strip()

    def url(self, token=None):
        return f"http://127.0.0.1:{self.public}{STREAM}" + (f"?token={token}" if token else "")

    def ask(self, path, body=None, method=None):
        """Returns the admin listener's response. A `bytes` body is sent unchanged, any other as JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}{path}", data=body, method=method,
                                         headers={"Authorization": f"Bearer {API_KEY}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def leaks(self):
        """Lines of the log that contain a JWT or the key."""
        return [line for line in self.log.read_text().splitlines()
                if API_KEY in line or re.search(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", line)]
