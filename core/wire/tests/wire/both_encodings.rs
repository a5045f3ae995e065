//! JSON and binary say the same: whatever is encoded in either is read back as it was, in both
//! directions, and so both decode to the same command. Values are drawn at random from all that
//! the formats can hold; proptest prints the seed of a failure.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use ringpost_wire::command::{
    self, ClientStatus, Command, Content, Credential, Hello, Named, SendMessage,
};
use ringpost_wire::decoder::frames;
use ringpost_wire::event::{
    self, DeviceChange, DeviceChanged, Event, Gap, GroupChange, GroupEvent, NewMessage, Status,
    Welcome,
};
use ringpost_wire::limits::{
    FRAME_BYTES_MAX, JSON_INTEGER_MAX, JSON_TEXT_BYTES_MAX, MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX,
    SUBSCRIBE_USERS_MAX, TICKET_BYTES_MAX, TIMESTAMP_MS_MAX, TOKEN_BYTES_MAX,
};
use ringpost_wire::{
    CloseCode, DeviceId, ErrorCode, GroupId, MessageId, ServerId, UserId, binary, json,
};

use crate::samples;

fn check_command(command: &Command<'_>, tag: u16) {
    let mut out = BytesMut::new();
    binary::encode_command(command, tag, &mut out);
    let frame = only_frame(&out);
    assert_eq!(frame.header.tag, tag);
    let decoded = binary::decode_command(frame.header.kind, frame.header.flags, frame.payload);
    assert_eq!(decoded.as_ref(), Ok(command));

    let mut out = BytesMut::new();
    json::encode_command(command, tag, &mut out);
    let text = std::str::from_utf8(&out).expect("JSON is UTF-8");
    assert_eq!(json::decode_command(text), Ok((command.clone(), tag)), "{text}");
    serde_json::from_str::<serde_json::Value>(text).expect("JSON by another reader's measure");
}

fn check_event(event: &Event, tag: u16) {
    let mut out = BytesMut::new();
    binary::encode_event(event, tag, &mut out);
    let frame = only_frame(&out);
    assert_eq!(frame.header.tag, tag);
    let decoded = binary::decode_event(frame.header.kind, frame.header.flags, frame.payload);
    assert_eq!(decoded.as_ref(), Ok(event));

    if let Event::NewMessage(message) = event {
        let mut chunks = BytesMut::new();
        binary::encode_event_head(message, tag, &mut chunks);
        chunks.extend_from_slice(&message.body);
        assert_eq!(chunks, out, "head and body are the frame");
    }

    let mut out = BytesMut::new();
    json::encode_event(event, tag, &mut out);
    let text = std::str::from_utf8(&out).expect("JSON is UTF-8");
    assert_eq!(json::decode_event(text), Ok((event.clone(), tag)), "{text}");
    serde_json::from_str::<serde_json::Value>(text).expect("JSON by another reader's measure");
}

fn only_frame(bytes: &[u8]) -> ringpost_wire::frame::Frame<'_> {
    let mut frames = frames(bytes, PAYLOAD_BYTES_MAX);
    let frame = frames.next().expect("one frame").expect("whole");
    assert!(frames.next().is_none(), "and only one");
    frame
}

#[test]
fn every_sample_comes_back_from_both_encodings() {
    for (_, command, tag) in samples::commands() {
        check_command(&command, tag);
    }
    for (_, event, tag) in samples::events() {
        check_event(&event, tag);
    }
}

#[test]
fn the_largest_message_fits_both_encodings() {
    let (_, command, _) = samples::commands().swap_remove(3);
    let Command::SendMessage(message) = command else { panic!("a message") };
    let content = Content::Encrypted(Cow::Owned(vec![0xff; MESSAGE_BYTES_MAX]));
    check_command(&Command::SendMessage(SendMessage { content, ..message }), u16::MAX);
}

/// What a client must have room for.
#[test]
fn the_largest_event_is_no_longer_than_the_specification_says() {
    let mut events = samples::events().into_iter();
    let message = events.find_map(|(_, event, _)| match event {
        Event::NewMessage(message) if !message.plain => Some(message),
        _ => None,
    });
    let mut message = message.expect("a message");
    message.push = JSON_INTEGER_MAX;
    message.client_timestamp_ms = TIMESTAMP_MS_MAX;
    for (plain, octet, text_bytes_max) in
        [(false, 0xff, JSON_TEXT_BYTES_MAX), (true, 1, 6 * MESSAGE_BYTES_MAX + 4_096)]
    {
        let body = vec![octet; MESSAGE_BYTES_MAX].into();
        let event = Event::NewMessage(NewMessage { plain, body, ..message.clone() });
        let (mut frame, mut text) = (BytesMut::new(), BytesMut::new());
        binary::encode_event(&event, u16::MAX, &mut frame);
        json::encode_event(&event, u16::MAX, &mut text);
        assert!(frame.len() <= FRAME_BYTES_MAX, "{} bytes of frame", frame.len());
        assert!(text.len() <= text_bytes_max, "{} bytes of text", text.len());
    }
}

proptest! {
    #[test]
    fn every_command_comes_back_from_both_encodings(command in commands(), tag: u16) {
        check_command(&command, tag);
    }

    #[test]
    fn every_event_comes_back_from_both_encodings(event in events(), tag: u16) {
        check_event(&event, tag);
    }
}

fn id() -> impl Strategy<Value = [u8; 16]> {
    any::<[u8; 16]>().prop_filter("nil means none", |id| *id != [0; 16])
}

fn id_or_nil() -> impl Strategy<Value = [u8; 16]> {
    prop_oneof![id(), Just([0; 16])]
}

fn device() -> impl Strategy<Value = DeviceId> {
    (1..=DeviceId::MAX).prop_map(samples::device)
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..=JSON_INTEGER_MAX, Just(JSON_INTEGER_MAX)]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..=TIMESTAMP_MS_MAX, Just(TIMESTAMP_MS_MAX)]
}

fn text(max: usize) -> impl Strategy<Value = String> {
    // Any characters but NUL, control characters and quotes among them.
    vec(prop_oneof![any::<char>(), Just('"'), Just('\\'), Just('\u{1f}'), Just('\u{2028}')], 1..max)
        .prop_map(|chars| chars.into_iter().filter(|char| *char != '\0').collect::<String>())
        .prop_map(|text| if text.is_empty() { "x".to_owned() } else { text })
}

fn credential() -> impl Strategy<Value = Credential<'static>> {
    prop_oneof![
        text(TOKEN_BYTES_MAX / 32).prop_map(|token| Credential::Token(Cow::Owned(token))),
        vec(any::<u8>(), 1..=TICKET_BYTES_MAX)
            .prop_map(|ticket| Credential::Ticket(Cow::Owned(ticket))),
        Just(Credential::None),
    ]
}

fn content() -> impl Strategy<Value = Content<'static>> {
    prop_oneof![
        vec(any::<u8>(), 1..2000).prop_map(|bytes| Content::Encrypted(Cow::Owned(bytes))),
        text(500).prop_map(|text| Content::Plain(Cow::Owned(text))),
    ]
}

fn commands() -> impl Strategy<Value = Command<'static>> {
    let users = || vec(id().prop_map(UserId), 0..=SUBSCRIBE_USERS_MAX);
    let named = prop_oneof![
        id().prop_map(|id| Named::Id(ServerId(id))),
        id().prop_map(|id| Named::MessageId(MessageId(id))),
    ];
    let status = prop_oneof![Just(ClientStatus::Delivered), Just(ClientStatus::Read)];
    prop_oneof![
        (credential(), device(), any::<u32>(), any::<u32>(), 0..4_u32).prop_map(
            |(credential, device, window_pushes, window_bytes, intents)| {
                Command::Hello(Hello { credential, device, window_pushes, window_bytes, intents })
            }
        ),
        text(100).prop_map(|token| Command::Auth { token: Cow::Owned(token) }),
        (id(), id(), option::of(id()), time(), any::<bool>(), content()).prop_map(
            |(message_id, to, reply_to, client_timestamp_ms, ephemeral, content)| {
                let (message_id, to) = (MessageId(message_id), UserId(to));
                Command::SendMessage(SendMessage {
                    message_id,
                    to,
                    reply_to,
                    client_timestamp_ms,
                    ephemeral,
                    content,
                })
            }
        ),
        count().prop_map(|push| Command::Ack { push }),
        count().prop_map(|gap| Command::GapClosed { gap }),
        (named, status, time()).prop_map(|(message, status, client_timestamp_ms)| {
            Command::Receipt(command::Receipt { message, status, client_timestamp_ms })
        }),
        (id(), any::<bool>()).prop_map(|(to, active)| Command::Typing { to: UserId(to), active }),
        users().prop_map(|users| Command::PresenceSubscribe { users }),
        users().prop_map(|users| Command::PresenceUnsubscribe { users }),
        any::<bool>().prop_map(|active| Command::ClientState { active }),
        count().prop_map(|nonce| Command::Ping { nonce }),
        count().prop_map(|nonce| Command::Pong { nonce }),
        Just(Command::Bye),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        welcomes(),
        receipts(),
        new_messages(),
        group_events(),
        device_changes(),
        errors(),
        (id(), any::<bool>())
            .prop_map(|(from, active)| Event::Typing { from: UserId(from), active }),
        (id(), any::<bool>(), time()).prop_map(|(user, online, last_seen_ms)| {
            Event::Presence { user: UserId(user), online, last_seen_ms }
        }),
        (any::<u32>(), any::<u32>())
            .prop_map(|(one_time_left, kyber_left)| Event::KeysLow { one_time_left, kyber_left }),
        Just(Event::QueueEmpty { gap: None }),
        (1..=JSON_INTEGER_MAX, text(40))
            .prop_map(|(number, after)| { Event::QueueEmpty { gap: Some(Gap { number, after }) } }),
        (close_code(), any::<u32>(), prop_oneof![Just(String::new()), text(40)]).prop_map(
            |(code, retry_after_ms, detail)| Event::Close {
                code,
                retry_after_ms,
                detail: detail.into()
            }
        ),
        (close_code(), any::<u32>())
            .prop_map(|(code, reconnect_after_ms)| Event::GoAway { code, reconnect_after_ms }),
        count().prop_map(|nonce| Event::Ping { nonce }),
        count().prop_map(|nonce| Event::Pong { nonce }),
    ]
}

fn close_code() -> impl Strategy<Value = CloseCode> {
    proptest::sample::select(CloseCode::ALL)
}

fn welcomes() -> impl Strategy<Value = Event> {
    let ticket = vec(any::<u8>(), 0..=TICKET_BYTES_MAX);
    (id(), device(), ticket, time(), any::<[u32; 5]>()).prop_map(
        |(user, device, ticket, server_time_ms, [ttl, pushes, bytes, message, ping])| {
            Event::Welcome(Welcome {
                user: UserId(user),
                device,
                ticket: ticket.into(),
                ticket_ttl_ms: ttl,
                server_time_ms,
                window_pushes: pushes,
                window_bytes: bytes,
                message_bytes_max: message,
                ping_interval_ms: ping,
            })
        },
    )
}

fn receipts() -> impl Strategy<Value = Event> {
    let status = prop_oneof![Just(Status::Sent), Just(Status::Delivered), Just(Status::Read)];
    (count(), id(), id_or_nil(), id(), status, time()).prop_map(
        |(push, id, message_id, peer, status, timestamp_ms)| {
            Event::Receipt(event::Receipt {
                push,
                id: ServerId(id),
                message_id: MessageId(message_id),
                peer: UserId(peer),
                status,
                timestamp_ms,
            })
        },
    )
}

fn new_messages() -> impl Strategy<Value = Event> {
    let ids = (id(), id(), id(), id(), option::of(id()));
    (count(), ids, device(), time(), any::<bool>(), content()).prop_map(
        |(push, (id, message_id, from, to, reply_to), from_device, time, ephemeral, content)| {
            let (plain, body) = match content {
                Content::Encrypted(bytes) => (false, Bytes::from(bytes.into_owned())),
                Content::Plain(text) => (true, Bytes::from(text.into_owned())),
            };
            Event::NewMessage(NewMessage {
                push,
                id: ServerId(id),
                message_id: MessageId(message_id),
                from: UserId(from),
                from_device,
                to: UserId(to),
                reply_to,
                client_timestamp_ms: time,
                ephemeral,
                plain,
                body,
            })
        },
    )
}

fn group_events() -> impl Strategy<Value = Event> {
    let change = (1..=7_u8).prop_map(|number| GroupChange::from_number(number).expect("1 to 7"));
    let name = prop_oneof![Just(String::new()), text(100)];
    (count(), (id(), id(), id(), id_or_nil()), change, count(), time(), name).prop_map(
        |(push, (id, group, actor, subject), change, epoch, timestamp_ms, name)| {
            Event::GroupEvent(GroupEvent {
                push,
                id: ServerId(id),
                group: GroupId(group),
                change,
                actor: UserId(actor),
                subject: UserId(subject),
                epoch,
                timestamp_ms,
                name,
            })
        },
    )
}

fn device_changes() -> impl Strategy<Value = Event> {
    let change = (1..=3_u8).prop_map(|number| DeviceChanged::from_number(number).expect("1 to 3"));
    (count(), id(), device(), change, time()).prop_map(
        |(push, user, device, change, timestamp_ms)| {
            let user = UserId(user);
            Event::DeviceChange(DeviceChange { push, user, device, change, timestamp_ms })
        },
    )
}

fn errors() -> impl Strategy<Value = Event> {
    let code = proptest::sample::select(ErrorCode::ALL);
    let detail = prop_oneof![Just(String::new()), text(100)];
    (code, any::<u32>(), id_or_nil(), id_or_nil(), detail).prop_map(
        |(code, retry_after_ms, message_id, id, detail)| {
            Event::Error(event::Error {
                code,
                retry_after_ms,
                message_id: MessageId(message_id),
                id: ServerId(id),
                detail: Cow::Owned(detail),
            })
        },
    )
}
