"""event.py ADMIN TEXT: publishes to user 42 with the installed idlewild-client; the key is in IDLEWILD_API_KEY."""

import sys

import idlewild
import idlewild_django

assert "site-packages" in idlewild.__file__ and "site-packages" in idlewild_django.__file__
with idlewild.Client(sys.argv[1]) as hub:
    hub.send_to_user(42, {"text": sys.argv[2]})
