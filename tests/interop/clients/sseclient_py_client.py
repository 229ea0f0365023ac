"""`sseclient-py` from PyPI over `requests`: reads a response that its user has opened. It leaves reconnecting to its
user, and does not report a `retry:` without an event."""

import requests
import sseclient

from report import headers, show, url

try:
    with requests.get(url, headers=headers, stream=True, timeout=(5, 40)) as response:
        if response.status_code != 200:
            show(refused=response.status_code)
        else:
            show(open=True)
            for got in sseclient.SSEClient(response).events():
                show(event=got.event, id=got.id or "", data=got.data)
            show(away="the stream ended")
except requests.RequestException as error:
    show(away=repr(error))
