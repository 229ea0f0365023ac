"""`curl -N --compressed`, with its output parsed as the standard says (WHATWG HTML, "Interpreting an event stream")."""

import re
import subprocess

from report import headers, show, url

fields = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
# With -i, the status is on the first line; `-w` would print it only at the end.
curl = subprocess.Popen(["curl", "-sSNi", "--compressed", *fields, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def lines():
    """Yields lines as they arrive. Splits at \\n only, because this server writes no \\r."""
    for line in curl.stdout:
        yield line.decode().removesuffix("\n")


got = lines()
status = int(next(got, "HTTP/1.1 0").split()[1])
for line in got:
    if not line.strip("\r"):
        break

if status == 200:
    show(open=True)
    name, data, last_id = "", [], ""
    for line in got:
        if not line:
            if data:
                show(event=name or "message", id=last_id, data="\n".join(data))
            name, data = "", []
            continue
        field, value = re.fullmatch("([^:]*)(?:: ?(.*))?", line).groups(default="")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id":
            last_id = value
        elif field == "retry":
            show(retry=int(value))

ended = curl.wait()
if status not in (0, 200):
    show(refused=status)
else:
    show(away=f"curl ended with {ended}: {curl.stderr.read().decode().strip()}")
