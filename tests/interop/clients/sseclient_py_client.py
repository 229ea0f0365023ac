"""PyPI's `sseclient-py` over `requests`: reads a response that one has opened. Coming back is left to its user; a
`retry:` without an event it does not show."""

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
