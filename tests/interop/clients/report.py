"""The arguments and the output of the Python clients (README.md)."""

import json
import sys

url, token, last_event_id = sys.argv[1:4]

headers = {"Accept": "text/event-stream"}
if token:
    headers["Authorization"] = f"Bearer {token}"
if last_event_id:
    headers["Last-Event-ID"] = last_event_id


def show(**line):
    print(json.dumps(line), flush=True)


def show_message(message):
    """Prints a WebSocket message. The first has the same contents as the first block of an event stream."""
    event, id, data = message["event"], message.get("id", ""), message["data"]
    if event == "open":
        show(open=True)
        show(retry=data["retry"])
        show(event="heartbeat", id=id, data="{}")
    else:
        show(event=event, id=id, data=data if isinstance(data, str) else json.dumps(data, separators=(",", ":"), ensure_ascii=False))
