"""Forwards all bytes between one peer and the server, and counts the server's records, which no peer reports."""

import socket
import threading

# RFC 8446 §5: type, version and length; the outer type of all encrypted records; and the length of an encrypted alert:
# two bytes, its type, and the cipher's tag.
HEADER_BYTES = 5
ENCRYPTED = 23
ALERT_BYTES = 2 + 1 + 16


class Tap:
    def __init__(self, server_port):
        self.server_port = server_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        # The length of each encrypted record from the server, without its header.
        self.lengths = []
        self.pending = bytearray()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with self.listener:
            peer, _ = self.listener.accept()
        server = socket.create_connection(("127.0.0.1", self.server_port))
        threading.Thread(target=copy, args=(peer, server), daemon=True).start()
        copy(server, peer, self.count)

    def count(self, chunk):
        self.pending += chunk
        at = 0
        while len(self.pending) >= at + HEADER_BYTES:
            length = int.from_bytes(self.pending[at + 3:at + HEADER_BYTES])
            if len(self.pending) < at + HEADER_BYTES + length:
                break
            if self.pending[at] == ENCRYPTED:
                self.lengths.append(length)
            at += HEADER_BYTES + length
        del self.pending[:at]

    def ended_with_alert(self):
        """Returns true if the server's last record is complete and as long as a close_notify."""
        return not self.pending and self.lengths[-1] == ALERT_BYTES


def copy(source, sink, look=lambda chunk: None):
    """Copies until the source ends, then closes the sink for writing."""
    try:
        while chunk := source.recv(65536):
            look(chunk)
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side is gone, so the other is closed as well.
        for end in (source, sink):
            end.close()
