"""What the Python scripts here share: where the doors are, people with addresses, and a tally.

A *door* is a port that takes clients: the server's own, or one of a proxy in front. A *person* has an
address of its own in 127.0.0.0/8, a phone and, once signed in, a token. Everything comes from the
environment that `cargo xtask doors` sets. Nothing here judges times: what must come is waited for
PATIENCE_S at most.
"""

import http.client
import itertools
import json
import os
import re
import socket
import ssl
import sys
import time

sys.path.insert(0, os.environ["DOOR_CLIENT"])
from ringpost_client import BinaryTransport, Client, Stream, WebSocketTransport  # noqa: E402

HOST = "127.0.0.1"
PATIENCE_S = 60
JSON_PROTOCOL = "ringpost.v1.json"
LOG = os.environ["DOOR_LOG"]
TRUST = ssl.create_default_context(cafile=os.environ["DOOR_CERTIFICATE"])


class Door:
    """A port, and whether it speaks TLS."""

    def __init__(self, name, tls=True):
        self.name = name.lower().replace("_", " ")
        self.port = int(os.environ[f"DOOR_{name}"])
        self.tls = TRUST if tls else None

    def connect(self, source=None):
        """A socket from the address `source`, behind the handshake of TLS."""
        here = (source, 0) if source else None
        sock = socket.create_connection((HOST, self.port), PATIENCE_S, here)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.tls.wrap_socket(sock, server_hostname=HOST) if self.tls else sock

    def client(self, transport, source=None):
        """The client that was written from PROTOCOL.md: "tcp" or a subprotocol's name."""
        stream = Stream(self.connect(source))
        if transport == "tcp":
            return Client(BinaryTransport(stream))
        deadline = time.monotonic() + PATIENCE_S
        host = f"{HOST}:{self.port}"
        return Client(WebSocketTransport(stream, host, transport, deadline))

    def ask(self, method, path, body=None, source=None, **fields):
        """A request on a connection of its own: status, and the body read as JSON."""
        here = (source, 0) if source else None
        if self.tls:
            connection = http.client.HTTPSConnection(
                HOST, self.port, timeout=PATIENCE_S, source_address=here, context=self.tls)
        else:
            connection = http.client.HTTPConnection(
                HOST, self.port, timeout=PATIENCE_S, source_address=here)
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        if body is not None:
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def raw(self, data, source, linger=PATIENCE_S):
        """What comes back on a connection of its own, and whether it has ended: until its end, or until
        nothing has come for `linger` seconds behind the first bytes."""
        with self.connect(source) as sock:
            found = b""
            try:
                sock.sendall(data)
                while piece := sock.recv(65536):
                    found += piece
                    sock.settimeout(linger)
            except TimeoutError:
                return found, False
            except (ConnectionError, ssl.SSLError):
                pass  # an end as well: what was sent was not read to its end
            return found, True

    def url(self, path, scheme="http"):
        return f"{scheme}{'s' if self.tls else ''}://{HOST}:{self.port}{path}"


SERVER = Door("SERVER", tls=False)
ADMIN = Door("ADMIN", tls=False)
NGINX, NGINX_BYTES = Door("NGINX"), Door("NGINX_BYTES")
HAPROXY, HAPROXY_BYTES = Door("HAPROXY"), Door("HAPROXY_BYTES")
ALWAYS, ALWAYS_BYTES = Door("ALWAYS"), Door("ALWAYS_BYTES")

numbers = itertools.count(os.getpid() * 1000 % 10_000_000)
addresses = (f"127.{a}.{b}.{c}" for a in range(3, 250) for b in range(250) for c in range(1, 250))


class Person:
    """Somebody with an address and a phone that nobody else here has."""

    def __init__(self):
        self.address = next(addresses)
        self.phone = f"+1555{next(numbers):07}"
        self.user = self.token = None

    def sign_in(self, door, device=1, **fields):
        """By phone and code; the code stands in the server's log. True, or the status of a refusal."""
        status, asked = self.ask(door, "POST", "/v1/auth/code", {"phone": self.phone}, **fields)
        if status != 202:
            return status
        guess = {"request": asked["request"], "phone": self.phone, "device": device,
                 "code": code_of(asked["request"])}
        status, answer = self.ask(door, "POST", "/v1/auth/verify", guess, **fields)
        if status != 200:
            return status
        self.user, self.token = answer["user_id"], answer["access_token"]
        return True

    def ask(self, door, method, path, body=None, **fields):
        if self.token:
            fields.setdefault("Authorization", f"Bearer {self.token}")
        return door.ask(method, path, body, self.address, **fields)

    def live(self, door, transport):
        """A client that is signed in, behind `queue_empty`; what waited is acked."""
        client = door.client(transport, self.address)
        client.hello(1, self.token, timeout=PATIENCE_S)
        while (event := client.recv(PATIENCE_S))["type"] != "queue_empty":
            client.ack(event["push"])
        return client


def code_of(request):
    """The code that the server's log names for a request of `/v1/auth/code`."""
    pattern = re.compile(rf"request=\"?{re.escape(request)}\"? code=\"?(\d+)")
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with open(LOG, encoding="utf-8", errors="replace") as log:
            if found := pattern.search(log.read()):
                return found[1]
        time.sleep(0.01)
    raise TimeoutError(f"no code of {request} in the log")


def metric(name):
    """The sum of a metric over its labels, or of one row where `name` has labels."""
    connection = http.client.HTTPConnection(HOST, ADMIN.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    bare, _, labels = name.partition("{")
    rows = (line for line in text.splitlines() if re.match(rf"{bare}(\{{| )", line))
    return sum(float(row.split()[-1]) for row in rows if labels in row)


def until(what, wanted):
    """Waits until `wanted()` holds, and returns what it returned."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := wanted()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_S} s: {what}")
        time.sleep(0.02)
    return value


class Tally:
    """Names what was shown, goes on after a failure, and ends the script with the sum."""

    def __init__(self):
        self.failed = 0

    def shows(self, name, found, expected=True):
        good = found == expected
        self.failed += not good
        word = "ok    " if good else "FAILED"
        print(f"{word} {name}" + ("" if good else f": {found!r}, not {expected!r}"), flush=True)

    def end(self):
        sys.exit(f"{self.failed} failed" if self.failed else 0)
