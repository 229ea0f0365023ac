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
