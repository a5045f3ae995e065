"""Shows that the server knows people, not proxies, and believes nobody else about them.

Setup: `trusted_proxies` has 127.0.0.1, where the proxies stand; people come from other addresses of
loopback. Action and expectation: through nginx and HAProxy 50 people sign in by phone, which is more
than one address may ask in a minute; one person alone who goes on asking is refused, even if it
claims to be others, and the next person is not. The same claims made without a proxy help nobody.
Behind PROXY headers of both versions the binary protocol, WebSocket and REST work, and the operator's
list shows the person's address.
"""

from door import (
    ADMIN, ALWAYS, ALWAYS_BYTES, HAPROXY, HAPROXY_BYTES, JSON_PROTOCOL, NGINX, NGINX_BYTES, SERVER,
    Person, Tally, metric,
)

PEOPLE = 50
ONE_ADDRESS_MAX = 30  # auth.requests_per_address_minute
ASKED_MAX = 300  # in so many the limit comes also on a slow machine, where a minute passes meanwhile
DISAGREED = 'ringpost_rest_callers_named_total{by="disagreed"'
NOBODY = {"refresh_token": "rpr1_none"}


def asks_until_refused(person, door, claims):
    """The statuses of one person's calls, up to and with the first 429."""
    found = []
    for number in range(ASKED_MAX):
        fields = {}
        if claims:
            claimed = f"198.51.{number // 250}.{number % 250}"
            fields = {"X_Forwarded_For": claimed, "Forwarded": f"for={claimed}"}
        status, _ = person.ask(door, "POST", "/v1/auth/refresh", NOBODY, **fields)
        found.append(status)
        if status == 429:
            break
    return found


def limits(tally, door):
    everybody = [Person().sign_in(door) for _ in range(PEOPLE)]
    tally.shows(f"{door.name}: {PEOPLE} people sign in", everybody, [True] * PEOPLE)
    for claims in (False, True):
        found = asks_until_refused(Person(), door, claims)
        name = f"{door.name}: one person alone is refused" + (", whatever it claims" if claims else "")
        tally.shows(name, (set(found[:-1]), found[-1]), ({401}, 429))
        tally.shows(f"{name}, and not before its limit", len(found) > ONE_ADDRESS_MAX)
    tally.shows(f"{door.name}: the next person is not", Person().sign_in(door))
    # A claim that the proxy passed on would be held against the proxy, which all others share.
    tally.shows(f"{door.name}: no claim reaches the server", metric(DISAGREED), 0)


def forgery(tally):
    """Who is no trusted proxy is not believed."""
    found = asks_until_refused(Person(), SERVER, claims=True)
    tally.shows("no proxy: one person is refused, whatever it claims", found[-1], 429)
    stranger = Person()
    with SERVER.connect(stranger.address) as sock:
        sock.sendall(b"PROXY TCP4 198.51.100.7 127.0.0.1 40000 7400\r\nRPP1")
        tally.shows("no proxy: a PROXY header ends the connection", sock.recv(100), b"")


def seen(person):
    """How the operator's list shows this address: a set of what says it, over all its rows."""
    status, page = ADMIN.ask("GET", f"/admin/connections?address={person.address}")
    return status, {row["address_from"] for row in page["connections"]}


def transports(tally, door):
    one, other = Person(), Person()
    tally.shows(f"{door.name}: both sign in by REST", (one.sign_in(door), other.sign_in(door)),
                (True, True))
    with door.connect(one.address) as silent:
        silent.sendall(b"RPP1")
        found = (200, set())
        while found == (200, set()):
            found = seen(one)
        tally.shows(f"{door.name}: the operator sees the person", found, (200, {"proxy_header"}))
    for speaks, hears in (("tcp", JSON_PROTOCOL), (JSON_PROTOCOL, "ringpost.v1.bin"),
                          ("ringpost.v1.bin", "tcp")):
        talker, listener = one.live(door, speaks), other.live(door, hears)
        content = f"{speaks} to {hears}".encode()
        sent = talker.send(other.user, content, timeout=60)
        pushed = listener.wait(lambda event: event["type"] == "new_message", 60)
        listener.ack(pushed["push"])
        told = talker.wait(lambda event: event.get("status") == "delivered", 60)
        found = (sent["status"], pushed["encrypted_content"], told["id"])
        tally.shows(f"{door.name}: {speaks} to {hears}", found, ("sent", content, sent["id"]))
        talker.ack(told["push"])
        tally.shows(f"{door.name}: both leave", (talker.bye(60), listener.bye(60)), (1000, 1000))


def main():
    tally = Tally()
    for door in (NGINX, HAPROXY, ALWAYS):
        limits(tally, door)
    for door in (NGINX_BYTES, HAPROXY_BYTES, ALWAYS_BYTES):
        transports(tally, door)
    forgery(tally)
    tally.end()


main()
