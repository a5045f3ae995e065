//! Why connections end, in words: the closed set of what the server's last word says beside its code.
//!
//! The code is for programs, the text for the developer who reads a log: of 4401 it says whether
//! token or device was wrong, of 1002 which rule was broken. Over WebSocket it is the reason of the
//! Close frame, in the binary protocol the `detail` of the last `error`. Texts are fixed: nothing
//! that a peer sent, and no secret, can get into one. `PROTOCOL.md` lists each; a test holds the two
//! equal.

use std::borrow::Cow;

use crate::code::CloseCode;
use crate::event::Event;

/// Longest text, bytes: what a Close frame of WebSocket has room for beside its code (RFC 6455
/// section 5.5).
pub const TEXT_BYTES_MAX: usize = 123;

/// Declares the set: code, label and text of each in one place.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:ident, $label:literal, $text:literal;)*) => {
        /// Why the server ends a connection.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum CloseReason {
            $($(#[$doc])* $variant,)*
        }

        impl CloseReason {
            /// Every reason, in the order of declaration, which is that of the codes.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$variant),*];

            /// The code that a client decides by.
            pub const fn code(self) -> CloseCode {
                match self {
                    $(Self::$variant => CloseCode::$code,)*
                }
            }

            /// The value of its label in metrics. A closed set; names are stable.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }

            /// What the last word says, at most [`TEXT_BYTES_MAX`] bytes of ASCII.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        $(const _: () = assert!($text.is_ascii() && $text.len() <= TEXT_BYTES_MAX);)*
    };
}

reasons! {
    /// `bye`, a Close frame, or the end of the client's direction.
    Left = Normal, "left", "the client left";
    /// A drain.
    Stopping = GoingAway, "stopping", "the server stops";
    /// Answered in the words of HTTP, which are more exact.
    UpgradeRefused = Protocol, "upgrade_refused", "the request was refused";
    /// A binary WebSocket message that ends inside a frame, or holds none.
    PartialFrame = Protocol, "partial_frame", "a message must hold one or more whole frames";
    /// A frame of a WebSocket client without a mask (RFC 6455 section 5.1).
    Unmasked = Protocol, "unmasked", "a frame of a client is not masked";
    /// RSV1, RSV2 or RSV3 set, though no extension was negotiated (5.2).
    ReservedBit = Protocol, "reserved_bit", "a reserved bit is set";
    /// Opcodes 3 to 7 and 11 to 15 (5.2).
    ReservedOpcode = Protocol, "reserved_opcode", "the opcode is reserved";
    /// A close, ping or pong without FIN (5.5).
    ControlFragmented = Protocol, "control_fragmented", "a control frame is fragmented";
    /// A close, ping or pong with more than 125 bytes (5.5).
    ControlTooLong = Protocol, "control_too_long", "a control frame is longer than 125 bytes";
    /// A length that would have fitted a shorter form (5.2).
    LengthNotMinimal = Protocol, "length_not_minimal", "a length is not in its shortest form";
    /// A continuation while no message is open (5.4).
    OrphanContinuation = Protocol, "orphan_continuation", "a continuation without a message";
    /// A text or binary frame inside the fragments of another message (5.4).
    InterleavedMessage = Protocol, "interleaved_message", "a message begins inside another";
    /// A Close frame whose body is one byte (5.5.1).
    CloseTruncated = Protocol, "close_truncated", "a Close frame with half a code";
    /// A code that must not be sent (7.4).
    CloseCodeInvalid = Protocol, "close_code_invalid", "a Close frame with a code that must not be sent";
    /// A text message where the subprotocol takes binary ones.
    TextNotAccepted = Unsupported, "text_not_accepted", "the subprotocol takes no text messages";
    /// A binary message where the subprotocol takes text.
    BinaryNotAccepted = Unsupported, "binary_not_accepted", "the subprotocol takes no binary messages";
    /// A Close frame whose reason is not UTF-8 (5.5.1).
    CloseReasonNotUtf8 = InvalidData, "close_reason_not_utf8", "the reason of a Close frame is not UTF-8";
    /// A text, as a message or in a frame, that is not UTF-8 (8.1).
    TextNotUtf8 = InvalidData, "text_not_utf8", "a text is not UTF-8";
    /// A `\u` escape that names half a character (RFC 8259 section 8.2).
    LoneSurrogate = InvalidData, "lone_surrogate", "a string holds half a surrogate pair";
    /// More fragments in one message than the limit.
    TooManyFragments = Policy, "too_many_fragments", "a message has too many fragments";
    /// A frame or message that stays incomplete for too long.
    AssemblyTooSlow = Policy, "assembly_too_slow", "a frame or message did not become complete in time";
    /// A frame, message or text over the limit.
    TooBig = TooBig, "too_big", "a frame, message or text is over the limit";
    /// The same, by the lower limit that holds before `welcome`.
    TooBigForStranger = TooBig, "too_big_for_stranger", "over the limit that holds before welcome";
    /// More tokens wait to be checked than may.
    TokensCrowded = TryLater, "tokens_crowded", "too many tokens wait to be checked";
    /// The way to the worker that owns the user is full.
    MovesCrowded = TryLater, "moves_crowded", "too many sign-ins are on their way";
    /// More sign-ins wait for one user than may.
    UserCrowded = TryLater, "user_crowded", "too many sign-ins wait for this user";
    /// As many sessions as may be.
    SessionsFull = TryLater, "sessions_full", "the server has as many sessions as may be";
    /// The journal has failed, or takes on no more.
    DeviceUnkept = TryLater, "device_unkept", "a new device cannot be written down now";
    /// The user was not loaded, or its device not written, in time.
    WelcomeLate = TryLater, "welcome_late", "the user could not be read in time";
    /// More of frames is there without its end than may be.
    InputCrowded = TryLater, "input_crowded", "too many frames without their end: send this one again";
    /// What a leaving client had asked has no answer yet.
    AnswerLate = TryLater, "answer_late", "what was asked before leaving has no answer yet";
    /// `hello` with neither token nor ticket.
    NoCredential = SignInAgain, "no_credential", "no token and no ticket";
    /// Not a signed token of the form and algorithm that are taken.
    TokenMalformed = SignInAgain, "token_malformed", "the token is malformed, or of an algorithm that is not taken";
    /// No key of this server has signed it so.
    TokenUnsigned = SignInAgain, "token_unsigned", "the token is not signed by a key of this server";
    /// Another issuer or audience.
    TokenForeign = SignInAgain, "token_foreign", "the token is of another issuer or audience";
    /// Its time is over.
    TokenExpired = SignInAgain, "token_expired", "the token has expired";
    /// Its time has not come: clocks differ.
    TokenNotYet = SignInAgain, "token_not_yet", "the token is not valid yet: compare the clocks";
    /// Not a ticket, or one of a key that was rotated out.
    TicketUnknown = SignInAgain, "ticket_unknown", "the ticket is not known: sign in by token";
    /// Its time is over.
    TicketExpired = SignInAgain, "ticket_expired", "the ticket has expired: sign in by token";
    /// The ticket names a device that is not there: the data was put back from a copy.
    TicketUnfounded = SignInAgain, "ticket_unfounded", "the device of the ticket is not there: sign in by token";
    /// `hello` names a device, the credential another.
    OtherDevice = SignInAgain, "other_device", "device is not that of the token or ticket";
    /// The credential was revoked after it was issued, or its device signed out.
    Revoked = SignInAgain, "revoked", "the device has signed out, or its tokens were revoked";
    /// Only registered users are let in, and this is none.
    Unregistered = SignInAgain, "unregistered", "the user is not registered";
    /// What the session was signed in with, or renewed with, is over.
    SessionExpired = SignInAgain, "session_expired", "the credential of the session has expired";
    /// No preamble and no whole upgrade in time.
    HandshakeLate = HandshakeTimeout, "handshake_late", "no preamble or upgrade in time";
    /// No `hello` in time.
    HelloLate = HandshakeTimeout, "hello_late", "no hello in time";
    /// There was a `hello`; who it comes from was not known in time.
    CheckLate = HandshakeTimeout, "check_late", "the hello was not checked in time";
    /// Of two connections of a device the one accepted later stays.
    Displaced = Displaced, "displaced", "the same device connected elsewhere, later";
    /// Twice the ping interval without a byte.
    Silent = Silent, "silent", "nothing came for twice the ping interval";
    /// Its socket is full: nobody hears this.
    NoProgress = NoProgress, "no_progress", "the client did not read";
    /// As many devices as may be.
    TooManyDevices = TooManyDevices, "too_many_devices", "the user has as many devices as may be";
}

impl CloseReason {
    /// The last word.
    pub const fn event(self) -> Event {
        Event::Close { code: self.code(), retry_after_ms: 0, detail: Cow::Borrowed(self.text()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_label_and_a_text_of_its_own_and_stands_with_its_code() {
        let labels: BTreeSet<_> = CloseReason::ALL.iter().map(|it| it.label()).collect();
        let texts: BTreeSet<_> = CloseReason::ALL.iter().map(|it| it.text()).collect();
        assert_eq!(labels.len(), CloseReason::ALL.len());
        assert_eq!(texts.len(), CloseReason::ALL.len());
        for (place, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
        let codes: Vec<_> = CloseReason::ALL.iter().map(|it| it.code().number()).collect();
        assert!(codes.is_sorted());
    }

    /// 1011 is said by nobody yet: a bug has no place where it is found.
    #[test]
    fn every_code_but_that_of_a_bug_has_a_reason() {
        for &code in CloseCode::ALL {
            let has_one = CloseReason::ALL.iter().any(|it| it.code() == code);
            assert_eq!(has_one, code != CloseCode::Internal, "{code:?}");
        }
    }
}
