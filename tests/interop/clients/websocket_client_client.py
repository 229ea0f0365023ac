"""PyPI's `websocket-client`, which answers pings by itself. It reconnects on request, but without the last id."""

import json

from websocket import WebSocketApp

from report import headers, show, show_message, url


def closed(_, code, reason):
    if code == 4001:
        show(refused=code)
    else:
        show(away=f"{code} {reason}")


WebSocketApp(url, header=headers, on_message=lambda _, text: show_message(json.loads(text)), on_close=closed).run_forever()
