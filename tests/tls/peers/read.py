"""Sends stdin as a request and prints the response as it arrives, up to close_notify: read.py PORT CA."""

import socket
import ssl
import sys

port, ca = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
connection = socket.create_connection(("127.0.0.1", int(port)))
# A connection that ends without close_notify raises an exception.
with context.wrap_socket(connection, server_hostname="127.0.0.1", suppress_ragged_eofs=False) as tls:
    print(tls.version(), tls.cipher()[0], file=sys.stderr, flush=True)
    tls.sendall(sys.stdin.buffer.read())
    while chunk := tls.recv(65536):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
