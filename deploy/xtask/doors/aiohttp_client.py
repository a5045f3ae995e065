"""Shows that aiohttp, with one pooled session for all, is a client like any other.

Setup: two people, each with one `ClientSession`; directly, and through nginx. Action: sign-in by phone
and code, history, and only then `ws_connect`, on the connection that the pool has kept; a message and
its receipts; history again while the WebSocket stands. Expectation: all is as PROTOCOL.md and REST.md
say, and directly the upgrade came on a kept connection.
"""

import asyncio
import base64
import json
import uuid

import aiohttp

from door import (
    JSON_PROTOCOL, NGINX, PATIENCE_S, SERVER, TRUST, Person, Tally, code_of, metric,
)

GIVEN_BACK = "ringpost_rest_connections_given_back_total"


class Caller:
    """A person with a session."""

    def __init__(self, door):
        self.person, self.door = Person(), door
        connector = aiohttp.TCPConnector(
            local_addr=(self.person.address, 0), ssl=TRUST if door.tls else True)
        self.session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=PATIENCE_S))

    async def post(self, path, body):
        async with self.session.post(self.door.url(path), json=body) as answer:
            return answer.status, await answer.json()

    async def sign_in(self):
        status, asked = await self.post("/v1/auth/code", {"phone": self.person.phone})
        assert status == 202, (status, asked)
        code = code_of(asked["request"])
        guess = {"request": asked["request"], "phone": self.person.phone, "code": code, "device": 1}
        status, answer = await self.post("/v1/auth/verify", guess)
        assert status == 200, (status, answer)
        self.user, self.token = answer["user_id"], answer["access_token"]

    async def history(self, peer):
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.session.get(self.door.url("/v1/messages"), params={"user_id": peer.user},
                                    headers=headers) as answer:
            assert answer.status == 200, answer.status
            return [row["message_id"] for row in (await answer.json())["messages"]]

    async def connect(self):
        self.socket = await self.session.ws_connect(
            self.door.url("/v1/ws", "ws"), protocols=[JSON_PROTOCOL])
        await self.say(type="hello", token=self.token, device=1)
        await self.hear("queue_empty")

    async def say(self, **values):
        await self.socket.send_json(values)

    async def hear(self, kind, **fields):
        """The next event of this kind and with these fields; others are passed over."""
        while True:
            event = json.loads(await self.socket.receive_str(timeout=PATIENCE_S))
            if event["type"] == kind and fields.items() <= event.items():
                return event


async def talk(tally, door):
    before = metric(GIVEN_BACK)
    one, other = Caller(door), Caller(door)
    async with one.session, other.session:
        for caller in (one, other):
            await caller.sign_in()
        tally.shows(f"aiohttp, {door.name}: an empty page first", await one.history(other), [])
        await other.history(one)
        for caller in (one, other):
            await caller.connect()
        message_id, content = str(uuid.uuid4()), base64.b64encode(b"from aiohttp" * 1000).decode()
        await one.say(type="send_message", message_id=message_id, to=other.user,
                      encrypted_content=content, tag=7)
        sent = await one.hear("receipt", status="sent")
        pushed = await other.hear("new_message")
        await other.say(type="ack", push=pushed["push"])
        told = await one.hear("receipt", status="delivered")
        found = (sent["tag"], pushed["encrypted_content"], pushed["id"], told["id"])
        tally.shows(f"aiohttp, {door.name}: sent, pushed, delivered", found,
                    (7, content, sent["id"], sent["id"]))
        pages = (await one.history(other), await other.history(one))
        tally.shows(f"aiohttp, {door.name}: history beside the WebSocket", pages,
                    ([message_id], [message_id]))
        for caller in (one, other):
            await caller.socket.close()
        codes = (one.socket.close_code, other.socket.close_code)
        tally.shows(f"aiohttp, {door.name}: closes with 1000", codes, (1000, 1000))
    if not door.tls:
        tally.shows("aiohttp: upgrades came on kept connections", metric(GIVEN_BACK) - before, 2.0)


def main():
    tally = Tally()
    for door in (SERVER, NGINX):
        asyncio.run(talk(tally, door))
    tally.end()


main()
