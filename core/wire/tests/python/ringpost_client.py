"""A ringpost client for tests and for reading: standard library only, written from PROTOCOL.md.

    client = Client.connect("127.0.0.1", 7400, "ws-json")
    welcome = client.hello(device=1, token=token)
    sent = client.send(to=bob, content=b"ciphertext")
    event = client.recv(timeout=5)
    client.ack(event["push"])

`transport` is "tcp" (binary frames behind the preamble), "ws-json" or "ws-bin". Whatever it is,
commands and events are the dicts of `ringpost_codec`.
"""

import base64
import hashlib
import os
import secrets
import socket
import ssl
import struct
import time
import uuid
from collections import deque

import ringpost_codec as codec

PREAMBLE = bytes.fromhex("52505031")
SUBPROTOCOLS = {"ws-json": "ringpost.v1.json", "ws-bin": "ringpost.v1.bin"}
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
ERROR_CODES_END = 1000


class Closed(Exception):
    """The connection ended. `code` is None where no last word was said; `reason` is for people."""

    def __init__(self, code=None, reason=""):
        super().__init__(f"closed: {code} {reason}")
        self.code = code
        self.reason = reason


class Refused(Exception):
    """A command was refused; `event` is the error."""

    def __init__(self, event):
        super().__init__(f"refused: {event}")
        self.event = event
        self.code = event["code"]


class HandshakeFailed(Exception):
    """The server refused the upgrade; `status` is the status line of HTTP."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


class Stream:
    """A socket whose reads have deadlines."""

    def __init__(self, sock):
        self.sock = sock

    def send(self, data):
        self.sock.settimeout(30)
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(reason=str(error)) from error

    def read(self, deadline):
        """Some bytes. Raises TimeoutError at the deadline."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError as error:
            raise Closed(reason=str(error)) from error
        if not data:
            raise Closed()
        return data

    def close(self):
        self.sock.close()


class BinaryTransport:
    """Frames over TCP."""

    def __init__(self, stream):
        self.stream = stream
        self.reader = codec.FrameReader()
        self.stream.send(PREAMBLE)

    def send(self, values):
        self.stream.send(codec.encode_frame(codec.COMMANDS, values))

    def recv(self, deadline):
        """The next event, or None for one that is not known."""
        while (frame := self.reader.next()) is None:
            self.reader.feed(self.stream.read(deadline))
        return codec.decode_frame(codec.EVENTS, *frame)

    def close(self):
        self.stream.close()


class WebSocketTransport:
    """RFC 6455 from the client's side, with either subprotocol."""

    def __init__(self, stream, host, subprotocol, deadline, key=None):
        self.stream = stream
        self.subprotocol = subprotocol
        self.buffer = bytearray()
        self.fragments = bytearray()
        self.frames = codec.FrameReader()
        self.upgrade(host, deadline, key or base64.b64encode(os.urandom(16)))

    def upgrade(self, host, deadline, key):
        self.stream.send(
            b"GET /v1/ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: %s\r\n\r\n" % (host.encode(), key, self.subprotocol.encode())
        )
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.stream.read(deadline)
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        status, *lines = head.decode("latin-1").split("\r\n")
        if status.split(" ")[1] != "101":
            raise HandshakeFailed(status)
        pairs = (line.split(":", 1) for line in lines)
        fields = {name.strip().lower(): value.strip() for name, value in pairs}
        if fields.get("sec-websocket-accept") != accept_of(key):
            raise HandshakeFailed("wrong Sec-WebSocket-Accept")
        if fields.get("sec-websocket-protocol") != self.subprotocol:
            raise HandshakeFailed("another subprotocol")

    def send(self, values):
        if self.subprotocol == SUBPROTOCOLS["ws-json"]:
            self.send_frame(TEXT, codec.encode_text(values).encode())
        else:
            self.send_frame(BINARY, codec.encode_frame(codec.COMMANDS, values))

    def send_frame(self, opcode, payload):
        self.stream.send(masked_frame(opcode, payload, secrets.token_bytes(4)))

    def recv(self, deadline):
        """The next event, or None for one that is not known."""
        while True:
            if (frame := self.frames.next()) is not None:
                return codec.decode_frame(codec.EVENTS, *frame)
            opcode, message = self.recv_message(deadline)
            if self.subprotocol == SUBPROTOCOLS["ws-json"]:
                if opcode != TEXT:
                    raise codec.ProtocolError("a binary message in the JSON subprotocol")
                return codec.decode_text(codec.EVENTS, message.decode())
            if opcode != BINARY:
                raise codec.ProtocolError("a text message in the binary subprotocol")
            self.frames.feed(message)

    def recv_message(self, deadline):
        """The next whole data message; control frames are answered on the way."""
        opcode_of_message = None
        while True:
            final, opcode, payload = self.recv_frame(deadline)
            if opcode == PING:
                self.send_frame(PONG, payload)
            elif opcode == CLOSE:
                code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else None
                self.send_frame(CLOSE, payload[:2])
                raise Closed(code, payload[2:].decode(errors="replace"))
            elif opcode in (TEXT, BINARY, 0):
                opcode_of_message = opcode or opcode_of_message
                self.fragments += payload
                if final:
                    message, self.fragments = bytes(self.fragments), bytearray()
                    return opcode_of_message, message

    def recv_frame(self, deadline):
        while (frame := self.take_frame()) is None:
            self.buffer += self.stream.read(deadline)
        return frame

    def take_frame(self):
        if len(self.buffer) < 2:
            return None
        first, second = self.buffer[:2]
        if second & 0x80:
            raise codec.ProtocolError("a server does not mask")
        at, length = 2, second & 0x7F
        if length >= 126:
            at = 4 if length == 126 else 10
            if len(self.buffer) < at:
                return None
            (length,) = struct.unpack(">H" if at == 4 else ">Q", self.buffer[2:at])
        if len(self.buffer) < at + length:
            return None
        payload = bytes(self.buffer[at : at + length])
        del self.buffer[: at + length]
        return bool(first & 0x80), first & 0x0F, payload

    def close(self):
        self.stream.close()


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key + WEBSOCKET_GUID).digest()).decode()


def masked_frame(opcode, payload, mask):
    if len(payload) < 126:
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | len(payload))
    elif len(payload) < 65536:
        head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, len(payload))
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, len(payload))
    pad = mask * (len(payload) // 4 + 1)
    size = len(payload)
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(pad[:size], "big")
    return head + mask + masked.to_bytes(size, "big")


class Client:
    """One connection of one device."""

    def __init__(self, transport):
        self.transport = transport
        self.events = deque()  # read while waiting for something else
        self.last_tag = 0

    @classmethod
    def connect(cls, host, port, transport="tcp", tls=None, timeout=10):
        """Connects. `tls` is an ssl.SSLContext, or True for the system's."""
        sock = socket.create_connection((host, port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.create_default_context() if tls is True else tls
            sock = context.wrap_socket(sock, server_hostname=host)
        stream = Stream(sock)
        if transport == "tcp":
            return cls(BinaryTransport(stream))
        deadline = time.monotonic() + timeout
        subprotocol = SUBPROTOCOLS[transport]
        return cls(WebSocketTransport(stream, f"{host}:{port}", subprotocol, deadline))

    def hello(self, device, token=None, ticket=None, timeout=10, **more):
        """Signs in; returns the `welcome`. Raises Closed if the credential is refused."""
        return self.ask("welcome", timeout, type="hello", device=device, token=token,
                        ticket=ticket, **more)

    def auth(self, token, timeout=10):
        """Renews the token in place; returns the new `welcome`."""
        return self.ask("welcome", timeout, type="auth", token=token)

    def send(self, to, content, message_id=None, timeout=10, **more):
        """Sends ciphertext; returns the receipt `sent`. Raises Refused."""
        return self.ask("receipt", timeout, **self.message(to, content, message_id, more))

    def send_nowait(self, to, content, message_id=None, **more):
        """Sends and does not wait; returns the tag that the answer will carry."""
        return self.say(**self.message(to, content, message_id, more))

    def message(self, to, content, message_id, more):
        return {
            "type": "send_message",
            "message_id": message_id or new_message_id(),
            "to": to,
            "encrypted_content": content,
            "timestamp_ms": time.time_ns() // 1_000_000,
            **more,
        }

    def ack(self, push):
        """All pushes up to `push` are stored."""
        self.say(type="ack", push=push)

    def gap_closed(self, gap):
        """What the gap of that number left out was read from history, and is stored."""
        self.say(type="gap_closed", gap=gap)

    def receipt(self, status, id=None, message_id=None):
        """Says `delivered` or `read` of a message."""
        now = time.time_ns() // 1_000_000
        self.say(type="receipt", status=status, id=id, message_id=message_id, timestamp_ms=now)

    def typing(self, to, active=True):
        self.say(type="typing", to=to, active=active)

    def ping(self, timeout=10):
        """Asks for a pong and waits for it."""
        nonce = secrets.randbelow(1 << 52) + 1
        pong = self.ask("pong", timeout, type="ping", nonce=nonce)
        if pong["nonce"] != nonce:
            raise codec.ProtocolError("a pong of another ping")
        return pong

    def bye(self, timeout=10):
        """Leaves; returns the code with which the server closed."""
        self.say(type="bye")
        try:
            while True:
                self.recv(timeout)
        except Closed as closed:
            self.close()
            return closed.code

    def say(self, **values):
        """Sends a command under a tag of its own; returns the tag."""
        self.last_tag = self.last_tag % 0xFFFF + 1
        self.transport.send({**codec.given(values), "tag": self.last_tag})
        return self.last_tag

    def ask(self, answer, timeout, **values):
        """Sends a command and waits for its answer."""
        return self.answer(answer, self.say(**values), timeout)

    def answer(self, answer, tag, timeout=10):
        """Waits for the answer to the command with this tag; what else comes is kept."""
        event = self.wait(lambda event: event.get("tag") == tag, timeout)
        if event["type"] == "error":
            raise Refused(event)
        if event["type"] != answer:
            raise codec.ProtocolError(f"{event['type']} where {answer} belongs")
        return event

    def wait(self, wanted, timeout=10):
        """The first event for which `wanted` holds; others are kept for `recv`."""
        for index, event in enumerate(self.events):
            if wanted(event):
                del self.events[index]
                return event
        deadline = time.monotonic() + timeout
        while True:
            event = self.read(deadline)
            if wanted(event):
                return event
            self.events.append(event)

    def recv(self, timeout=10):
        """The next event. Raises TimeoutError, or Closed with the server's last word."""
        if self.events:
            return self.events.popleft()
        return self.read(time.monotonic() + timeout)

    def read(self, deadline):
        while True:
            event = self.transport.recv(deadline)
            if event is None:
                continue  # a newer server's
            if event["type"] == "error" and event["code"] >= ERROR_CODES_END:
                raise Closed(event["code"], event.get("detail", ""))
            if event["type"] == "ping":
                pong = codec.given({"type": "pong", "nonce": event.get("nonce")})
                self.transport.send(pong)
                continue
            return event

    def close(self):
        """Drops the connection without a word."""
        self.transport.close()


def new_message_id():
    """A UUIDv7: 48 bits of milliseconds, then random."""
    ms = time.time_ns() // 1_000_000
    value = ms << 80 | 7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))
