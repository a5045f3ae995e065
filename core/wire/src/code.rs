//! Error and close codes: numbered, never reused, each with what a client must do.
//!
//! One number space: an [`ErrorCode`] is below 1000 and the connection goes on; a [`CloseCode`] is
//! from 1000 on (RFC 6455 section 7.4) and the connection ends. Over WebSocket a close code is the
//! code of the close frame; the binary protocol sends the same number in a last `error` frame.
//! `PROTOCOL.md` lists every code; a test holds the two equal.

/// What a client must do about a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Advice {
    /// Do not repeat as it is: the client has a bug, or the request can never succeed.
    Stop,
    /// Change the request, or what it is based on, then it may be made again.
    Change,
    /// Repeat the same, after `retry_after_ms` (with jitter and back-off where that is 0).
    RepeatLater,
    /// Get a new access token, then go on or connect again.
    SignInAgain,
    /// Connect again, presenting the resume ticket.
    Resume,
}

impl Advice {
    /// The word that `PROTOCOL.md` uses.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Change => "change",
            Self::RepeatLater => "repeat later",
            Self::SignInAgain => "sign in again",
            Self::Resume => "resume",
        }
    }
}

/// Declares a closed enum of codes with their number, name and advice in one place each.
macro_rules! codes {
    ($(#[$meta:meta])* $enum:ident { $($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $advice:ident;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u16)]
        pub enum $enum {
            $($(#[$doc])* $variant = $number,)*
        }

        impl $enum {
            /// Every code, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code with this number, if there is one.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                self as u16
            }

            /// The name, as JSON, logs and metric labels carry it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What a client must do.
            pub const fn advice(self) -> Advice {
                match self {
                    $(Self::$variant => Advice::$advice,)*
                }
            }
        }
    };
}

codes! {
    /// Why one command was refused. The connection goes on.
    ErrorCode {
        /// The frame or JSON text is not a valid command; nothing was done.
        Malformed = 1, "malformed", Stop;
        /// The kind of frame or `type` is not known to this server.
        UnknownKind = 2, "unknown_kind", Stop;
        /// This server does not offer what was asked.
        NotSupported = 3, "not_supported", Stop;
        /// A command that needs a session came before `welcome`.
        NotSignedIn = 4, "not_signed_in", Change;
        /// Plaintext `content` where only ciphertext is taken.
        PlaintextRefused = 5, "plaintext_refused", Change;
        /// The message is larger than the limit.
        TooLarge = 6, "too_large", Change;
        /// The recipient does not exist.
        UnknownRecipient = 7, "unknown_recipient", Stop;
        /// The same `message_id` was accepted with another content; the answer carries its `id`.
        Conflict = 8, "conflict", Change;
        /// Too many commands; repeat after `retry_after_ms`.
        RateLimited = 9, "rate_limited", RepeatLater;
        /// The sender has used up its share of the recipient's queues; repeat after
        /// `retry_after_ms`.
        Quota = 10, "quota", RepeatLater;
        /// The server is over a limit of its own; repeat after `retry_after_ms`.
        Overloaded = 11, "overloaded", RepeatLater;
        /// The journal failed: outcome unknown, repeat with the same `message_id`.
        Unavailable = 12, "unavailable", RepeatLater;
        /// `ack` beyond the last push, or of a push never made.
        UnknownPush = 13, "unknown_push", Stop;
        /// A `receipt` names a message that this connection was not pushed, or that is not one's own.
        UnknownMessage = 14, "unknown_message", Stop;
        /// A `receipt` with `message_id` alone fits several pushed entries; name the server's `id`.
        Ambiguous = 15, "ambiguous", Change;
        /// The renewed token is not valid or names another user or device.
        TokenRefused = 16, "token_refused", SignInAgain;
        /// A message to oneself's own device set that has no other device.
        NoRecipientDevice = 17, "no_recipient_device", Stop;
        /// A second `hello` on a connection that has one; the session is as it was.
        AlreadySignedIn = 18, "already_signed_in", Stop;
        /// `gap_closed` of a gap that was not told on this connection.
        UnknownGap = 19, "unknown_gap", Stop;
    }
}

codes! {
    /// Why a connection ends.
    CloseCode {
        /// Done: the client said `bye` or closed.
        Normal = 1000, "normal", Stop;
        /// The server drains; reconnect in the slot that `goaway` named.
        GoingAway = 1001, "going_away", Resume;
        /// Violation of the protocol.
        Protocol = 1002, "protocol", Stop;
        /// A data type that the subprotocol does not take.
        Unsupported = 1003, "unsupported", Stop;
        /// Text that is not UTF-8 (or JSON text that cannot be).
        InvalidData = 1007, "invalid_data", Stop;
        /// A limit of behaviour was broken (fragments, a frame too long in coming).
        Policy = 1008, "policy", RepeatLater;
        /// A frame or message over the limit.
        TooBig = 1009, "too_big", Stop;
        /// A bug of the server.
        Internal = 1011, "internal", Resume;
        /// Overloaded; come back later.
        TryLater = 1013, "try_later", RepeatLater;
        /// The token is missing, bad, expired or revoked: sign in again.
        SignInAgain = 4401, "sign_in_again", SignInAgain;
        /// The deadline for the handshake or for signing in has passed.
        HandshakeTimeout = 4408, "handshake_timeout", RepeatLater;
        /// The same device connected elsewhere, later: stop, do not reconnect.
        Displaced = 4409, "displaced", Stop;
        /// The client was silent for too long: resume.
        Silent = 4410, "silent", Resume;
        /// The client did not read for too long: resume.
        NoProgress = 4411, "no_progress", Resume;
        /// The user has as many devices as may be, and none of them has been absent for long: stop.
        TooManyDevices = 4412, "too_many_devices", Stop;
    }
}

impl CloseCode {
    /// The code of the WebSocket close frame: the same number.
    pub const fn websocket(self) -> u16 {
        self.number()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_leads_back_to_its_code_and_no_other_number_to_any() {
        for number in 0..=u16::MAX {
            let error = ErrorCode::from_number(number);
            let close = CloseCode::from_number(number);
            assert!(error.is_none() || close.is_none(), "{number} means two things");
            assert!(error.is_none_or(|code| code.number() == number && number < 1000));
            assert!(close.is_none_or(|code| code.websocket() == number && number >= 1000));
        }
        assert!(ErrorCode::ALL.iter().all(|&c| ErrorCode::from_number(c.number()) == Some(c)));
        assert!(CloseCode::ALL.iter().all(|&c| CloseCode::from_number(c.number()) == Some(c)));
    }

    #[test]
    fn displacement_says_stop_so_that_two_devices_do_not_displace_each_other_for_ever() {
        assert_eq!(CloseCode::Displaced.advice(), Advice::Stop);
    }
}
