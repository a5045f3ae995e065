//! Error and close codes: numbered, never reused, each with what a client must do.
//!
//! The WebSocket close code of a connection-ending code is in [`CloseCode::websocket`]; the
//! binary protocol sends the same number in an `error` frame and then closes.

/// Why one command was refused. The connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u16)]
pub enum ErrorCode {
    /// The frame or JSON text is not a valid command; nothing was done.
    Malformed = 1,
    /// The kind of frame or `type` is not known to this server.
    UnknownKind = 2,
    /// This server does not offer what was asked.
    NotSupported = 3,
    /// A command that needs a session came before `welcome`.
    NotSignedIn = 4,
    /// Plaintext `content` where only ciphertext is taken.
    PlaintextRefused = 5,
    /// The message is larger than the limit.
    TooLarge = 6,
    /// The recipient does not exist.
    UnknownRecipient = 7,
    /// The same `message_id` was accepted with another content; the answer carries its `id`.
    Conflict = 8,
    /// Too many commands; repeat after `retry_after_ms`.
    RateLimited = 9,
    /// No device of the recipient has room in its queue; repeat after `retry_after_ms`.
    Quota = 10,
    /// The server is over a limit of its own; repeat after `retry_after_ms`.
    Overloaded = 11,
    /// The journal failed: outcome unknown, repeat with the same `message_id`.
    Unavailable = 12,
    /// `ack` beyond the last push, or of a push never made.
    UnknownPush = 13,
    /// A `receipt` names a message that this connection was not pushed, or that is not one's own.
    UnknownMessage = 14,
    /// A `receipt` with `message_id` alone fits several pushed entries; name the server's `id`.
    Ambiguous = 15,
    /// The renewed token is not valid or names another user or device.
    TokenRefused = 16,
    /// A message to oneself's own device set that has no other device.
    NoRecipientDevice = 17,
}

/// Why a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// Done: the client said `bye` or closed.
    Normal = 1000,
    /// The server drains; reconnect in the slot that `goaway` named.
    GoingAway = 1001,
    /// Violation of the protocol.
    Protocol = 1002,
    /// A data type that the subprotocol does not take.
    Unsupported = 1003,
    /// Text that is not UTF-8 (or JSON text that cannot be).
    InvalidData = 1007,
    /// A limit of behaviour was broken (floods, fragments, no progress).
    Policy = 1008,
    /// A frame or message over the limit.
    TooBig = 1009,
    /// A bug of the server.
    Internal = 1011,
    /// Overloaded; come back later.
    TryLater = 1013,
    /// The token is missing, bad, expired or revoked: sign in again.
    SignInAgain = 4401,
    /// The deadline for the handshake or for signing in has passed.
    HandshakeTimeout = 4408,
    /// The same device connected elsewhere, later: stop, do not reconnect.
    Displaced = 4409,
    /// The client was silent for too long: resume.
    Silent = 4410,
    /// The client did not read for too long: resume.
    NoProgress = 4411,
}
