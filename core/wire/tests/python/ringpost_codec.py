"""The two encodings of the ringpost protocol, written from PROTOCOL.md alone.

Commands and events are dicts with the names of the JSON shapes, the same for both encodings:
ids are hyphenated strings, content and tickets are bytes, times are `timestamp_ms`. What the
protocol calls "not given" (0, nil, false, empty, absent) is not in the dict.
"""

import base64
import json
import struct
import uuid

HEADER = struct.Struct("<IBBH")
PAYLOAD_BYTES_MAX = 66_560 - HEADER.size
FIXED_BYTES_MAX = 256
NIL = bytes(16)

STATUS = {1: "sent", 2: "delivered", 3: "read"}
GROUP_CHANGE = {
    1: "created", 2: "renamed", 3: "added", 4: "removed", 5: "left", 6: "promoted", 7: "demoted",
}
DEVICE_CHANGE = {1: "added", 2: "removed", 3: "rekeyed"}
INTENTS = {1: "typing", 2: "presence"}

INTEGERS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q"}


class ProtocolError(Exception):
    """Bytes or text that this reader cannot understand."""


class Kind:
    """How one kind of frame is laid out behind `fixed_bytes`."""

    def __init__(self, number, fields=(), flags=None, section=None, other_section=None):
        self.number = number
        self.fields = fields  # (name, type, words or None)
        self.flags = flags or {}  # bit -> name
        self.section = section  # (name, "text" | "bytes" | "ids")
        self.other_section = other_section  # (bit, name, type): what the section is with that flag

    def layout(self):
        """Offset, type and name of each field, and the length of the fixed part."""
        offset, rows = 2, []
        for name, type_name, _ in self.fields:
            rows.append((offset, type_name, name))
            offset += 16 if type_name == "id" else struct.calcsize(INTEGERS[type_name])
        return rows, offset


def field(name, type_name, words=None):
    return name, type_name, words


TIMESTAMP = field("timestamp_ms", "u64")
PUSH = field("push", "u64")
GAP = field("gap", "u64")
ID = field("id", "id")
MESSAGE_ID = field("message_id", "id")
NONCE = (field("nonce", "u64"),)
CONTENT = {"section": ("encrypted_content", "bytes"), "other_section": (2, "content", "text")}

COMMANDS = {
    "hello": Kind(
        0x01,
        (
            field("device", "u8"),
            field("window_pushes", "u32"),
            field("window_bytes", "u32"),
            field("intents", "u32", INTENTS),
        ),
        section=("token", "text"),
        other_section=(1, "ticket", "bytes"),
    ),
    "auth": Kind(0x02, section=("token", "text")),
    "send_message": Kind(
        0x03,
        (MESSAGE_ID, field("to", "id"), field("reply_to", "id"), TIMESTAMP),
        flags={1: "ephemeral"},
        **CONTENT,
    ),
    "ack": Kind(0x04, (PUSH,)),
    "receipt": Kind(0x05, (field("status", "u8", STATUS), ID, MESSAGE_ID, TIMESTAMP)),
    "typing": Kind(0x06, (field("to", "id"),), flags={1: "active"}),
    "presence_subscribe": Kind(0x07, section=("users", "ids")),
    "presence_unsubscribe": Kind(0x08, section=("users", "ids")),
    "client_state": Kind(0x09, flags={1: "active"}),
    "bye": Kind(0x0A),
    "gap_closed": Kind(0x0B, (GAP,)),
    "ping": Kind(0x7E, NONCE),
    "pong": Kind(0x7F, NONCE),
}

EVENTS = {
    "welcome": Kind(
        0x41,
        (
            field("user_id", "id"),
            field("device", "u8"),
            field("ticket_ttl_ms", "u32"),
            field("server_time_ms", "u64"),
            field("window_pushes", "u32"),
            field("window_bytes", "u32"),
            field("message_bytes_max", "u32"),
            field("ping_interval_ms", "u32"),
        ),
        section=("ticket", "bytes"),
    ),
    "receipt": Kind(
        0x42,
        (field("status", "u8", STATUS), PUSH, ID, MESSAGE_ID, field("peer", "id"), TIMESTAMP),
    ),
    "new_message": Kind(
        0x43,
        (
            PUSH,
            ID,
            MESSAGE_ID,
            field("from", "id"),
            field("from_device", "u8"),
            field("to", "id"),
            field("reply_to", "id"),
            TIMESTAMP,
        ),
        flags={1: "ephemeral"},
        **CONTENT,
    ),
    "typing": Kind(0x44, (field("from", "id"),), flags={1: "active"}),
    "presence": Kind(
        0x45, (field("user_id", "id"), field("last_seen_ms", "u64")), flags={1: "online"}
    ),
    "group_event": Kind(
        0x46,
        (
            field("change", "u8", GROUP_CHANGE),
            PUSH,
            ID,
            field("group_id", "id"),
            field("actor", "id"),
            field("subject", "id"),
            field("epoch", "u64"),
            TIMESTAMP,
        ),
        section=("name", "text"),
    ),
    "keys_low": Kind(0x47, (field("one_time_left", "u32"), field("kyber_left", "u32"))),
    "device_change": Kind(
        0x48,
        (
            field("change", "u8", DEVICE_CHANGE),
            PUSH,
            field("user_id", "id"),
            field("device", "u8"),
            TIMESTAMP,
        ),
    ),
    "queue_empty": Kind(0x49, (GAP,), section=("after", "text")),
    "error": Kind(
        0x4A,
        (field("code", "u16"), field("retry_after_ms", "u32"), MESSAGE_ID, ID),
        section=("detail", "text"),
    ),
    "goaway": Kind(0x4B, (field("code", "u16"), field("reconnect_after_ms", "u32"))),
    "ping": Kind(0x7E, NONCE),
    "pong": Kind(0x7F, NONCE),
}


def given(values):
    """What is given: 0, nil, false, empty and absent mean the same."""
    return {name: value for name, value in values.items() if value}


# --- binary ---------------------------------------------------------------------------------


def encode_frame(kinds, values):
    """One frame. `tag` is among the values."""
    kind = kinds[values["type"]]
    flags = sum(bit for bit, name in kind.flags.items() if values.get(name))
    section = kind.section
    if kind.other_section and kind.other_section[1] in values:
        flags |= kind.other_section[0]
        section = kind.other_section[1:]
    fixed = b"".join(pack(values.get(name), *rest) for name, *rest in kind.fields)
    payload = struct.pack("<H", 2 + len(fixed)) + fixed
    if section:
        name, type_name = section
        content = values.get(name)
        if type_name == "text":
            content = (content or "").encode()
        elif type_name == "ids":
            content = b"".join(uuid.UUID(user).bytes for user in content or ())
        content = content or b""
        payload += struct.pack("<I", len(content)) + content
    return HEADER.pack(len(payload), kind.number, flags, values.get("tag", 0)) + payload


def pack(value, type_name, words):
    if type_name == "id":
        return uuid.UUID(value).bytes if value else NIL
    if words is INTENTS:
        value = sum(bit for bit, word in words.items() if word in (value or ()))
    elif words and value:
        value = next(number for number, word in words.items() if word == value)
    return struct.pack(INTEGERS[type_name], value or 0)


def decode_frame(kinds, number, flags, tag, payload):
    """The values of one frame, or None if its kind is not known."""
    found = [(name, kind) for name, kind in kinds.items() if kind.number == number]
    if not found:
        return None
    name, kind = found[0]
    fixed_bytes = 0
    if payload:
        if len(payload) < 2:
            raise ProtocolError("a payload of one byte")
        (fixed_bytes,) = struct.unpack_from("<H", payload)
        if not 2 <= fixed_bytes <= min(len(payload), FIXED_BYTES_MAX):
            raise ProtocolError(f"fixed_bytes is {fixed_bytes} of {len(payload)}")
    rows, size = kind.layout()
    fixed = payload[:fixed_bytes].ljust(size, b"\0")
    values = {"type": name, "tag": tag}
    for (offset, type_name, field_name), (_, _, words) in zip(rows, kind.fields):
        values[field_name] = unpack(fixed, offset, type_name, words)
    for bit, flag_name in kind.flags.items():
        values[flag_name] = bool(flags & bit)
    sections = list(split_sections(payload[fixed_bytes:]))
    if kind.section:
        section_name, type_name = kind.section
        if kind.other_section and flags & kind.other_section[0]:
            _, section_name, type_name = kind.other_section
        values[section_name] = from_section(type_name, sections[0] if sections else b"")
    return given(values)


def unpack(fixed, offset, type_name, words):
    if type_name == "id":
        raw = fixed[offset : offset + 16]
        return None if raw == NIL else str(uuid.UUID(bytes=raw))
    (value,) = struct.unpack_from(INTEGERS[type_name], fixed, offset)
    if words is INTENTS:
        return [word for bit, word in words.items() if value & bit]
    if words and value:
        if value not in words:
            raise ProtocolError(f"value {value} is not known")
        return words[value]
    return value


def split_sections(rest):
    """All sections, also those that this reader does not know: each must be whole."""
    while rest:
        if len(rest) < 4:
            raise ProtocolError("a section's length is cut off")
        (length,) = struct.unpack_from("<I", rest)
        if 4 + length > len(rest):
            raise ProtocolError("a section reaches beyond the payload")
        yield rest[4 : 4 + length]
        rest = rest[4 + length :]


def from_section(type_name, content):
    if type_name == "text":
        return content.decode()
    if type_name == "ids":
        if len(content) % 16:
            raise ProtocolError("not a list of ids")
        return [str(uuid.UUID(bytes=content[at : at + 16])) for at in range(0, len(content), 16)]
    return content


class FrameReader:
    """Cuts a stream into frames, however it arrives."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        self.buffer += data

    def next(self):
        """(kind, flags, tag, payload) of the next whole frame, or None."""
        if len(self.buffer) < HEADER.size:
            return None
        length, kind, flags, tag = HEADER.unpack_from(self.buffer)
        if length > PAYLOAD_BYTES_MAX:
            raise ProtocolError(f"a payload of {length} bytes")
        end = HEADER.size + length
        if len(self.buffer) < end:
            return None
        payload = bytes(self.buffer[HEADER.size : end])
        del self.buffer[:end]
        return kind, flags, tag, payload


# --- JSON -----------------------------------------------------------------------------------

BASE64_FIELDS = ("encrypted_content", "ticket")


def encode_text(values):
    """One JSON text."""
    out = {}
    for name, value in given(values).items():
        if name in BASE64_FIELDS:
            value = base64.b64encode(value).decode()
        if name == "timestamp_ms":
            out["timestamp"] = value // 1000
        out[name] = value
    return json.dumps(out, separators=(",", ":"))


def decode_text(kinds, text):
    """The values of one JSON text, or None if its `type` is not known."""
    values = json.loads(text)
    if values.get("type") not in kinds:
        return None
    seconds = values.pop("timestamp", None)
    if values.get("timestamp_ms") is None and seconds is not None:
        values["timestamp_ms"] = seconds * 1000
    for name in BASE64_FIELDS:
        if values.get(name):
            values[name] = base64.b64decode(values[name], validate=True)
    if "code" in values:
        values.pop("name", None)  # the code says the same
    return given(values)
