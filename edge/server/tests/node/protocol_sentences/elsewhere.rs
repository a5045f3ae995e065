//! What binds in PROTOCOL.md and is not tried by a row: where it is tried, or that it binds clients.
//!
//! A sentence that says "must", "is refused", "at most" and the like, and is neither here nor quoted by
//! a row, fails: whoever writes one says what defends it.

use std::path::PathBuf;

use ringpost_wire::CloseReason;

use super::{PROTOCOL, framing, meaning, says, words};

/// Words that make a sentence bind.
const BINDING: [&str; 10] = [
    "must",
    "refused",
    "refuses",
    "malformed",
    "ignored",
    "at most",
    "closed with",
    "cut off",
    "closes",
    "does nothing",
];

enum Defended {
    /// By this test of that file of the repository.
    By(&'static str, &'static str),
    /// It binds who writes a client, or who changes the protocol, or says what words mean.
    NotTheServer,
}

use Defended::{By, NotTheServer};

const UPGRADE: &str = "edge/conn/tests/upgrade.rs";
const REQUESTS: &str = "edge/conn/tests/requests.rs";
const WEBSOCKET: &str = "edge/server/tests/node/abuse_websocket.rs";
const HERE: &str = "edge/server/tests/node/protocol_sentences.rs";
const TRANSPORTS: &str = "edge/conn/tests/turn/transports.rs";
const PACE: &str = "edge/conn/tests/turn/pace.rs";
const DRAIN: &str = "edge/conn/tests/turn/drain.rs";
const DEADLINES: &str = "edge/conn/tests/turn/deadlines.rs";
const LEAVING: &str = "edge/conn/tests/turn/leaving.rs";
const IDEMPOTENCY: &str = "core/shard/tests/behaviour/idempotency.rs";
const QUEUES: &str = "core/shard/tests/behaviour/queue_limits.rs";
const RECEIPTS: &str = "core/shard/tests/behaviour/receipts.rs";
const GAPS: &str = "core/shard/tests/behaviour/gaps.rs";
const SIGN_IN: &str = "core/shard/tests/behaviour/sign_in.rs";
const READER: &str = "core/wire/tests/wire/json_reader.rs";
const FIELDS: &str = "core/wire/tests/wire/command_fields.rs";

/// In the order of the text.
const SENTENCES: &[(&str, Defended)] = &[
    ("MUST, SHOULD and MAY are meant as in RFC 2119", NotTheServer),
    (
        "A client that names only others is refused with HTTP 400",
        By(UPGRADE, "a_client_that_names_only_unknown_subprotocols_is_refused"),
    ),
    (
        "A request that carries an `Origin` must name one of the server's list",
        By(
            "edge/server/tests/node/abuse.rs",
            "abuse_row_45_foreign_pages_and_smuggled_requests_are_refused",
        ),
    ),
    (
        "One that is refused for what it says about the WebSocket leaves a kept connection open",
        By(REQUESTS, "a_refusal_about_the_websocket_alone_lets_the_next_request_come"),
    ),
    ("A head is at most 8 KiB and 64 fields", By(UPGRADE, "the_limits_of_a_head_themselves_pass")),
    (
        "A request whose length two readers could understand in two ways",
        By(
            "edge/server/tests/node/kept.rs",
            "an_ambiguous_request_is_refused_as_a_first_one_and_as_a_later_one",
        ),
    ),
    (
        "a code that must not be sent, or half of one, is answered with 1002",
        By(HERE, "a_close_frame_is_answered_by_its_like"),
    ),
    (
        "A message of the other type closes the connection with 1003",
        By(WEBSOCKET, "abuse_row_13_a_message_of_the_other_type_is_refused"),
    ),
    (
        "Client frames MUST be masked",
        By(WEBSOCKET, "abuse_row_13_unmasked_frames_reserved_bits_and_opcodes_are_refused"),
    ),
    (
        "any other that begins with one is closed without an answer",
        By("edge/server/tests/node/proxies.rs", "a_proxy_that_is_not_trusted_is_not_heard"),
    ),
    ("Fields are only ever appended, so a reader MUST", NotTheServer),
    (
        "An `error` names the command that it refuses",
        By(HERE, "each_sentence_holds_over_every_transport"),
    ),
    (
        "a command without it is `malformed`, and the `detail` names the field",
        By(FIELDS, "a_field_that_is_missing_or_wrong_is_named_by_the_refusal_of_every_command"),
    ),
    (
        "what it lacks is 0, which is refused by name where 0 or nil is no value",
        By(FIELDS, "a_short_record_is_taken_or_refused_by_the_name_of_what_it_lacks"),
    ),
    (
        "because two readers could understand them differently",
        By(READER, "duplicate_keys_are_found_in_every_object_also_where_one_is_escaped"),
    ),
    (
        "if the `hello` is refused nobody answers them",
        By(HERE, "what_stands_behind_a_hello_that_is_refused_is_answered_by_nobody"),
    ),
    ("if it is refused (4401), it presents a token", NotTheServer),
    ("Who is refused with a fresh one too stops", NotTheServer),
    (
        "One too many is closed with 4412 in place of a `welcome`",
        By(SIGN_IN, "devices_per_user_are_bounded"),
    ),
    (
        "then the connection is closed with 4401",
        By(DEADLINES, "a_session_ends_with_its_token_unless_a_new_one_comes_in_place"),
    ),
    (
        "another one meanwhile is refused with `rate_limited`",
        By(LEAVING, "a_second_auth_takes_no_tag_and_both_are_answered_before_the_end"),
    ),
    (
        "the other is closed with 4409",
        By(SIGN_IN, "of_two_connections_of_a_device_the_one_accepted_later_stays"),
    ),
    ("A client that is closed with 4409 MUST NOT reconnect by itself", NotTheServer),
    (
        "Nothing is lost, nothing is refused, and no connection is closed for it",
        By(PACE, "a_flood_is_read_at_its_rate_and_answered_to_the_last_frame"),
    ),
    (
        "What the server itself asked for costs nothing, in a frame of at most 512 bytes",
        By(PACE, "a_pong_to_the_servers_ping_is_free_and_others_are_not"),
    ),
    (
        "who could not be read in time is closed with 4408",
        By(PACE, "no_debt_of_an_address_puts_off_the_deadline_of_a_stranger"),
    ),
    (
        "it MUST answer with a `pong` of the same nonce",
        By(DEADLINES, "a_silent_client_is_pinged_and_lives_as_long_as_it_answers"),
    ),
    (
        "After the same time again without a byte it is closed with 4410",
        By(TRANSPORTS, "a_silent_client_is_pinged_in_the_time_of_its_transport"),
    ),
    (
        "closes with 1000, or with what the Close frame said",
        By(HERE, "what_was_asked_before_a_close_frame_is_answered_and_then_the_close_frame"),
    ),
    (
        "if it is still there some time behind the last slot, it is closed with 1001",
        By(DRAIN, "slots_are_kept_and_fit_into_the_time"),
    ),
    (
        "and is closed with 1001: it comes again after that slot",
        By(DRAIN, "newcomers_are_told_when_to_come_back"),
    ),
    (
        "after 5 s it cuts off who has not closed",
        By(DEADLINES, "a_closed_client_that_does_not_close_is_dropped_at_the_close_deadline"),
    ),
    (
        "It is cut off when it makes no progress at all",
        By(DEADLINES, "a_reader_without_progress_is_dropped_and_one_with_a_little_is_not"),
    ),
    (
        "The same `message_id` with anything else in it is refused with `conflict`",
        By(IDEMPOTENCY, "abuse_row_22_a_conflict_names_what_was_accepted"),
    ),
    (
        "if the first is refused, the second is judged as if it had come first",
        By(IDEMPOTENCY, "where_the_first_is_refused_the_second_is_judged_anew"),
    ),
    (
        "which is the order in which they were sent as long as none is refused",
        By(IDEMPOTENCY, "sends_behind_a_look_up_wait_in_a_bounded_line_and_keep_their_order"),
    ),
    ("holds later messages of that conversation back while one is refused", NotTheServer),
    ("Everything that a device must learn", NotTheServer),
    ("Clients MUST recognise a message that they have", NotTheServer),
    (
        "At most `window_pushes` entries and `window_bytes` bytes of content are pushed and unacked",
        By(
            "core/shard/tests/behaviour/slow_reader.rs",
            "pushes_stop_at_the_window_and_go_on_with_acks",
        ),
    ),
    ("No ack closes a gap", By(GAPS, "live_messages_go_on_beside_a_gap_and_no_ack_closes_it")),
    (
        "A sender who holds as much in every queue that still has room is refused with `quota`",
        By(
            QUEUES,
            "a_queue_that_ten_senders_have_filled_refuses_each_of_them_and_takes_the_eleventh",
        ),
    ),
    (
        "A queue that is full, or has a gap, refuses nobody",
        By(QUEUES, "a_queue_that_is_full_or_has_a_gap_refuses_nobody"),
    ),
    (
        "is refused with `ambiguous` where two senders used the same",
        By(RECEIPTS, "a_name_that_fits_several_messages_is_ambiguous"),
    ),
    (
        "The client leaves; the server closes with 1000",
        By(TRANSPORTS, "what_is_written_at_once_is_answered_alike_over_every_transport"),
    ),
    ("A client MUST skip events of a kind or `type` that it does not know", NotTheServer),
    ("A command was refused (code below 1000, the connection goes on)", NotTheServer),
    (
        "a text for the developer, at most about 100 characters",
        By("core/wire/tests/wire/hostile_bytes.rs", "any_text_in_the_shape_of_a_command"),
    ),
    ("What a client must do is one of", NotTheServer),
    (
        "the frame or text is not a valid command; nothing was done",
        By(HERE, "each_sentence_holds_over_every_transport"),
    ),
    (
        "the protocol was violated: frames cut off",
        By(HERE, "a_message_that_is_not_whole_frames_ends_with_1002"),
    ),
    ("| keys in one JSON object | 64 |", By(READER, "keys_are_taken_to_the_limit_and_not_beyond")),
    ("0 must mean \"as before\"", NotTheServer),
    ("must mean \"as before\"", NotTheServer),
    ("one that must be acked carries `push` at any offset", NotTheServer),
];

/// The sentences and rows of tables of PROTOCOL.md, without its examples.
fn sentences() -> Vec<String> {
    let prose = PROTOCOL.split("```").step_by(2).collect::<String>();
    let mut blocks = vec![String::new()];
    for line in prose.lines() {
        let begins = line.is_empty() || line.starts_with(['|', '#', '-']) || line.starts_with("**");
        let is_step = line.trim_start_matches(|it: char| it.is_ascii_digit()).starts_with(". ");
        if begins || is_step {
            blocks.push(String::new());
        }
        let block = blocks.last_mut().expect("one at least");
        *block = format!("{block} {line}");
    }
    let ends = |text: &str, at: usize| {
        let rest = &text[at + 2..];
        rest.starts_with(|next: char| next.is_uppercase() || matches!(next, '`' | '*'))
    };
    let mut all = Vec::new();
    for block in blocks.iter().map(|block| words(block)) {
        let mut from = 0;
        if !block.starts_with('|') {
            for (at, _) in block.match_indices(". ").filter(|(at, _)| ends(&block, *at)) {
                all.push(block[from..=at].to_owned());
                from = at + 2;
            }
        }
        all.push(block[from..].to_owned());
    }
    all
}

/// Whether one of the words is in it, as a word.
fn binds(sentence: &str) -> bool {
    let is_part = |it: char| it.is_alphanumeric() || it == '_';
    let bare: String = sentence.chars().map(|it| if is_part(it) { it } else { ' ' }).collect();
    let padded = format!(" {} ", words(&bare.to_lowercase()));
    BINDING.iter().any(|word| padded.contains(&format!(" {word} ")))
}

/// Whether it is a row of the reasons of last words: what a rule says that was broken, not a rule.
fn is_reason(sentence: &str) -> bool {
    CloseReason::ALL
        .iter()
        .any(|it| sentence == format!("| {} | {} |", it.code().number(), it.text()))
}

#[test]
fn every_sentence_that_binds_is_tried_by_a_row_or_says_what_defends_it() {
    let rows: Vec<_> = framing::rows().into_iter().chain(meaning::rows()).collect();
    let quotes: Vec<String> = (rows.iter().map(|row| row.sentence))
        .chain(SENTENCES.iter().map(|(quote, _)| *quote))
        .map(words)
        .collect();
    let loose: Vec<String> = sentences()
        .into_iter()
        .filter(|sentence| binds(sentence) && !is_reason(sentence))
        .filter(|sentence| {
            !quotes.iter().any(|quote| sentence.contains(quote) || quote.contains(sentence))
        })
        .collect();
    assert!(loose.is_empty(), "nothing defends:\n{}", loose.join("\n"));
}

#[test]
fn what_defends_a_sentence_is_there() {
    let root: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../.."].iter().collect();
    for (quote, defended) in SENTENCES {
        says(quote);
        let By(file, test) = defended else { continue };
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains(&format!("fn {test}(")), "{file} has no {test}, for: {quote}");
    }
}
