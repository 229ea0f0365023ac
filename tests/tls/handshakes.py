"""Tests handshakes, and renewals after them, with `openssl s_client`."""

import signal

from certificates import Certificate
from peers import CIPHERS
from s_client import SClient, connect
from scenes_common import check
from scenes_server import wait
from tls_server import TlsServer

OK = "HTTP/1.1 200 OK"


def resume(binary, directory):
    """a ticket resumes a session with each cipher, and a stream is encrypted with the keys of that session"""
    with TlsServer(binary, [Certificate(directory, "localhost", "DNS:localhost")]) as server:
        server.start()
        for cipher in CIPHERS:
            session = directory / cipher
            connect(server, "-ciphersuites", cipher, "-sess_out", session, says=f"New, TLSv1.3, Cipher is {cipher}")
            client = SClient.stream(server, "resumer", "-ciphersuites", cipher, "-sess_in", session)
            server.ask("/v1/events", {"to": {"user": "resumer"}, "data": f"for {cipher}"})
            client.wait_for(f"data: for {cipher}\n")
            server.ask("/v1/users/resumer/connections", method="DELETE")
            text = client.end()
            check(f"Reused, TLSv1.3, Cipher is {cipher}" in text, f"the session was not resumed:\n{text}")


def no_tickets(binary, directory):
    """with session_tickets = false, there are no tickets"""
    with TlsServer(binary, [Certificate(directory, "localhost", "DNS:localhost")], tls="session_tickets = false") as server:
        server.start()
        text = connect(server, "-sess_out", directory / "no-session", says=OK)
        check("New Session Ticket" not in text, f"the server sent a ticket:\n{text}")
        check(not (directory / "no-session").exists(), "there is a session to resume")


def names(binary, directory):
    """the server name (SNI) selects the certificate; without one, or with an unknown one, the first is sent"""
    certificates = [Certificate(directory, "one.example", "DNS:one.example"),
                    Certificate(directory, "two.example", "DNS:two.example,DNS:*.two.example")]
    with TlsServer(binary, certificates) as server:
        server.start()
        for asked, sent in [("one.example", "one"), ("two.example", "two"), ("sub.two.example", "two"), ("three.example", "one")]:
            connect(server, "-servername", asked, says=f"subject=CN = {sent}.example")
        connect(server, "-noservername", says="subject=CN = one.example")


def older(binary, directory):
    """TLS 1.2 is refused, and the log names the page that explains it"""
    with TlsServer(binary, [Certificate(directory, "localhost", "DNS:localhost")]) as server:
        server.start()
        connect(server, "-tls1_2", says="alert protocol version")
        refusals = [line for line in server.log.read_text().splitlines() if "docs/tls.md" in line]
        check(len(refusals) == 1 and "a client without TLS 1.3 was refused" in refusals[0], f"the log has {refusals}")


def renewed(binary, directory):
    """a certificate that is replaced on disk is sent after SIGHUP, and an earlier stream continues"""
    certificate = Certificate(directory, "before.example", "DNS:before.example")
    with TlsServer(binary, [certificate]) as server:
        server.start()
        client = SClient.stream(server, "stayer")
        check("subject=CN = before.example" in client.text(), f"the server sent another certificate:\n{client.text()}")
        certificate.renew("after.example", "DNS:after.example")
        server.process.send_signal(signal.SIGHUP)
        wait("the configuration is reloaded", lambda: " reloaded" in server.log.read_text())
        connect(server, says="subject=CN = after.example")
        server.ask("/v1/events", {"to": {"user": "stayer"}, "data": "still there"})
        client.wait_for("data: still there\n")
        server.stop()
        client.end()


def new_keys(binary, directory):
    """a stream whose client renews its keys is ended properly, so that the client reconnects"""
    with TlsServer(binary, [Certificate(directory, "localhost", "DNS:localhost")]) as server:
        server.start()
        client = SClient.stream(server, "updater")
        # A command for s_client, not for the server.
        client.type("K\n")
        text = client.end()
        check("KEYUPDATE" in text, f"openssl did not renew its keys:\n{text}")
        check("\n0\n" in text.replace("\r", ""), f"the body has no last chunk:\n{text}")


def no_key_log(binary, directory):
    """a server without --dev ignores SSLKEYLOGFILE"""
    keys = directory / "no-keys"
    with TlsServer(binary, [Certificate(directory, "localhost", "DNS:localhost")]) as server:
        server.start(variables={"SSLKEYLOGFILE": str(keys)})
        connect(server, says=OK)
        check(not keys.exists(), "keys were written")


def key_log(binary, directory):
    """a server with --dev writes the same secrets as the client to SSLKEYLOGFILE"""
    keys, clients = directory / "keys", directory / "clients-keys"
    with TlsServer(binary, [Certificate(directory, "localhost", "DNS:localhost")]) as server:
        server.start(options=["--dev"], variables={"SSLKEYLOGFILE": str(keys)})
        connect(server, "-keylogfile", clients, says=OK)
        check(keys.exists(), "no keys were written")
        secrets = traffic_secrets(clients)
        check(len(secrets) == 2, f"openssl wrote {len(secrets)} secrets, not one for each direction")
        check(traffic_secrets(keys) == secrets, "the server wrote other secrets")


def traffic_secrets(file):
    return {line for line in file.read_text().splitlines() if "_TRAFFIC_SECRET_0 " in line}


HANDSHAKES = [resume, no_tickets, names, older, renewed, new_keys, no_key_log, key_log]
