"""Shows that a full disk is told behind a proxy as without one, and ends when there is room again.

Setup: the data directory on a small disk of its own. Action: the disk is filled from beside the server,
people send through each proxy, and room is made. Expectation: each send is answered, by `sent` or by
`overloaded` with a time to come back; the connections stay; what was `sent` comes to its reader
through the proxy, once, and stands in history; and the same senders go on.
"""

import os

from door import (
    ADMIN, ALWAYS, HAPROXY, HAPROXY_BYTES, JSON_PROTOCOL, NGINX, NGINX_BYTES, PATIENCE_S, Person, Tally,
    until,
)
from ringpost_client import Refused

FILLER = os.path.join(os.environ["DOOR_DISK"], "filler")
CONTENT = b"\7" * 60_000
SENDS_MAX = 2_000  # far more than fits
REFUSED_ENOUGH = 5
OVERLOADED = 11
WAYS = ((NGINX, JSON_PROTOCOL), (HAPROXY, "ringpost.v1.bin"), (ALWAYS, JSON_PROTOCOL),
        (NGINX_BYTES, "tcp"), (HAPROXY_BYTES, "tcp"))


def fill():
    with open(FILLER, "wb", buffering=0) as file:
        block = b"\1" * 65_536
        try:
            while file.write(block):
                pass
        except OSError:
            return


def is_ready():
    return ADMIN.ask("GET", "/readyz")[0] == 200


def send_until_refused(client, to):
    """The ids of what was sent, and the refusals."""
    sent, refused = [], []
    for _ in range(SENDS_MAX):
        try:
            sent.append(client.send(to, CONTENT, timeout=PATIENCE_S)["id"])
        except Refused as refusal:
            refused.append(refusal.event)
            if len(refused) == REFUSED_ENOUGH:
                break
    return sent, refused


def main():
    tally = Tally()
    reader = Person()
    tally.shows("the reader signs in", reader.sign_in(NGINX))
    reader.live(NGINX, JSON_PROTOCOL).close()
    senders = []
    for door, transport in WAYS:
        sender = Person()
        sender.sign_in(door if transport != "tcp" else NGINX)
        senders.append((f"{door.name}, {transport}", sender, sender.live(door, transport)))
    fill()
    acknowledged = []
    for name, _, client in senders:
        sent, refused = send_until_refused(client, reader.user)
        acknowledged += sent
        told = {(it["code"], it["retry_after_ms"] > 0) for it in refused}
        tally.shows(f"{name}: refused as overloaded, with a time", told, {(OVERLOADED, True)})
        client.ping(timeout=PATIENCE_S)
    until("the server says that it is not ready", lambda: not is_ready())
    os.remove(FILLER)
    until("ready again", is_ready)
    for name, _, client in senders:
        acknowledged.append(client.send(reader.user, b"room again", timeout=PATIENCE_S)["id"])
        tally.shows(f"{name}: goes on over its connection", True)
    client = HAPROXY.client(JSON_PROTOCOL, reader.address)
    client.hello(1, reader.token, timeout=PATIENCE_S)
    shown = []
    while (event := client.recv(PATIENCE_S))["type"] != "queue_empty":
        client.ack(event["push"])
        shown += [event["id"]] if event["type"] == "new_message" else []
    tally.shows("what was sent comes, each once", sorted(shown), sorted(acknowledged))
    status, page = reader.ask(ALWAYS, "GET", f"/v1/messages?user_id={senders[0][1].user}")
    ids = {message["id"] for message in page["messages"]} if status == 200 else status
    tally.shows("and stands in history", ids and ids <= set(acknowledged))
    tally.end()


main()
