"""A test environment for the shipped nginx configuration: a temporary directory with a copy of nginx/ laid out as its
README says, a certificate, an Idlewild, an nginx and a stand-in for Django, all on free ports.

The copy differs only in addresses, paths, and the `change` of a scene.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from scenes_common import Failed, check, environment, free_ports, wait

ROOT = Path(__file__).resolve().parents[2]
SECRET = "the-secret-of-the-nginx-scenes-0123456789"
API_KEY = "the-api-key-of-the-nginx-scenes-0123456789"
BASE = "/api/v1/auth"
STREAM = f"{BASE}/sse/notifications/"


class World:
    def __init__(self, binary, nginx):
        # As an exception, so that `close` runs.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.binary = Path(binary)
        self.nginx = nginx
        self.debian = str(nginx).startswith("/usr/sbin/")
        version = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
        self.version = tuple(int(n) for n in re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", version).groups())
        self.work = Path(tempfile.mkdtemp(prefix="idlewild-nginx-"))
        # Workers run as www-data and have to reach the socket.
        self.work.chmod(0o755)
        self.logs = self.work / "log"
        self.logs.mkdir()
        self.socket = self.work / "run" / "public.sock"
        self.socket.parent.mkdir()
        self.processes = []
        self.idlewild = self.server = self.django = None
        self.tls, self.plain, self.http, self.status, self.stream, self.admin = free_ports(6)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=example.com", "-addext", "subjectAltName=DNS:example.com,DNS:stream.example.com",
             "-keyout", self.work / "privkey.pem", "-out", self.work / "fullchain.pem"],
            check=True, capture_output=True)

    # The copy of nginx/.

    def configure(self, layout="idlewild.conf", http2_directive=None, upstream="unix", change=()):
        """Writes the copy. `change`: additional edits, as (file, pattern, replacement)."""
        conf = self.work / "nginx"
        shutil.rmtree(conf, ignore_errors=True)
        shutil.copytree(ROOT / "nginx" / "parts", conf / "idlewild")
        shutil.copy(ROOT / "nginx" / layout, conf / "nginx.conf")
        (conf / "mime.types").write_text("types { text/html html; }\n")
        if http2_directive is None:
            http2_directive = self.version >= (1, 25, 1)
        temporary = self.temporary_paths()
        edits = [
            ("nginx.conf", r"/run/nginx\.pid", f"{self.work}/nginx.pid"),
            ("nginx.conf", r"/var/log/nginx", str(self.logs)),
            ("nginx.conf", r"\nhttp \{", f"\nhttp {{ {temporary}"),
            ("tls.conf", r"/etc/ssl/idlewild", str(self.work)),
            ("port-80.conf", r"listen 80;", f"listen 127.0.0.1:{self.http};"),
            ("port-80.conf", r"listen \[::\]:80;", ""),
            ("port-80.conf", r"/var/log/nginx", str(self.logs)),
            # A plain listener in addition to TLS, for tools without TLS.
            *((file, r"listen 443 ssl( http2)?", rf"listen 127.0.0.1:{self.plain} backlog=4096 reuseport; listen 127.0.0.1:{self.tls} ssl\1")
              for file in ("listen-443.conf", "listen-443-1.25.conf")),
            *((file, r"listen \[::\]:443[^;]*;", "") for file in ("listen-443.conf", "listen-443-1.25.conf")),
            *((file, r"127\.0\.0\.1:8080", f"127.0.0.1:{self.django_port()}") for file in ("site.conf", "site-direct.conf")),
            *((file, r"/var/log/nginx", str(self.logs)) for file in ("site.conf", "site-direct.conf", "logs.conf")),
            ("upstream-unix.conf", r"unix:/run/idlewild/public\.sock", f"unix:{self.socket}"),
            ("status.conf", r"127\.0\.0\.1:8009", f"127.0.0.1:{self.status}"),
            ("stream-direct.conf", r"listen 8443", f"listen 127.0.0.1:{self.stream}"),
            ("stream-direct.conf", r"listen \[::\]:8443[^;]*;", ""),
            ("stream-direct.conf", r"unix:/run/idlewild/public\.sock", f"unix:{self.socket}"),
        ]
        if not self.debian:
            # The modules there are for Debian's nginx; this one has the module it needs built in.
            edits.append(("nginx.conf", r"\ninclude /etc/nginx/modules-enabled.*", ""))
        if http2_directive:
            edits += [(file, r"listen-443\.conf", "listen-443-1.25.conf") for file in ("site.conf", "site-direct.conf")]
        if upstream != "unix":
            edits.append(("nginx.conf", r"upstream-unix\.conf", f"upstream-{upstream}.conf"))
        for file, pattern, replacement in [*edits, *change]:
            path = conf / file if file == "nginx.conf" else conf / "idlewild" / file
            text, times = re.subn(pattern, replacement, path.read_text())
            check(times, f"{file} no longer matches `{pattern}`")
            path.write_text(text)

    def temporary_paths(self, name=""):
        return "".join(f"{kind}_temp_path {self.work}/{name}{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))

    def nginx_command(self, *more, conf=None):
        return [self.nginx, *([] if self.debian else ["-p", str(self.work)]), "-e", str(self.logs / "start.log"),
                "-c", str(conf or self.work / "nginx" / "nginx.conf"), *more]

    def test_nginx(self):
        """Runs `nginx -t`; returns its output without the lines that report success."""
        done = subprocess.run(self.nginx_command("-t"), capture_output=True, text=True)
        check(done.returncode == 0, f"nginx -t: {done.stderr}")
        # Without root, the workers run as the current user.
        passed_over = ("syntax is ok", "test is successful", '"user" directive makes sense only if')
        return [line for line in done.stderr.splitlines() if not any(words in line for words in passed_over)]

    def configure_own(self, change=()):
        """Writes another site's configuration, which logs queries and includes our parts."""
        self.configure(change=change)
        (self.work / "nginx" / "nginx.conf").write_text(f"""
            {"user www-data;" if os.geteuid() == 0 else ""}
            pid {self.work}/nginx.pid;
            error_log {self.logs}/own-error.log;
            events {{}}
            http {{
                access_log {self.logs}/own-access.log;
                include idlewild/http.conf;
                include idlewild/upstream-unix.conf;
                server {{ listen 127.0.0.1:{self.plain}; listen 127.0.0.1:{self.tls}; include idlewild/locations.conf; }}
            }}""")

    # Processes.

    def start(self, command, log=None, **kwargs):
        if log:
            kwargs |= {"stdout": open(self.logs / log, "a"), "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, **kwargs)
        self.processes.append(process)
        return process

    def start_nginx(self):
        self.server = self.start(self.nginx_command("-g", "daemon off;"), "nginx.out")
        wait("nginx listens", lambda: self.server.poll() is not None or answers(self.tls))
        if self.server.poll() is not None:
            raise Failed(f"nginx did not start: {(self.logs / 'nginx.out').read_text()}{(self.logs / 'start.log').read_text()}")

    def start_outer_nginx(self, settings=""):
        """Starts another nginx in front of the first, with only defaults and `settings`; returns its port and process."""
        [port] = free_ports(1)
        conf = self.work / "outer.conf"
        conf.write_text(f"""
            {"user www-data;" if os.geteuid() == 0 else ""}
            pid {self.work}/outer.pid;
            error_log {self.logs}/outer-error.log;
            events {{}}
            http {{
                {self.temporary_paths("outer-")}
                access_log off;
                {settings}
                server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{self.plain}; }} }}
            }}""")
        process = self.start(self.nginx_command("-g", "daemon off;", conf=conf), "outer.out")
        wait("the outer nginx listens", lambda: process.poll() is not None or answers(port))
        check(process.poll() is None, f"the outer nginx did not start: {(self.logs / 'outer.out').read_text()}")
        return port, process

    def workers(self):
        """The process ids of nginx's workers, except those that are shutting down."""
        found = []
        for child in Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text().split():
            try:
                title = Path(f"/proc/{child}/cmdline").read_text()
            except OSError:
                continue
            if "worker process" in title and "shutting down" not in title:
                found.append(int(child))
        return found

    def stop_nginx(self):
        self.end(self.server)
        self.server = None

    def start_idlewild(self, settings="", listen=None, admin=None, log="idlewild.out"):
        """Starts an Idlewild on the unix socket, or on `listen` (TOML)."""
        config = self.work / f"{log}.toml"
        config.write_text(
            f'listen = {listen or json.dumps([f"unix:{self.socket}"])}\nadmin_listen = ["127.0.0.1:{admin or self.admin}"]\n'
            + (settings if "heartbeat" in settings else f'heartbeat = "1s"\n{settings}')
            + f'\n[auth]\nsecret = "{SECRET}"\n')
        process = self.start([str(self.binary), "serve", "--config", str(config)], log,
                             env=environment() | {"IDLEWILD_ADMIN__API_KEY": API_KEY})
        wait("Idlewild is ready", lambda: process.poll() is not None or self.ready(admin))
        if process.poll() is not None:
            raise Failed(f"Idlewild did not start: {(self.logs / log).read_text().strip().splitlines()[-1]}")
        if listen is None:
            # As a common group of both would (nginx/README.md).
            self.share_socket()
            self.idlewild = process
        return process

    def share_socket(self):
        """Lets nginx's workers reach the socket. Without root, they run as this user anyway."""
        if os.geteuid() == 0:
            shutil.chown(self.socket, group="www-data")

    def ready(self, admin=None):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{admin or self.admin}/readyz", timeout=1).status == 200
        except OSError:
            return False

    def end(self, process, how=signal.SIGTERM):
        if process.poll() is None:
            process.send_signal(how)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failed(f"{process.args[0]} did not end within 15 s") from None
        finally:
            self.processes.remove(process)

    def close(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.django:
            self.django.shutdown()
        shutil.rmtree(self.work, ignore_errors=True)

    # The stand-in for Django: returns the request that it received.

    def django_port(self):
        if not self.django:
            class Echo(http.server.BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def do_GET(self):
                    body = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *_):
                    pass

            self.django = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
            threading.Thread(target=self.django.serve_forever, daemon=True).start()
        return self.django.server_address[1]

    # Clients.

    def token(self, user, **claims):
        def part(value):
            return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

        body = {"user_id": str(user), "exp": int(time.time()) + 900, "iat": int(time.time())} | claims
        signed = part(b'{"alg":"HS256","typ":"JWT"}') + "." + part(json.dumps(body).encode())
        return signed + "." + part(hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).digest())

    def url(self, path=STREAM, port=None, scheme="https"):
        return f"{scheme}://example.com:{port or self.tls}{path}"

    def curl_command(self, *args, port=None):
        return ["curl", "-sSN", "--cacert", str(self.work / "fullchain.pem"),
                "--connect-to", f"::127.0.0.1:{port or ''}", *args]

    def curl(self, *args, seconds=10, port=None):
        """Returns what curl printed, and its exit status."""
        done = subprocess.run(self.curl_command("--max-time", str(seconds), *args, port=port), capture_output=True, text=True)
        return done.stdout, done.returncode

    def head(self, *args, **kwargs):
        """Returns the status, the header fields by lower-case name, and the body."""
        printed, _ = self.curl("-i", *args, **kwargs)
        head, _, body = printed.replace("\r\n", "\n").partition("\n\n")
        lines = head.split("\n")
        check(lines[0].startswith("HTTP/"), f"no response to curl {args[-1]}: {printed!r}")
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            fields.setdefault(name.lower(), []).append(value)
        return int(lines[0].split()[1]), fields, body

    def listen(self, *args):
        """Starts a curl that keeps its stream open."""
        return Listener(self, args)

    def hold(self, users, source="127.0.0.1", port=None, path=STREAM):
        """Opens plain streams, one per user, and reads their heads; returns the sockets and the status codes."""
        held = []
        for user in users:
            one = socket.create_connection(("127.0.0.1", port or self.plain), source_address=(source, 0), timeout=10)
            one.sendall(f"GET {path}?token={self.token(user)} HTTP/1.1\r\nHost: example.com\r\n\r\n".encode())
            held.append(one)
        heads = []
        for one in held:
            head = b""
            while b"\r\n\r\n" not in head:
                more = one.recv(4096)
                check(more, "a stream was closed at once")
                head += more
            heads.append(int(head.split()[1]))
        return held, heads

    # Idlewild's admin listener.

    def ask(self, path, body=None, admin=None):
        request = urllib.request.Request(f"http://127.0.0.1:{admin or self.admin}{path}", data=body and json.dumps(body).encode(),
                                         headers={"Authorization": f"Bearer {API_KEY}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def publish(self, data, to=None):
        self.ask("/v1/events", {"to": to or {"all": True}, "data": data})

    def metric(self, name, admin=None):
        lines = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$" if "{" not in name else rf"^{re.escape(name)} (\S+)$",
                           self.ask("/metrics", admin=admin), re.M)
        return sum(int(float(n)) for n in lines)

    def remote(self, user, admin=None):
        return [c["remote"] for c in json.loads(self.ask(f"/v1/users/{user}", admin=admin))["connections"]]

    def leaks(self):
        """Lines of any log that contain a JWT or the key."""
        found = []
        for log in sorted(self.logs.iterdir()):
            for line in log.read_text(errors="replace").splitlines():
                if API_KEY in line or re.search(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", line):
                    found.append(f"{log.name}: {line}")
        return found


class Listener:
    """A curl in the background, with its output so far."""

    def __init__(self, world, args):
        self.world = world
        self.file = world.work / f"curl-{len(list(world.work.glob('curl-*')))}"
        self.process = subprocess.Popen(world.curl_command(*args), stdout=open(self.file, "w"), stderr=subprocess.DEVNULL)
        world.processes.append(self.process)

    def text(self):
        return self.file.read_text()

    def sees(self, pattern, seconds=10):
        def look():
            check(self.process.poll() is None or re.search(pattern, self.text()), f"curl exited with {self.process.returncode} before `{pattern}`: {self.text()}")
            return re.search(pattern, self.text())
        return wait(f"curl prints `{pattern}`", look, seconds)

    def leave(self):
        self.process.terminate()
        self.process.wait()
        self.world.processes.remove(self.process)

    def ended(self, seconds=15):
        """Waits until it ends by itself; returns its exit status."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"curl did not end within {seconds} s: {self.text()}") from None
        self.world.processes.remove(self.process)
        return status


def answers(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
