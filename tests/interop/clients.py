"""The clients in the scene, and the capabilities of each (clients/README.md, docs/clients.md)."""

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOOLS = ROOT / "target" / "tools"


@dataclass(frozen=True)
class Client:
    name: str
    command: list
    # The ways to send a token: "query", "header".
    tokens: tuple = ("query", "header")
    # Reconnects by itself, with the last id; otherwise, the scene restarts it.
    reconnects: bool = True
    # Reports the status of a refusal.
    reports_status: bool = True
    # Reports the server's `retry:`.
    shows_retry: bool = False
    # Reasons that `away` lines have to give, if any.
    says: tuple = ()


def node(file):
    return ["node", str(HERE / "clients" / file)]


def python(file):
    return [str(TOOLS / "interop-python" / "bin" / "python"), str(HERE / "clients" / file)]


def rust(name):
    return [str(TOOLS / "interop" / "debug" / name)]


CLIENTS = [
    Client("chromium", node("chromium.mjs"), tokens=("query",), reports_status=False),
    Client("eventsource", node("eventsource.mjs")),
    Client("event-source-polyfill", node("event-source-polyfill.mjs")),
    Client("fetch-event-source", node("fetch-event-source.mjs"), shows_retry=True),
    Client("httpx-sse", python("httpx_sse_client.py"), reconnects=False, shows_retry=True),
    Client("sseclient-py", python("sseclient_py_client.py"), reconnects=False),
    Client("eventsource-client", rust("eventsource-client")),
    Client("reqwest-eventsource", rust("reqwest-eventsource")),
    # curl exits with 0 after a complete response, including the last chunk.
    Client("curl", python("curl_client.py"), reconnects=False, shows_retry=True, says=("curl ended with 0: ",)),
]
