"""A client in the scene: its process, and what it has printed."""

import json
import subprocess
import threading
import time


class Running:
    """One client with one way to send its token. If it does not reconnect by itself, it is restarted with the last id it printed."""

    def __init__(self, client, way, server):
        self.client = client
        self.name = f"{client.name} ({way})"
        self.user = f"{client.name}-{way}"
        token = server.token(self.user)
        self.address = (server.url(token), "") if way == "query" else (server.url(), token)
        self.lines = []
        # Stops a client that would otherwise be restarted forever.
        self.is_over = False
        self.starts = 0
        self.process = None
        self.errors = server.work / f"{self.user}.err"
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.is_over:
            self.starts += 1
            with open(self.errors, "a") as errors:
                self.process = subprocess.Popen([*self.client.command, *self.address, self.last_id()],
                                                stdout=subprocess.PIPE, stderr=errors, text=True)
                for line in self.process.stdout:
                    self.lines.append(json.loads(line))
            self.process.wait()
            if self.client.reconnects or self.all("refused"):
                break
            time.sleep(0.2)

    def last_id(self):
        if self.client.reconnects:
            return ""
        return next((line["id"] for line in reversed(self.lines) if line.get("id")), "")

    def end(self):
        self.is_over = True
        if self.process:
            self.process.terminate()
        self.thread.join(10)

    def all(self, key):
        return [line[key] for line in list(self.lines) if key in line]

    def events(self):
        """Name, id and data of every event except heartbeats, as a page would see them."""
        return [event for event in self.everything() if event[0] != "heartbeat"]

    def heartbeats(self):
        return [event for event in self.everything() if event[0] == "heartbeat"]

    def everything(self):
        return [(line["event"], line["id"], line["data"]) for line in list(self.lines) if "event" in line]

    def said(self):
        """Its last output, for debugging."""
        last = "\n".join(json.dumps(line)[:200] for line in self.lines[-8:])
        return f"{last}\n{self.errors.read_text()[-1000:]}".strip()
