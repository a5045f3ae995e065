//! Who a client is: access tokens (Ed25519 JWT), resume tickets (HMAC), and the keys for both.
//!
//! ```text
//!              42 us, off the worker                     0.4 us, in the worker's turn
//! token text -> TokenService -> TokenVerifier --.   ticket -> TicketKey::open --.
//!                                               v                               v
//!                                           Verified <--------------------------'
//! ```
//! Owns verification and issuing; pure but for the keys' files: time is an argument. Does not own
//! revocation (the shard compares `issued_at_ms`), accounts, codes and refresh tokens (`rest`).
//! Invariant: a ticket is never stronger than the token behind it: it keeps that token's time of
//! issue and never outlives it.

mod jwks;
mod key_file;
mod service;
mod ticket;
mod token;

use ringpost_wire::{DeviceId, UserId};

pub use jwks::{JwksError, check as check_jwks};
pub use key_file::{KeyError, Keys};
pub use service::{Refused, TokenCounters, TokenService, VerifyRequest};
pub use ticket::{TicketKey, TicketSecrets};
pub use token::{Issued, TOKEN_LIFE_MAX, TokenRules, TokenSigner, TokenVerifier};

/// A credential that was good: who it names, and its times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// When the token was issued, wall clock, milliseconds since 1970. Credentials issued at or
    /// before a revocation are void.
    pub issued_at_ms: u64,
    /// When the server stops honouring it, wall clock, milliseconds since 1970: the token's `exp`
    /// and the allowed clock skew.
    pub expires_at_ms: u64,
}

/// Why a credential is not good. Never shown to the peer in detail.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum AuthError {
    /// Longer than any token of ours.
    #[error("token too long")]
    TooLong,
    /// Not three parts of base64 with JSON in the first two.
    #[error("token malformed")]
    Malformed,
    /// An algorithm that no key here signs with, `none` included.
    #[error("token algorithm not allowed")]
    Algorithm,
    /// Extensions that must be understood (`crit`) and are not.
    #[error("token has critical extensions")]
    Critical,
    /// No key id, or one that no key here has.
    #[error("token key not known")]
    UnknownKey,
    /// The signature is not that key's.
    #[error("token signature wrong")]
    Signature,
    /// A claim is missing or has a form that it must not have.
    #[error("token claims malformed")]
    Claims,
    /// Signed by a key that does not belong to this issuer.
    #[error("token issuer wrong")]
    Issuer,
    /// Made for somebody else.
    #[error("token audience wrong")]
    Audience,
    /// No longer good.
    #[error("credential expired")]
    Expired,
    /// Not yet good, or issued in the future.
    #[error("token not yet valid")]
    NotYet,
    /// Not a ticket of this server, or of a secret that has been rotated out.
    #[error("ticket not valid")]
    Ticket,
}

impl AuthError {
    /// Every error, for the counters.
    pub const ALL: [Self; 12] = [
        Self::TooLong,
        Self::Malformed,
        Self::Algorithm,
        Self::Critical,
        Self::UnknownKey,
        Self::Signature,
        Self::Claims,
        Self::Issuer,
        Self::Audience,
        Self::Expired,
        Self::NotYet,
        Self::Ticket,
    ];

    /// Label of the counter: one word from a closed set.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Ticket => "ticket",
        }
    }
}
