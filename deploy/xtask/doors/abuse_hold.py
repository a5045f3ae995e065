"""Shows that who holds connections, or fills them, is ended behind a proxy as without one.

Setup: short deadlines, and room for few connections. Action and expectation, through both proxies:

- *silent*: who connects and says nothing, says only the preamble, or upgrades and sends no `hello`, is
  closed in time, with 4408 where there is a way to say it.
- *slow*: a head that comes byte by byte meets the server's deadline where the proxy passes bytes on,
  and the proxy's own where that reads heads: then the server never hears of it.
- *large*: a head over 8 KiB or of over 64 fields gets 431; one that is too large for the proxy gets the
  proxy's 400.
- *one address*: a person who holds many connections without signing in is refused, the next is not.
- *full*: `limits.connections_max` holds; who comes then is refused or waits, who is there goes on, and
  room that comes back is given out.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from door import (
    ADMIN, ALWAYS_BYTES, HAPROXY, HAPROXY_BYTES, JSON_PROTOCOL, NGINX, NGINX_BYTES, PATIENCE_S,
    SERVER, Person, Tally, metric, until,
)
from ringpost_client import Closed, HandshakeFailed

PER_ADDRESS = 20  # limits.unauthenticated_per_address_max
CONNECTIONS = 60  # limits.connections_max
READ_BEHIND = 65_536  # PROTOCOL.md, section 11: input behind the last word
WEB = (NGINX, HAPROXY)
BYTES = (NGINX_BYTES, HAPROXY_BYTES, ALWAYS_BYTES)
UPGRADE = (
    b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def last_word(client):
    """The close code, or None where the connection just ends."""
    try:
        while True:
            client.recv(PATIENCE_S)
    except Closed as closed:
        return closed.code


def byte_by_byte(door, source, data):
    """What comes back when the bytes come one after the other until the connection ends."""
    with door.connect(source) as sock:
        found = b""
        sock.settimeout(0.1)
        deadline = time.monotonic() + PATIENCE_S
        try:
            while time.monotonic() < deadline:
                sock.sendall(data[:1] or b"a")
                data = data[1:]
                try:
                    piece = sock.recv(4096)
                except TimeoutError:
                    continue
                if not piece:
                    return found
                found += piece
        except OSError:
            return found  # ended while a byte was on its way
    return b"still open"


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else answer


def silent(tally, pool):
    """Starts all of them at once; returns what judges them in the end."""
    found = []
    for door in BYTES:
        address = Person().address
        found.append((f"{door.name}: nothing is said", (b"", True),
                      pool.submit(door.raw, b"", address)))
        found.append((f"{door.name}: the preamble alone", 4408,
                      pool.submit(last_word, door.client("tcp", address))))
    for door in WEB + BYTES:
        client = door.client(JSON_PROTOCOL, Person().address)
        found.append((f"{door.name}: an upgrade without hello", 4408,
                      pool.submit(last_word, client)))
    return found


def slow(tally, pool):
    found = []
    for door in BYTES:
        answer = pool.submit(lambda door=door: status_of(
            byte_by_byte(door, Person().address, UPGRADE)))
        found.append((f"{door.name}: a slow head", 408, answer))
    stranger = Person()
    answer = pool.submit(lambda: status_of(byte_by_byte(HAPROXY, stranger.address, UPGRADE)))
    found.append(("haproxy: a slow head meets the proxy's deadline", 408, answer))
    for door in WEB:
        with door.connect(stranger.address) as sock:
            sock.sendall(UPGRADE)
            _, page = ADMIN.ask("GET", f"/admin/connections?address={stranger.address}")
            tally.shows(f"{door.name}: the server never hears of it", page["connections"], [])
    return found


def large(tally):
    """A head that goes on for more than is read behind a last word may meet the end of the connection
    before its answer."""
    heads = {
        "a head of 9 KB": b"".join(b"X-%d: %s\r\n" % (n, b"a" * 3000) for n in range(3)),
        "80 fields": b"".join(b"X-%d: a\r\n" % n for n in range(80)),
        "5,000 fields": b"".join(b"X-%d: a\r\n" % n for n in range(5_000)),
        "a head of 1 MB": b"".join(b"X-%d: %s\r\n" % (n, b"a" * 3000) for n in range(340)),
    }
    for name, fields in heads.items():
        head = UPGRADE + fields + b"\r\n"
        for door in BYTES:
            found, ended = door.raw(head, Person().address)
            answers = {431} if len(head) < READ_BEHIND else {431, b""}
            tally.shows(f"{door.name}: {name}", (status_of(found) in answers, ended), (True, True))
        for door in WEB:
            # The proxy reads a head to its end, and refuses what is too large for itself. Whether it
            # keeps the client is its own affair.
            found, _ = door.raw(head, Person().address, linger=0.1)
            answers = {431} if len(head) < 16_000 else {400, b""}
            tally.shows(f"{door.name}: {name}", status_of(found) in answers)


def refusal(door, person):
    """What somebody who upgrades and then signs in meets: a close code or status, or `welcome`."""
    try:
        client = door.client(JSON_PROTOCOL, person.address)
        return client.hello(1, person.token, timeout=PATIENCE_S)["type"]
    except HandshakeFailed as failed:
        return int(failed.status.split(" ")[1])
    except Closed as closed:
        return closed.code


def one_address(tally):
    # In front of a head there is no way to say why: so it is without a proxy, too.
    for door, answer in ((NGINX, 503), (HAPROXY, 503), (HAPROXY_BYTES, None), (SERVER, None)):
        holder, other = Person(), Person()
        other.sign_in(HAPROXY)
        held = [door.client(JSON_PROTOCOL, holder.address) for _ in range(PER_ADDRESS)]
        tally.shows(f"{door.name}: {PER_ADDRESS} and one more of one person",
                    refusal(door, holder), answer)
        tally.shows(f"{door.name}: the next person", refusal(door, other), "welcome")
        for client in held:
            client.close()


def full(tally):
    until("those of before are gone",
          lambda: not ADMIN.ask("GET", "/admin/connections")[1]["connections"])
    one, other = Person(), Person()
    for person in (one, other):
        tally.shows("full: they sign in", person.sign_in(HAPROXY))
    talker, listener = one.live(NGINX, JSON_PROTOCOL), other.live(HAPROXY_BYTES, "tcp")
    newcomer = Person()
    tally.shows("full: a newcomer has a token", newcomer.sign_in(HAPROXY))
    held = []
    while len(held) < 3 * CONNECTIONS:
        try:
            held.append(NGINX.client(JSON_PROTOCOL, Person().address))
        except (HandshakeFailed, Closed):
            break
    tally.shows("full: there is an end", len(held) + 2, CONNECTIONS)
    with ThreadPoolExecutor(1) as pool:
        # Behind the first that is refused the server accepts nobody for a while: others wait.
        answer = pool.submit(refusal, NGINX, newcomer)
        sent = talker.send(other.user, b"goes on", timeout=PATIENCE_S)
        pushed = listener.wait(lambda event: event["type"] == "new_message", PATIENCE_S)
        tally.shows("full: who is there goes on", (sent["status"], pushed["id"]), ("sent", sent["id"]))
        for client in held:
            client.close()
        tally.shows("full: a newcomer is refused or waits", answer.result() in (502, 503, "welcome"))
    until("room is given out again", lambda: refusal(NGINX, newcomer) == "welcome")
    tally.shows("full: room is given out again", True)


def counted(tally):
    """An operator sees why somebody was refused, also where nobody could be told."""
    for metric_name, reasons in (("ringpost_edge_refused_total", ("address",)),
                                 ("ringpost_edge_upgrades_refused_total",
                                  ("head_too_large", "too_many_fields", "too_slow"))):
        for reason in reasons:
            found = metric(f'{metric_name}{{reason="{reason}"')
            tally.shows(f"counted: {reason}", found > 0)


def main():
    tally = Tally()
    with ThreadPoolExecutor(32) as pool:
        waited = silent(tally, pool) + slow(tally, pool)
        large(tally)
        for name, expected, found in waited:
            tally.shows(name, found.result(), expected)
    one_address(tally)
    full(tally)
    counted(tally)
    tally.end()


main()
