"""`httpx-sse` from PyPI: headers, status codes, `retry`. It leaves reconnecting to its user."""

import httpx
from httpx_sse import connect_sse

from report import headers, show, url

try:
    # By default, httpx gives up after 5 s of silence; this server is silent for `heartbeat` at most.
    with httpx.Client(timeout=httpx.Timeout(5, read=40)) as client, connect_sse(client, "GET", url, headers=headers) as stream:
        if stream.response.status_code != 200:
            show(refused=stream.response.status_code)
        else:
            show(open=True)
            for got in stream.iter_sse():
                if got.retry is not None:
                    show(retry=got.retry)
                # A frame with only `retry:` (the server sends one before it drains) is delivered as well.
                if got.data:
                    show(event=got.event, id=got.id, data=got.data)
            show(away="the stream ended")
except httpx.HTTPError as error:
    show(away=repr(error))
