"""`websocat`, which answers pings by itself and prints a message per line. It does not report close codes."""

import json
import subprocess
import sys
from pathlib import Path

from report import headers, show, show_message, url

WEBSOCAT = Path(__file__).parents[3] / "target" / "tools" / "bin" / "websocat"

# -n: the end of its input does not end the stream. -E: the end of the stream ends it.
command = [WEBSOCAT, "-n", "-E", "-B", "200000", *(f"-H={name}: {value}" for name, value in headers.items()), url]
with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
    is_open = False
    for line in process.stdout:
        is_open = True
        show_message(json.loads(line))
    status = process.wait()
if status == 0 and not is_open:
    # Refused by a close frame right after the handshake.
    show(refused=None)
    sys.exit()
show(away=f"websocat ended with {status}")
