"""The clients that go through the scene, and what each can do (clients/README.md, docs/clients.md)."""

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOOLS = ROOT / "target" / "tools"


@dataclass(frozen=True)
class Client:
    name: str
    command: list
    # By which ways a token gets in: "query", "header".
    tokens: tuple = ("query", "header")
    # Comes back by itself, with the last id; else the scene starts it again.
    comes_back: bool = True
    # Tells the status of a refusal.
    tells_status: bool = True
    # Shows the server's `retry:`.
    shows_retry: bool = False
    # What an `away` has to say, if anything.
    says: tuple = ()


def node(file):
    return ["node", str(HERE / "clients" / file)]


def python(file):
    return [str(TOOLS / "interop-python" / "bin" / "python"), str(HERE / "clients" / file)]


def rust(name):
    return [str(TOOLS / "interop" / "debug" / name)]


CLIENTS = [
    Client("chromium", node("chromium.mjs"), tokens=("query",), tells_status=False),
    Client("eventsource", node("eventsource.mjs")),
    Client("event-source-polyfill", node("event-source-polyfill.mjs")),
    Client("fetch-event-source", node("fetch-event-source.mjs"), shows_retry=True),
    Client("httpx-sse", python("httpx_sse_client.py"), comes_back=False, shows_retry=True),
    Client("sseclient-py", python("sseclient_py_client.py"), comes_back=False),
    Client("eventsource-client", rust("eventsource-client")),
    Client("reqwest-eventsource", rust("reqwest-eventsource")),
    # 0 is curl's own: a whole response, the last chunk included.
    Client("curl", python("curl_client.py"), comes_back=False, shows_retry=True, says=("curl ended with 0: ",)),
]
