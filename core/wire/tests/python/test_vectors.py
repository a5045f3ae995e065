"""The examples of PROTOCOL.md, read and written by a codec that knows nothing else.

No server, no network. Run: python3 test_vectors.py [-v]
"""

import json
import pathlib
import re
import socket
import time
import unittest

import ringpost_client as client
import ringpost_codec as codec

PROTOCOL = pathlib.Path(__file__).resolve().parents[2] / "PROTOCOL.md"
TEXT = PROTOCOL.read_text(encoding="utf-8")
DIRECTIONS = {"command": codec.COMMANDS, "event": codec.EVENTS}


def vectors():
    """(direction, name, frame, text) of every example."""
    blocks = {}
    pattern = r"^```(hex|json) (command|event): (.+?)\n(.*?)^```$"
    for encoding, direction, name, block in re.findall(pattern, TEXT, re.M | re.S):
        blocks.setdefault((direction, name), {})[encoding] = block
    for (direction, name), both in blocks.items():
        frame = b"".join(bytes.fromhex(line[:48]) for line in both["hex"].splitlines())
        yield direction, name, frame, both["json"]


def decode(direction, frame):
    reader = codec.FrameReader()
    reader.feed(frame)
    values = codec.decode_frame(DIRECTIONS[direction], *reader.next())
    assert not reader.buffer
    return values


class Vectors(unittest.TestCase):
    def test_there_is_an_example_of_every_kind(self):
        names = {(direction, name) for direction, name, _, _ in vectors()}
        for direction, kinds in DIRECTIONS.items():
            for kind in kinds:
                self.assertIn((direction, kind), names)

    def test_both_encodings_read_as_the_same(self):
        for direction, name, frame, text in vectors():
            with self.subTest(direction=direction, name=name):
                from_frame = decode(direction, frame)
                self.assertEqual(from_frame, codec.decode_text(DIRECTIONS[direction], text))
                self.assertEqual(from_frame["type"], name.split(",")[0].split(" ")[0])

    def test_frames_are_written_byte_for_byte(self):
        for direction, name, frame, text in vectors():
            with self.subTest(direction=direction, name=name):
                values = codec.decode_text(DIRECTIONS[direction], text)
                self.assertEqual(codec.encode_frame(DIRECTIONS[direction], values), frame)

    def test_texts_are_written_with_the_same_fields(self):
        for direction, name, frame, text in vectors():
            with self.subTest(direction=direction, name=name):
                written = codec.encode_text(decode(direction, frame))
                again = codec.decode_text(DIRECTIONS[direction], written)
                self.assertEqual(again, codec.decode_text(DIRECTIONS[direction], text))
                expected = json.loads(text)
                if "code" in expected:
                    del expected["name"]  # derived from the code
                given = {name: value for name, value in expected.items() if value}
                self.assertEqual(json.loads(written), given)

    def test_the_tables_say_where_the_fields_are(self):
        heading = r"^### (Command|Event) `(\w+)` \((0x[0-9a-f]{2})\)\n(.*?)(?=^#)"
        found = re.findall(heading, TEXT, re.M | re.S)
        self.assertEqual(len(found), len(codec.COMMANDS) + len(codec.EVENTS))
        for direction, name, number, body in found:
            kind = DIRECTIONS[direction.lower()][name]
            rows, _ = kind.layout()
            table = re.findall(r"^\| (\d+) \| (\w+) \| (\w+) \|", body, re.M)
            self.assertEqual(kind.number, int(number, 16))
            self.assertEqual([(int(offset), *rest) for offset, *rest in table], rows)

    def test_a_stream_is_cut_into_the_same_frames_however_it_arrives(self):
        stream = b"".join(frame for _, _, frame, _ in vectors())
        count = sum(1 for _ in vectors())
        for size in (1, 2, 3, 7, 64, len(stream)):
            reader, frames = codec.FrameReader(), 0
            for at in range(0, len(stream), size):
                reader.feed(stream[at : at + size])
                while reader.next() is not None:
                    frames += 1
            self.assertEqual((frames, len(reader.buffer)), (count, 0))

    def test_what_is_not_whole_or_too_long_is_refused(self):
        for direction, name, frame, _ in vectors():
            payload = frame[8:]
            fixed_bytes = int.from_bytes(payload[:2], "little")
            tail = payload[fixed_bytes:] or b"\0\0\0\0"
            too_long = b"\x01\x01" + payload[2:fixed_bytes].ljust(255, b"\0") + tail
            torn = payload[:fixed_bytes] + tail
            for broken in (too_long, torn + b"\0", torn + b"\x05\0\0\0four", b"\x02"):
                with self.subTest(direction=direction, name=name, broken=broken):
                    with self.assertRaises(codec.ProtocolError):
                        codec.decode_frame(DIRECTIONS[direction], frame[4], frame[5], 0, broken)

    def test_newer_and_older_frames_are_read(self):
        for direction, name, frame, _ in vectors():
            with self.subTest(direction=direction, name=name):
                expected = decode(direction, frame)
                payload = frame[8:]
                fixed_bytes = int.from_bytes(payload[:2], "little")
                tail = payload[fixed_bytes:] or b"\0\0\0\0"
                longer = (
                    (fixed_bytes + 5).to_bytes(2, "little")
                    + payload[2:fixed_bytes]
                    + b"\xaa" * 5
                    + tail
                    + b"\x01\0\0\0\xbb"
                )
                kinds = DIRECTIONS[direction]
                number, flags, tag = frame[4], frame[5] | 0xF0, expected.get("tag", 0)
                self.assertEqual(codec.decode_frame(kinds, number, flags, tag, longer), expected)
                short = codec.decode_frame(kinds, number, frame[5], tag, b"\x02\0")
                self.assertEqual(short, codec.decode_frame(kinds, number, frame[5], tag, b""))
        self.assertIsNone(codec.decode_frame(codec.EVENTS, 0x60, 0, 0, b""))
        self.assertIsNone(codec.decode_text(codec.EVENTS, '{"type":"a_newer_one"}'))


class WebSocket(unittest.TestCase):
    KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3

    def connect(self, name):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        theirs.settimeout(5)
        subprotocol = client.SUBPROTOCOLS[name]
        theirs.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
            b"Sec-WebSocket-Protocol: %s\r\n\r\n" % subprotocol.encode()
        )
        transport = client.WebSocketTransport(
            client.Stream(ours), "localhost", subprotocol, time.monotonic() + 5, self.KEY
        )
        request = theirs.recv(65536)
        self.assertTrue(request.startswith(b"GET /v1/ws HTTP/1.1\r\n"))
        self.assertIn(b"Sec-WebSocket-Key: " + self.KEY, request)
        return client.Client(transport), theirs

    def unmasked(self, peer):
        """Opcode and payload of one frame that the client sent."""
        data = peer.recv(65536)
        self.assertTrue(data[1] & 0x80, "a client masks")
        length, at = data[1] & 0x7F, 2
        if length == 126:
            length, at = int.from_bytes(data[2:4], "big"), 4
        mask, payload = data[at : at + 4], data[at + 4 :]
        self.assertEqual(len(payload), length)
        return data[0] & 15, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

    def test_every_example_passes_both_subprotocols(self):
        for name in ("ws-json", "ws-bin"):
            connection, peer = self.connect(name)
            for direction, _, frame, text in vectors():
                message = text.encode() if name == "ws-json" else frame
                opcode = client.TEXT if name == "ws-json" else client.BINARY
                if direction == "event":
                    length = len(message)
                    head = bytes([0x80 | opcode, length]) if length < 126 else (
                        bytes([0x80 | opcode, 126]) + length.to_bytes(2, "big")
                    )
                    peer.sendall(head + message)
                    event = connection.transport.recv(time.monotonic() + 5)
                    self.assertEqual(event, decode("event", frame))
                else:
                    values = decode("command", frame)
                    connection.transport.send(values)
                    sent_opcode, sent = self.unmasked(peer)
                    self.assertEqual(sent_opcode, opcode)
                    if name == "ws-bin":
                        self.assertEqual(sent, frame)
                    else:
                        self.assertEqual(codec.decode_text(codec.COMMANDS, sent.decode()), values)

    def test_fragments_pings_and_the_close_in_between(self):
        connection, peer = self.connect("ws-json")
        text = b'{"type":"queue_empty","gap":0}'
        peer.sendall(b"\x01\x05" + text[:5] + b"\x89\x02hi" + b"\x80" + bytes([len(text) - 5]) + text[5:])
        self.assertEqual(connection.recv(5), {"type": "queue_empty"})
        self.assertEqual(self.unmasked(peer), (client.PONG, b"hi"))
        peer.sendall(b"\x88\x0b" + (4409).to_bytes(2, "big") + b"displaced")
        with self.assertRaises(client.Closed) as closed:
            connection.recv(5)
        self.assertEqual(closed.exception.code, 4409)


class Binary(unittest.TestCase):
    def test_answers_are_told_from_events_and_the_last_word_from_a_refusal(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        theirs.settimeout(5)
        connection = client.Client(client.BinaryTransport(client.Stream(ours)))
        self.assertEqual(theirs.recv(4), b"RPP1")

        def tell(**event):
            theirs.sendall(codec.encode_frame(codec.EVENTS, event))

        user = "0b0b0000-0000-4000-8000-000000000002"
        tag = connection.send_nowait(user, b"content")
        reader = codec.FrameReader()
        reader.feed(theirs.recv(65536))
        command = codec.decode_frame(codec.COMMANDS, *reader.next())
        self.assertEqual((command["to"], command["encrypted_content"]), (user, b"content"))
        self.assertEqual(command["tag"], tag)
        tell(type="ping", nonce=9)
        tell(type="queue_empty")
        tell(type="receipt", status="sent", id=user, peer=user, tag=tag)
        self.assertEqual(connection.answer("receipt", tag)["status"], "sent")
        self.assertEqual(connection.recv(1), {"type": "queue_empty"})
        reader.feed(theirs.recv(65536))
        pong = codec.decode_frame(codec.COMMANDS, *reader.next())
        self.assertEqual(pong, {"type": "pong", "nonce": 9})

        tell(type="error", code=9, retry_after_ms=5, tag=connection.send_nowait(user, b"x"))
        with self.assertRaises(client.Refused) as refused:
            connection.answer("receipt", connection.last_tag)
        self.assertEqual(refused.exception.code, 9)
        tell(type="error", code=4401, detail="the token has expired")
        with self.assertRaises(client.Closed) as closed:
            connection.recv(5)
        self.assertEqual(closed.exception.code, 4401)
        self.assertEqual(closed.exception.reason, "the token has expired")


if __name__ == "__main__":
    unittest.main()
