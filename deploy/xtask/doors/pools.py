"""Shows that a proxy may mix REST and upgrades on the connections that it keeps to the server.

Setup: people signed in, behind nginx with `keepalive`, HAProxy as it is shipped, and HAProxy with
`http-reuse always`. Action: 20 times history and then a WebSocket with a sign-in, one after the other;
then 20 of each at once. Expectation: each is answered as without a proxy, and the server has seen
upgrades on connections that carried a request before, so that the pool was really used.
"""

import asyncio
import json

import aiohttp

from door import ALWAYS, HAPROXY, JSON_PROTOCOL, NGINX, TRUST, Person, Tally, metric

TIMES = 20
GIVEN_BACK = "ringpost_rest_connections_given_back_total"


async def history(session, door, person):
    """The status of a page."""
    headers = {"Authorization": f"Bearer {person.token}"}
    url = door.url(f"/v1/messages?user_id={person.user}")
    async with session.get(url, headers=headers, ssl=TRUST) as answer:
        await answer.read()
        return answer.status


async def upgrade(session, door, person):
    """The type of the first event behind `hello`."""
    url = door.url("/v1/ws", "ws")
    async with session.ws_connect(url, protocols=[JSON_PROTOCOL], ssl=TRUST) as socket:
        await socket.send_json({"type": "hello", "token": person.token, "device": 1})
        return json.loads(await socket.receive_str())["type"]


async def attempt(work):
    try:
        return await work
    except aiohttp.ClientError as error:
        return repr(error)


async def mix(tally, door, people):
    before = metric(GIVEN_BACK)
    connector = aiohttp.TCPConnector(local_addr=(people[0].address, 0), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        found = []
        for person in people:
            found.append(await attempt(history(session, door, person)))
            found.append(await attempt(upgrade(session, door, person)))
        right = [200, "welcome"] * TIMES
        tally.shows(f"{door.name}: {TIMES} requests and {TIMES} upgrades in turn", found, right)
        work = (attempt(ask(session, door, person))
                for person in people for ask in (history, upgrade))
        tally.shows(f"{door.name}: the same at once", await asyncio.gather(*work), right)
    tally.shows(f"{door.name}: kept connections were upgraded", metric(GIVEN_BACK) > before)


def main():
    tally = Tally()
    people = [Person() for _ in range(TIMES)]
    tally.shows("all sign in", [person.sign_in(NGINX) for person in people], [True] * TIMES)
    for door in (NGINX, HAPROXY, ALWAYS):
        asyncio.run(mix(tally, door, people))
    tally.end()


main()
