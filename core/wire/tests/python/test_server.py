"""Two users talk over every pairing of transports, against a running server.

Not a test by itself: the server's own tests start a node and hand over, in the environment,
NODE_ADDRESS (host:port) and NODE_TOKEN_COMMAND (a JSON array: a command that prints an
access token once `--user UUID --device N` are appended).

Setup: fresh users for each test. Action: what clients do, by PROTOCOL.md alone. Expectation: what
PROTOCOL.md promises, in the same words over every transport.
"""

import base64
import json
import os
import subprocess
import unittest
import urllib.error
import urllib.request
import uuid

from ringpost_client import Client, Closed, Refused, new_message_id

HOST, PORT = os.environ["NODE_ADDRESS"].rsplit(":", 1)
TOKEN_COMMAND = json.loads(os.environ["NODE_TOKEN_COMMAND"])
TRANSPORTS = ("tcp", "ws-json", "ws-bin")
PAIRINGS = [(one, other) for one in TRANSPORTS for other in TRANSPORTS]
PATIENCE_S = 60
QUEUE = 30  # messages that wait for a device; the node is configured so


def token(user, device=1, ttl_s=None):
    command = [*TOKEN_COMMAND, "--user", user, "--device", str(device)]
    if ttl_s:
        command += ["--ttl", str(ttl_s)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Device:
    """One device of one user: its token, and connections with it."""

    def __init__(self, user=None, device=1):
        self.user = user or str(uuid.uuid4())
        self.device = device
        self.token = token(self.user, device)

    def connect(self, transport):
        """Signs in; `queue_empty` has not been read yet."""
        client = Client.connect(HOST, int(PORT), transport, timeout=PATIENCE_S)
        client.welcome = client.hello(self.device, self.token, timeout=PATIENCE_S)
        return client

    def connect_live(self, transport):
        """Signs in with nothing waiting."""
        client = self.connect(transport)
        event = client.recv(PATIENCE_S)
        assert event["type"] == "queue_empty" and not event.get("gap"), event
        return client


def pushed(client, kind, **fields):
    """The next event, which must be of this kind and have these fields."""
    event = client.recv(PATIENCE_S)
    assert event["type"] == kind, event
    for name, value in fields.items():
        assert event.get(name) == value, (name, value, event)
    return event


def silent(client):
    """Nothing was pushed before the answer to a ping."""
    client.ping(PATIENCE_S)
    assert not client.events, client.events


def history(device, **query):
    """A page of REST."""
    text = "&".join(f"{name}={value}" for name, value in query.items())
    request = urllib.request.Request(
        f"http://{HOST}:{PORT}/v1/messages?{text}",
        headers={"Authorization": f"Bearer {device.token}"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


class Pairings(unittest.TestCase):
    def each_pairing(self, talk):
        for one, other in PAIRINGS:
            with self.subTest(alice=one, bob=other):
                talk(one, other)

    def test_messages_and_receipts(self):
        self.each_pairing(self.messages_and_receipts)

    def messages_and_receipts(self, one, other):
        alice, bob = Device(), Device()
        a, b = alice.connect_live(one), bob.connect_live(other)
        reply_to = new_message_id()
        message_id = new_message_id()
        sent = a.send(bob.user, b"hello", message_id, reply_to=reply_to, timeout=PATIENCE_S)
        self.assertEqual((sent["status"], sent["message_id"]), ("sent", message_id))
        self.assertNotIn("push", sent)
        got = pushed(b, "new_message", push=1, id=sent["id"], message_id=message_id,
                     encrypted_content=b"hello", reply_to=reply_to, to=bob.user, from_device=1,
                     **{"from": alice.user})
        b.ack(got["push"])
        delivered = pushed(a, "receipt", status="delivered", id=sent["id"], peer=bob.user, push=1)
        a.ack(delivered["push"])
        b.receipt("read", id=got["id"])
        read = pushed(a, "receipt", status="read", id=sent["id"], peer=bob.user, push=2)
        a.ack(read["push"])
        # And the other way round, confirmed by the message's own name.
        answer = b.send(alice.user, bytes(range(256)), timeout=PATIENCE_S)
        self.assertGreater(answer["id"], sent["id"])
        got = pushed(a, "new_message", id=answer["id"], encrypted_content=bytes(range(256)))
        a.receipt("delivered", message_id=got["message_id"])
        delivered = pushed(b, "receipt", status="delivered", id=answer["id"], peer=alice.user)
        b.ack(delivered["push"])
        silent(a)
        silent(b)
        self.assertEqual(a.bye(PATIENCE_S), 1000)
        self.assertEqual(b.bye(PATIENCE_S), 1000)

    def test_what_waited_comes_in_order_and_then_queue_empty(self):
        self.each_pairing(self.offline_queue)

    def offline_queue(self, one, other):
        alice, bob = Device(), Device()
        bob.connect_live(other).bye(PATIENCE_S)
        a = alice.connect_live(one)
        sent = [a.send(bob.user, b"%d" % n, timeout=PATIENCE_S)["id"] for n in range(20)]
        self.assertEqual(sent, sorted(set(sent)))
        b = bob.connect(other)
        got = [pushed(b, "new_message", push=n + 1, encrypted_content=b"%d" % n) for n in range(20)]
        self.assertEqual([event["id"] for event in got], sent)
        pushed(b, "queue_empty")
        # Half of them acked, then the line is lost: the other half comes again, from push 1.
        b.ack(10)
        b.ping(PATIENCE_S)
        b.close()
        b = bob.connect(other)
        for n in range(10, 20):
            pushed(b, "new_message", push=n - 9, id=sent[n])
        pushed(b, "queue_empty")
        b.ack(10)
        b.ping(PATIENCE_S)
        b.close()
        bob.connect_live(other).close()
        a.close()


class Sessions(unittest.TestCase):
    def each_transport(self, talk):
        for transport in TRANSPORTS:
            with self.subTest(transport=transport):
                talk(transport)

    def test_a_ticket_resumes(self):
        self.each_transport(self.resume)

    def resume(self, transport):
        alice, bob = Device(), Device()
        a, b = alice.connect_live("tcp"), bob.connect_live(transport)
        ticket = b.welcome["ticket"]
        b.close()
        sent = a.send(bob.user, b"while away", timeout=PATIENCE_S)
        b = Client.connect(HOST, int(PORT), transport, timeout=PATIENCE_S)
        welcome = b.hello(1, ticket=ticket, timeout=PATIENCE_S)
        self.assertEqual(welcome["user_id"], bob.user)
        pushed(b, "new_message", id=sent["id"], encrypted_content=b"while away")
        pushed(b, "queue_empty")
        b.close()
        # A ticket that was tampered with, or is another device's, is none.
        tampered = bytes([ticket[0], ticket[1] ^ 1]) + ticket[2:]
        for device, bad, reason in (
            (1, tampered, "the ticket is not known: sign in by token"),
            (2, ticket, "device is not that of the token or ticket"),
            (1, None, "no token and no ticket"),
        ):
            client = Client.connect(HOST, int(PORT), transport, timeout=PATIENCE_S)
            with self.assertRaises(Closed) as closed:
                client.hello(device, ticket=bad, timeout=PATIENCE_S)
            self.assertEqual(closed.exception.code, 4401)
            self.assertEqual(closed.exception.reason, reason)
            client.close()
        a.close()

    def test_a_token_is_renewed_in_place(self):
        self.each_transport(self.renewal)

    def renewal(self, transport):
        alice, other = Device(), Device()
        a = alice.connect_live(transport)
        welcome = a.auth(token(alice.user, 1), PATIENCE_S)
        self.assertEqual(welcome["user_id"], alice.user)
        self.assertTrue(welcome["ticket"])
        for bad in (other.token, token(alice.user, 2), "no.token.atall"):
            with self.assertRaises(Refused) as refused:
                a.auth(bad, PATIENCE_S)
            self.assertEqual(refused.exception.code, 16)
        with self.assertRaises(Refused) as refused:
            a.hello(1, alice.token, timeout=PATIENCE_S)
        self.assertEqual(refused.exception.code, 18)
        silent(a)
        a.close()

    def test_the_later_connection_of_a_device_stays(self):
        self.each_transport(self.displacement)

    def displacement(self, transport):
        alice = Device()
        first = alice.connect_live(transport)
        second = alice.connect_live("tcp")
        with self.assertRaises(Closed) as closed:
            first.recv(PATIENCE_S)
        self.assertEqual(closed.exception.code, 4409)
        first.close()
        silent(second)
        second.close()

    def test_several_devices(self):
        self.each_transport(self.several_devices)

    def several_devices(self, transport):
        alice = [Device()]
        alice.append(Device(alice[0].user, 2))
        bob = [Device()]
        bob.append(Device(bob[0].user, 2))
        a1, a2 = alice[0].connect_live(transport), alice[1].connect_live("tcp")
        b1, b2 = bob[0].connect_live(transport), bob[1].connect_live("ws-json")
        sent = a1.send(bob[0].user, b"to all", timeout=PATIENCE_S)
        for device in (b1, b2):
            pushed(device, "new_message", id=sent["id"], encrypted_content=b"to all")
        pushed(a2, "new_message", id=sent["id"], encrypted_content=b"to all", from_device=1,
               to=bob[0].user, **{"from": alice[0].user})
        a2.ack(1)
        silent(a1)
        # The first ack of Bob's is told to each device of Alice, the second to none.
        b2.ack(1)
        pushed(a1, "receipt", status="delivered", id=sent["id"])
        pushed(a2, "receipt", status="delivered", id=sent["id"])
        b1.ack(1)
        b1.receipt("read", id=sent["id"])
        pushed(a1, "receipt", status="read", id=sent["id"])
        pushed(a2, "receipt", status="read", id=sent["id"])
        for client in (a1, a2, b1, b2):
            client.close()

    def test_a_gap_is_read_from_history_and_closed(self):
        self.each_transport(self.gap)

    def gap(self, transport):
        alice, bob = Device(), Device()
        bob.connect_live(transport).bye(PATIENCE_S)
        a = alice.connect_live("tcp")
        sent = [a.send(bob.user, b"%d" % n, timeout=PATIENCE_S)["id"] for n in range(QUEUE + 3)]
        b = bob.connect(transport)
        for n in range(QUEUE):
            pushed(b, "new_message", push=n + 1, id=sent[n])
        told = pushed(b, "queue_empty")
        b.ack(QUEUE)
        after, missed, has_more = told["after"], [], True
        while has_more:
            page = history(bob, after=after, limit=2)
            missed += [message["id"] for message in page["messages"]]
            after, has_more = page["next"], page["has_more"]
        self.assertEqual(missed, sent[QUEUE:])
        with self.assertRaises(Refused) as refused:
            b.ask("pong", PATIENCE_S, type="gap_closed", gap=told["gap"] + 1)
        self.assertEqual(refused.exception.code, 19)
        b.gap_closed(told["gap"])
        silent(b)
        b.bye(PATIENCE_S)
        bob.connect_live(transport).close()
        a.close()

    def test_ephemeral_messages_reach_who_is_there(self):
        self.each_transport(self.ephemeral)

    def ephemeral(self, transport):
        alice, bob = Device(), Device()
        a = alice.connect_live(transport)
        bob.connect_live(transport).bye(PATIENCE_S)
        a.send_nowait(bob.user, b"to nobody", ephemeral=True)
        a.ping(PATIENCE_S)
        b = bob.connect_live(transport)
        a.send_nowait(bob.user, b"now", ephemeral=True)
        event = pushed(b, "new_message", encrypted_content=b"now", ephemeral=True)
        self.assertNotIn("push", event)
        silent(a)
        self.assertEqual(history(alice, user_id=bob.user)["messages"], [])
        a.close()
        b.close()

    def test_a_repeated_message_id(self):
        self.each_transport(self.repeated)

    def repeated(self, transport):
        alice, bob = Device(), Device()
        a, b = alice.connect_live(transport), bob.connect_live("tcp")
        message_id = new_message_id()
        first = a.send(bob.user, b"once", message_id, timeout=PATIENCE_S)
        again = a.send(bob.user, b"once", message_id, timeout=PATIENCE_S)
        self.assertEqual(again["id"], first["id"])
        a.close()
        a = alice.connect_live(transport)
        again = a.send(bob.user, b"once", message_id, timeout=PATIENCE_S)
        self.assertEqual(again["id"], first["id"])
        with self.assertRaises(Refused) as refused:
            a.send(bob.user, b"other", message_id, timeout=PATIENCE_S)
        self.assertEqual(refused.exception.code, 8)
        self.assertEqual(refused.exception.event["id"], first["id"])
        # From another device the same id is a message of its own.
        second = Device(alice.user, 2).connect_live("ws-bin")
        other = second.send(bob.user, b"mine", message_id, timeout=PATIENCE_S)
        self.assertNotEqual(other["id"], first["id"])
        pushed(b, "new_message", id=first["id"], push=1)
        pushed(b, "new_message", id=other["id"], push=2)
        silent(b)
        for client in (a, b, second):
            client.close()


class History(unittest.TestCase):
    def test_pages_before_and_after(self):
        alice, bob, eve = Device(), Device(), Device()
        a, b = alice.connect_live("ws-json"), bob.connect_live("ws-bin")
        eve.connect_live("tcp").close()
        start = history(alice, after="")["next"]
        ids = []
        for n in range(25):
            one, other = ((a, bob), (b, alice))[n % 2]
            ids.append(one.send(other.user, b"%d" % n, timeout=PATIENCE_S)["id"])
        # Backwards, newest first, without a hole and without a double.
        seen, before = [], {}
        while True:
            page = history(alice, user_id=bob.user, limit=10, **before)
            seen += page["messages"]
            if not page["has_more"]:
                break
            before = {"before": seen[-1]["id"]}
        self.assertEqual([message["id"] for message in seen], ids[::-1])
        contents = [base64.b64decode(message["encrypted_content"]) for message in seen]
        self.assertEqual(contents, [b"%d" % n for n in range(24, -1, -1)])
        self.assertEqual({message["status"] for message in seen}, {"sent"})
        # Forwards from a cursor, oldest first.
        seen, cursor = [], start
        while True:
            page = history(bob, user_id=alice.user, limit=7, after=cursor)
            seen += [message["id"] for message in page["messages"]]
            cursor = page["next"]
            if not page["has_more"]:
                break
        self.assertEqual(seen, ids)
        # Others see nothing of it, and without a token there is nothing.
        self.assertEqual(history(eve, user_id=alice.user)["messages"], [])
        eve.token = "no.token.atall"
        with self.assertRaises(urllib.error.HTTPError) as refused:
            history(eve, user_id=alice.user)
        self.assertEqual(refused.exception.code, 401)
        refused.exception.close()
        a.close()
        b.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
