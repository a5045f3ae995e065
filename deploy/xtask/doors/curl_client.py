"""Shows that curl signs in by phone and reads history, on kept connections and on new ones.

Setup: a person directly, through nginx and through HAProxy, with `--http1.1`; a message of somebody
else is there to be read. Action: `/v1/auth/code`, `/v1/auth/verify`, then history five times in one
call of curl: first as it comes, then with `Connection: close`. Expectation: every status and the
message; one connection for the five reads in the first case, five in the second, as curl counts them
(`num_connects`).
"""

import json
import os
import subprocess

from door import HAPROXY, JSON_PROTOCOL, NGINX, SERVER, Person, Tally, code_of

READS = 5


def curl(person, urls, *words):
    """The answers of one call, each with its status and how many connections it opened."""
    command = ["curl", "--silent", "--show-error", "--http1.1", "--max-time", "60",
               "--interface", person.address, "--cacert", os.environ["DOOR_CERTIFICATE"],
               "--write-out", "\n%{http_code} %{num_connects}\n", *words, *urls]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return [(0, 0, done.stderr)]
    lines = done.stdout.splitlines()
    rows = zip(lines[::2], (line.split() for line in lines[1::2]))
    return [(int(status), int(opened), json.loads(text)) for text, (status, opened) in rows]


def post(person, door, path, body):
    words = ("--header", "Content-Type: application/json", "--data", json.dumps(body))
    [(status, _, answer)] = curl(person, [door.url(path)], *words)
    return status, answer


def reads(tally, door, talker):
    person = Person()
    status, asked = post(person, door, "/v1/auth/code", {"phone": person.phone})
    tally.shows(f"curl, {door.name}: asks for a code", status, 202)
    guess = {"request": asked["request"], "phone": person.phone, "device": 1,
             "code": code_of(asked["request"])}
    status, answer = post(person, door, "/v1/auth/verify", guess)
    tally.shows(f"curl, {door.name}: signs in", status, 200)
    client = talker.live(SERVER, JSON_PROTOCOL)
    sent = client.send(answer["user_id"], b"read by curl", timeout=60)
    client.bye(60)
    urls = [door.url(f"/v1/messages?user_id={talker.user}")] * READS
    bearer = ("--header", f"Authorization: Bearer {answer['access_token']}")
    for name, words, opened in (("kept", (), [1, 0, 0, 0, 0]),
                                ("new", ("--header", "Connection: close"), [1] * READS)):
        pages = curl(person, urls, *bearer, *words)
        found = [(status, [row["id"] for row in page["messages"]]) for status, _, page in pages]
        tally.shows(f"curl, {door.name}: history, {name} connections", found,
                    [(200, [sent["id"]])] * READS)
        tally.shows(f"curl, {door.name}: {name} connections", [row[1] for row in pages], opened)
    wrong = curl(person, urls[:1], "--header", "Authorization: Bearer none")
    tally.shows(f"curl, {door.name}: a bad token is a problem", (wrong[0][0], wrong[0][2]["type"]),
                (401, "urn:ringpost:problem:unauthorized"))


def main():
    tally = Tally()
    talker = Person()
    tally.shows("curl: somebody is there to write", talker.sign_in(SERVER))
    for door in (SERVER, NGINX, HAPROXY):
        reads(tally, door, talker)
    tally.end()


main()
