"""Two people chat from two terminals, and see what is said to the server and what it says.

    python3 core/wire/tests/python/chat.py          somebody new, who waits to be written to
    python3 core/wire/tests/python/chat.py USER     somebody new, who writes to USER

Each line that is typed is sent; the end of the input says `bye`. What goes over the connection is
shown as it is: JSON, as in PROTOCOL.md, with long texts cut short. It is a first client to read and to
change. What it lacks: it encrypts nothing (the server cannot tell), keeps nothing, and does not
connect again.
"""

import argparse
import json
import os
import select
import shlex
import socket
import subprocess
import sys
import time

from ringpost_client import SUBPROTOCOLS, TEXT, Client, Closed, Stream, WebSocketTransport

TOKEN_COMMAND = "cargo run --quiet --release -- token"
SHOWN_MAX = 40  # characters of a value; a token is longer
TYPED_MAX = 4096  # bytes; a terminal gives whole lines of at most so many
# How long to wait for the rest of what has begun to arrive.
REST_S = 0.05


class Shown(WebSocketTransport):
    """A transport that prints what it carries."""

    def send_frame(self, opcode, payload):
        if opcode == TEXT:
            show("->", payload.decode())
        super().send_frame(opcode, payload)

    def recv_message(self, deadline):
        opcode, message = super().recv_message(deadline)
        show("<-", message.decode())
        return opcode, message


def show(way, text):
    values = {name: shortened(value) for name, value in json.loads(text).items()}
    print(way, json.dumps(values, separators=(",", ":")), flush=True)


def shortened(value):
    is_long = isinstance(value, str) and len(value) > SHOWN_MAX
    return f"{value[:8]}..{value[-4:]}" if is_long else value


def somebody_new(token_command):
    """A user who did not exist before: its id, device and token."""
    command = [*shlex.split(token_command), "--new", "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def connect(address):
    host, port = address.rsplit(":", 1)
    stream = Stream(socket.create_connection((host, int(port)), 10))
    deadline = time.monotonic() + 10
    return Client(Shown(stream, address, SUBPROTOCOLS["ws-json"], deadline))


def hear(client, peer):
    """Takes what has arrived; returns whom to write to."""
    while True:
        try:
            event = client.recv(REST_S)
        except TimeoutError:
            return peer
        if event["type"] == "new_message":
            peer = peer or event["from"]
            print(f"   {event['encrypted_content'].decode()}", flush=True)
        if "push" in event:
            client.ack(event["push"])


def chat(client, peer):
    """Until the input ends. What was read of the socket beyond an event is taken by `hear`."""
    peer = hear(client, peer)
    while True:
        readable, _, _ = select.select([sys.stdin, client.transport.stream.sock], [], [])
        if sys.stdin in readable:
            typed = os.read(sys.stdin.fileno(), TYPED_MAX)
            if not typed:
                client.bye()
                return
            for line in typed.splitlines():
                if peer:
                    client.send_nowait(peer, line)
                else:
                    print("nobody has written to you yet", flush=True)
        peer = hear(client, peer)


def main():
    parser = argparse.ArgumentParser(description="Two people chat from two terminals.")
    parser.add_argument("peer", metavar="USER", nargs="?", help="whom to write to")
    parser.add_argument("--address", default="127.0.0.1:7400", help="of the server")
    parser.add_argument("--token-command", default=TOKEN_COMMAND, help="what makes a token")
    asked = parser.parse_args()
    me = somebody_new(asked.token_command)
    client = connect(asked.address)
    client.hello(me["device"], me["token"])
    if not asked.peer:
        print(f"in another terminal: python3 {sys.argv[0]} {me['user_id']}", flush=True)
    chat(client, asked.peer)


try:
    main()
except (Closed, OSError, subprocess.CalledProcessError) as error:
    sys.exit(f"{error}; is the server running? `cargo run --release` starts one")
except KeyboardInterrupt:
    pass
