//! One sample of every command and event. They are the examples of PROTOCOL.md and the vectors of
//! the Python client, so their ids are easy to recognise in a dump.

use std::borrow::Cow;

use bytes::Bytes;
use ringpost_wire::command::{
    self, ClientStatus, Command, Content, Credential, Hello, Named, SendMessage, intent,
};
use ringpost_wire::event::{
    self, DeviceChange, DeviceChanged, Event, Gap, GroupChange, GroupEvent, NewMessage, Status,
    Welcome,
};
use ringpost_wire::{
    CloseCode, DeviceId, ErrorCode, GroupId, HistoryCursor, MessageId, ServerId, UserId,
};

const fn bytes(id: u128) -> [u8; 16] {
    id.to_be_bytes()
}

pub(crate) const ALICE: UserId = UserId(bytes(0x0a11ce00_0000_4000_8000_000000000001));
pub(crate) const BOB: UserId = UserId(bytes(0x0b0b0000_0000_4000_8000_000000000002));
pub(crate) const FAMILY: GroupId = GroupId(bytes(0x60000000_0000_4000_8000_000000000003));
/// A UUIDv7 of 2023-02-15T12:28:43Z, the moment of the sketch's example.
pub(crate) const MESSAGE: MessageId = MessageId(bytes(0x0186550c_6c78_70a1_8000_000000000011));
/// The message answered to, a minute earlier.
pub(crate) const EARLIER: [u8; 16] = bytes(0x0186550b_8218_70a1_8000_000000000010);
/// A UUIDv6 of 85 ms later.
pub(crate) const ACCEPTED: ServerId = ServerId(bytes(0x1edad2c4_8db4_67d0_8001_030000000001));
pub(crate) const SENT_AT_MS: u64 = 1_676_464_123_000;
pub(crate) const ACCEPTED_AT_MS: u64 = SENT_AT_MS + 85;
/// The tag of every sample that is an answer or asks for one.
pub(crate) const TAG: u16 = 7;

pub(crate) fn device(number: u8) -> DeviceId {
    DeviceId::new(number).expect("1 to 127")
}

/// One of each kind, in the order of the kinds, under the heading that PROTOCOL.md gives it.
pub(crate) fn commands() -> Vec<(&'static str, Command<'static>, u16)> {
    let token = Cow::Borrowed("eyJhbGciOiJFZERTQSJ9.e30.c2ln");
    vec![
        (
            "hello",
            Command::Hello(Hello {
                credential: Credential::Token(token.clone()),
                device: device(1),
                window_pushes: 128,
                window_bytes: 0,
                intents: intent::TYPING | intent::PRESENCE,
            }),
            1,
        ),
        (
            "hello with a resume ticket",
            Command::Hello(Hello {
                credential: Credential::Ticket(Cow::Borrowed(b"\x01ticket\xff")),
                device: device(1),
                window_pushes: 0,
                window_bytes: 0,
                intents: 0,
            }),
            1,
        ),
        ("auth", Command::Auth { token }, TAG),
        (
            "send_message",
            Command::SendMessage(SendMessage {
                message_id: MESSAGE,
                to: BOB,
                reply_to: Some(EARLIER),
                client_timestamp_ms: SENT_AT_MS,
                ephemeral: false,
                content: Content::Encrypted(Cow::Borrowed(b"\xde\xad\xbe\xef\x2a")),
            }),
            TAG,
        ),
        (
            "send_message, ephemeral and plain",
            Command::SendMessage(SendMessage {
                message_id: MESSAGE,
                to: BOB,
                reply_to: None,
                client_timestamp_ms: SENT_AT_MS + 250,
                ephemeral: true,
                content: Content::Plain(Cow::Borrowed("Hi \"Bob\"")),
            }),
            0,
        ),
        ("ack", Command::Ack { push: 2 }, 0),
        (
            "receipt",
            Command::Receipt(command::Receipt {
                message: Named::Id(ACCEPTED),
                status: ClientStatus::Read,
                client_timestamp_ms: SENT_AT_MS + 2_000,
            }),
            0,
        ),
        (
            "receipt by message_id",
            Command::Receipt(command::Receipt {
                message: Named::MessageId(MESSAGE),
                status: ClientStatus::Delivered,
                client_timestamp_ms: SENT_AT_MS + 2_000,
            }),
            0,
        ),
        ("typing", Command::Typing { to: BOB, active: true }, 0),
        ("presence_subscribe", Command::PresenceSubscribe { users: vec![ALICE, BOB] }, 0),
        ("presence_unsubscribe", Command::PresenceUnsubscribe { users: vec![ALICE] }, 0),
        ("client_state", Command::ClientState { active: true }, 0),
        ("bye", Command::Bye, 0),
        ("gap_closed", Command::GapClosed { gap: 4711 }, TAG),
        ("ping", Command::Ping { nonce: 0x0102_0304_0506 }, TAG),
        ("pong", Command::Pong { nonce: 0x0102_0304_0506 }, 0),
    ]
}

/// One of each kind, in the order of the kinds, under the heading that PROTOCOL.md gives it.
pub(crate) fn events() -> Vec<(&'static str, Event, u16)> {
    let message = NewMessage {
        push: 1,
        id: ACCEPTED,
        message_id: MESSAGE,
        from: ALICE,
        from_device: device(1),
        to: BOB,
        reply_to: Some(EARLIER),
        client_timestamp_ms: SENT_AT_MS,
        ephemeral: false,
        plain: false,
        body: Bytes::from_static(b"\xde\xad\xbe\xef\x2a"),
    };
    vec![
        (
            "welcome",
            Event::Welcome(Welcome {
                user: ALICE,
                device: device(1),
                ticket: Bytes::from_static(b"\x01ticket\xff"),
                ticket_ttl_ms: 600_000,
                server_time_ms: SENT_AT_MS,
                window_pushes: 128,
                window_bytes: 262_144,
                message_bytes_max: 65_536,
                ping_interval_ms: 120_000,
            }),
            1,
        ),
        ("receipt", Event::Receipt(receipt(0, Status::Sent)), TAG),
        ("receipt, delivered", Event::Receipt(receipt(3, Status::Delivered)), 0),
        ("new_message", Event::NewMessage(message.clone()), 0),
        (
            "new_message, ephemeral and plain",
            Event::NewMessage(NewMessage {
                push: 0,
                reply_to: None,
                ephemeral: true,
                plain: true,
                body: Bytes::from_static(b"Hi \"Bob\""),
                ..message
            }),
            0,
        ),
        ("typing", Event::Typing { from: ALICE, active: true }, 0),
        ("presence", Event::Presence { user: ALICE, online: false, last_seen_ms: SENT_AT_MS }, 0),
        (
            "group_event",
            Event::GroupEvent(GroupEvent {
                push: 4,
                id: ACCEPTED,
                group: FAMILY,
                change: GroupChange::Renamed,
                actor: ALICE,
                subject: UserId::default(),
                epoch: 2,
                timestamp_ms: ACCEPTED_AT_MS,
                name: "Family".into(),
            }),
            0,
        ),
        ("keys_low", Event::KeysLow { one_time_left: 19, kyber_left: 12 }, 0),
        (
            "device_change",
            Event::DeviceChange(DeviceChange {
                push: 5,
                user: BOB,
                device: device(2),
                change: DeviceChanged::Added,
                timestamp_ms: ACCEPTED_AT_MS,
            }),
            0,
        ),
        ("queue_empty", Event::QueueEmpty { gap: None }, 0),
        (
            "queue_empty, with a gap",
            Event::QueueEmpty {
                gap: Some(Gap { number: 4711, after: HistoryCursor(4213).to_text() }),
            },
            0,
        ),
        (
            "error",
            Event::Error(event::Error {
                code: ErrorCode::RateLimited,
                retry_after_ms: 1_500,
                message_id: MESSAGE,
                id: ServerId::default(),
                detail: Cow::Borrowed("60 messages a minute"),
            }),
            TAG,
        ),
        (
            "error that ends the connection",
            Event::Close {
                code: CloseCode::TryLater,
                retry_after_ms: 5_000,
                detail: "too many tokens wait to be checked".into(),
            },
            0,
        ),
        ("goaway", Event::GoAway { code: CloseCode::GoingAway, reconnect_after_ms: 2_750 }, 0),
        ("ping", Event::Ping { nonce: 1 }, 0),
        ("pong", Event::Pong { nonce: 0x0102_0304_0506 }, TAG),
    ]
}

fn receipt(push: u64, status: Status) -> event::Receipt {
    event::Receipt {
        push,
        id: ACCEPTED,
        message_id: MESSAGE,
        peer: BOB,
        status,
        timestamp_ms: ACCEPTED_AT_MS,
    }
}
