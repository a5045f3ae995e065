"""Shows that who guesses, claims or smuggles gets as little behind a proxy as without one.

Setup: as people.py. Action and expectation, through both proxies:

- *who is there*: a phone that has an account and one that has none get the same answers, and so do
  history with somebody and with nobody.
- *codes*: wrong guesses of a stranger, and codes that it asks for, keep the owner of a phone from
  nothing; guesses under a request use up that request's code alone.
- *the log*: control bytes and marks of direction in what a stranger sends are refused or escaped, and
  neither the log nor a metric repeats tokens or the stranger's words.
- *pages*: an upgrade of a page that is not listed gets 403.
- *smuggling*: requests whose end two readers could see at different places never shift the answers that
  others get on the same kept connections; where the proxy passes bytes on, the server refuses them.
"""

import http.client

from door import (
    ADMIN, ALWAYS, ALWAYS_BYTES, HAPROXY, HAPROXY_BYTES, HOST, LOG, NGINX, NGINX_BYTES, PATIENCE_S,
    Person, Tally, code_of,
)

WEB = (NGINX, HAPROXY, ALWAYS)
BYTES = (NGINX_BYTES, HAPROXY_BYTES, ALWAYS_BYTES)
MARK = "wordofastranger"
BAD_CODE = (401, "urn:ringpost:problem:bad_code")

UPGRADE = (
    b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: %s\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"
)
HIDDEN = b"GET /v1/hidden HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = b"POST /v1/auth/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n%s\r\n"

# What two readers could see differently, and the answer of the server itself.
SMUGGLED = {
    "length and chunked": (
        POST % b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n" + b"0\r\n\r\n" + HIDDEN, 400),
    "chunked twice": (
        POST % b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" + b"0\r\n\r\n" + HIDDEN,
        400),
    "another coding": (POST % b"Transfer-Encoding: xchunked\r\n" + b"0\r\n\r\n" + HIDDEN, 400),
    "two lengths": (
        POST % b"Content-Length: 2\r\nContent-Length: 60\r\n" + b"{}" + HIDDEN, 400),
    "a signed length": (POST % b"Content-Length: +2\r\n" + b"{}" + HIDDEN, 400),
    "a bare line feed": (POST.replace(b"\r\n", b"\n") % b"Content-Length: 2\n" + b"{}" + HIDDEN, 400),
    "a space in front of the colon": (POST % b"Content-Length : 60\r\n" + HIDDEN, 400),
    "two hosts": (b"GET /v1/messages HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a refused upgrade, and a request behind it": (UPGRADE % (b"777", b"") + HIDDEN, 426),
    "an upgrade with a body": (
        UPGRADE % (b"13", b"Content-Length: %d\r\n" % len(HIDDEN)) + HIDDEN, 400),
}


def post(person, door, path, body):
    status, answer = person.ask(door, "POST", path, body)
    return status, answer


def who_is_there(tally, door):
    owner = Person()
    owner.sign_in(door)
    stranger, nobody = Person(), Person()
    answers = [post(stranger, door, "/v1/auth/code", {"phone": phone})
               for phone in (owner.phone, nobody.phone)]
    shapes = [(status, sorted(answer), len(answer["request"]), answer["expires_in"])
              for status, answer in answers]
    tally.shows(f"{door.name}: a phone says nothing of people", shapes[0], shapes[1])
    stranger.sign_in(door)
    pages = [stranger.ask(door, "GET", f"/v1/messages?user_id={user}")
             for user in (owner.user, "0b0b0000-0000-4000-8000-00000000dead")]
    pages = [(status, page["messages"], page["has_more"]) for status, page in pages]
    tally.shows(f"{door.name}: nor does history", pages, [(200, [], False)] * 2)


def guess(person, door, phone, request, code):
    body = {"request": request, "phone": phone, "code": code, "device": 1}
    status, answer = post(person, door, "/v1/auth/verify", body)
    return (status, answer["type"]) if status != 200 else status


def codes(tally, door):
    owner, thief = Person(), Person()
    _, asked = post(owner, door, "/v1/auth/code", {"phone": owner.phone})
    right = code_of(asked["request"])
    wrong = f"{(int(right) + 1) % 10 ** len(right):0{len(right)}}"
    others = [post(thief, door, "/v1/auth/code", {"phone": owner.phone}) for _ in range(6)]
    tally.shows(f"{door.name}: asking again is answered alike", {status for status, _ in others}, {202})
    guesses = [guess(thief, door, owner.phone, "bm9uZQ", wrong) for _ in range(6)]
    guesses += [guess(thief, door, owner.phone, others[0][1]["request"], wrong) for _ in range(6)]
    tally.shows(f"{door.name}: a thief's guesses", set(guesses), {BAD_CODE})
    tally.shows(f"{door.name}: and the owner signs in",
                guess(owner, door, owner.phone, asked["request"], right), 200)
    _, asked = post(owner, door, "/v1/auth/code", {"phone": owner.phone})
    right = code_of(asked["request"])
    used_up = [guess(owner, door, owner.phone, asked["request"], code)
               for code in [wrong if wrong != right else "0" * len(right)] * 5 + [right]]
    tally.shows(f"{door.name}: five guesses use a code up", used_up, [BAD_CODE] * 6)


def the_log(tally, door, token):
    nasty = {
        "escape": f"http://{MARK}\x1b[31m.example",
        "direction": f"http://{MARK}‮.example",
        "line": f"http://{MARK}%0d%0aERROR.example",
        "long": f"http://{MARK}{'a' * 2000}.example",
    }
    found = set()
    for text in nasty.values():
        field = b"Origin: " + text.encode() + b"\r\nUser-Agent: " + text.encode() + b"\r\n"
        answer, _ = door.raw(UPGRADE % (b"13", field), Person().address, linger=0.1)
        found.add(answer[9:12])
        path = f"/v1/{MARK}?token={token}".encode()
        door.raw(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%sConnection: close\r\n\r\n" % (path, field),
                 Person().address)
    tally.shows(f"{door.name}: strange origins are refused", found <= {b"403", b"400"})


def the_log_is_clean(tally, token):
    with open(LOG, "rb") as log:
        text = log.read()
    strange = {byte for byte in text if byte < 0x20 or byte == 0x7F} - {0x0A}
    tally.shows("the log has no control bytes", strange, set())
    tally.shows("the log has no marks of direction", "‮".encode() in text, False)
    tally.shows("the log has the refused origin, escaped", MARK.encode() in text)
    tally.shows("the log has no token", token.encode() in text or b"eyJ" in text, False)
    tally.shows("the log has no line of a stranger", b"\nERROR.example" in text, False)
    connection = http.client.HTTPConnection(HOST, ADMIN.port, timeout=PATIENCE_S)
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read()
    tally.shows("no metric repeats a stranger", MARK.encode() in metrics, False)


def pages(tally, door):
    status, problem = Person().ask(
        door, "GET", "/v1/ws", Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Version="13",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", Origin="https://evil.example")
    tally.shows(f"{door.name}: a page that is not listed", (status, problem["type"]),
                (403, "urn:ringpost:problem:origin"))


def smuggling(tally, door, victim):
    for name, (data, _) in SMUGGLED.items():
        found, _ = door.raw(data, Person().address, linger=0.1)
        statuses = [int(part[:3]) for part in found.split(b"HTTP/1.1 ")[1:]]
        tally.shows(f"{door.name}: {name}: nothing hidden is carried out twice",
                    len([status for status in statuses if status < 400]), 0)
        mine = [victim.ask(door, "GET", "/v1/messages?after=")[0] for _ in range(3)]
        tally.shows(f"{door.name}: {name}: others get their own answers", mine, [200] * 3)


def refused(tally, door):
    for name, (data, expected) in SMUGGLED.items():
        found, ended = door.raw(data, Person().address)
        statuses = [int(part[:3]) for part in found.split(b"HTTP/1.1 ")[1:]]
        tally.shows(f"{door.name}: {name}: one refusal", (statuses, ended), ([expected], True))


def main():
    tally = Tally()
    victim = Person()
    tally.shows("a victim signs in", victim.sign_in(NGINX))
    for door in WEB:
        who_is_there(tally, door)
        codes(tally, door)
        pages(tally, door)
        smuggling(tally, door, victim)
    for door in WEB + BYTES:
        the_log(tally, door, victim.token)
    for door in BYTES:
        refused(tally, door)
    the_log_is_clean(tally, victim.token)
    tally.end()


main()
