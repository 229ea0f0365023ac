"""PyPI's `websockets`, which answers pings by itself. It reconnects on request, but without the last id."""

import json

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from report import headers, show, show_message, url

try:
    with connect(url, additional_headers=headers) as stream:
        try:
            while True:
                show_message(json.loads(stream.recv()))
        except ConnectionClosed as closed:
            how = closed.rcvd
            if how and how.code == 4001:
                show(refused=how.code)
            else:
                show(away=f"{how.code} {how.reason}" if how else str(closed))
except (OSError, InvalidStatus) as error:
    show(away=repr(error))
