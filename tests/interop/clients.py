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
    # What it reports of a refusal: the status, or the close code of a WebSocket.
    refused_with: int | None = 401
    # Reports the server's `retry:`.
    shows_retry: bool = False
    # Reasons that `away` lines have to give, if any.
    says: tuple = ()
    transport: str = "sse"


def node(file):
    return ["node", str(HERE / "clients" / file)]


def python(file):
    return [str(TOOLS / "interop-python" / "bin" / "python"), str(HERE / "clients" / file)]


def rust(name):
    return [str(TOOLS / "interop" / "debug" / name)]


def websocket(name, command, **can):
    """A WebSocket client. Its `away` lines must have the close codes of the drain, the disconnect and the log-out."""
    says = ("1001 Going away", "1001 Disconnected", "4003 Logged out")
    return Client(name, command, **{"reconnects": False, "refused_with": 4001, "shows_retry": True, "says": says, "transport": "ws"} | can)


CLIENTS = [
    Client("chromium", node("chromium.mjs"), tokens=("query",), refused_with=None),
    Client("eventsource", node("eventsource.mjs")),
    Client("event-source-polyfill", node("event-source-polyfill.mjs")),
    Client("fetch-event-source", node("fetch-event-source.mjs"), shows_retry=True),
    Client("httpx-sse", python("httpx_sse_client.py"), reconnects=False, shows_retry=True),
    Client("sseclient-py", python("sseclient_py_client.py"), reconnects=False),
    Client("eventsource-client", rust("eventsource-client")),
    Client("reqwest-eventsource", rust("reqwest-eventsource")),
    # curl exits with 0 after a complete response, including the last chunk.
    Client("curl", python("curl_client.py"), reconnects=False, shows_retry=True, says=("curl ended with 0: ",)),
    websocket("chromium-websocket", node("chromium-websocket.mjs"), tokens=("query",), reconnects=True),
    websocket("ws", node("ws.mjs")),
    websocket("websockets", python("websockets_client.py")),
    websocket("websocket-client", python("websocket_client_client.py")),
    websocket("websocat", python("websocat_client.py"), refused_with=None, says=("websocat ended with 0",)),
]
