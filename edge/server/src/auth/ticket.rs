//! Resume tickets: a reconnect costs one HMAC instead of a signature check and a look-up.
//!
//! ```text
//! offset  0        1           2     18      19              27              35
//!         version  key number  user  device  issued_at_ms LE expires_at_ms LE HMAC-SHA256
//!         1        1           16    1       8               8               32   = 67 bytes
//! ```
//! Opaque to clients. Owns form, secrets and their rotation; pure: time is an argument. The MAC is
//! compared in constant time (aws-lc). A ticket carries the issue time of the token that it stems
//! from, so that a revocation of the one voids the other, and it never outlives that token.

use std::time::Duration;

use aws_lc_rs::hmac;
use ringpost_conn::Ticket;
use ringpost_wire::{DeviceId, UserId};

use super::{AuthError, Verified};

/// Version of the ticket's form.
const VERSION: u8 = 1;
/// Bytes under the MAC.
const SIGNED_BYTES: usize = 35;
/// Bytes of a ticket.
const TICKET_BYTES: usize = SIGNED_BYTES + 32;

/// A secret signs for so long, then a new one takes over at the next boot. The old one goes on
/// verifying until the rotation after that; tickets live hours, so none is cut off.
const ROTATE_AFTER_MS: u64 = 7 * 86_400_000;

/// The secrets behind tickets: the current one signs, the current and the previous verify.
#[derive(Clone)]
pub struct TicketSecrets {
    number: u8,
    made_at_ms: u64,
    current: [u8; 32],
    previous: [u8; 32],
}

/// Bytes of encoded secrets: version, number, time, two secrets.
const SECRETS_BYTES: usize = 2 + 8 + 64;

impl TicketSecrets {
    /// The first secrets of a data directory. `secret` must be random.
    pub fn new(secret: [u8; 32], wall_ms: u64) -> Self {
        // Before the first rotation there is no previous one; the same twice verifies no more
        // than once.
        Self { number: 0, made_at_ms: wall_ms, current: secret, previous: secret }
    }

    /// Whether the current secret has signed for long enough.
    pub fn rotation_due(&self, wall_ms: u64) -> bool {
        wall_ms.saturating_sub(self.made_at_ms) >= ROTATE_AFTER_MS
    }

    /// The next secrets: `secret` signs, today's current one goes on verifying.
    #[must_use]
    pub fn rotated(&self, secret: [u8; 32], wall_ms: u64) -> Self {
        Self {
            number: self.number.wrapping_add(1),
            made_at_ms: wall_ms,
            current: secret,
            previous: self.current,
        }
    }

    /// The secrets as their file keeps them.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SECRETS_BYTES);
        bytes.extend_from_slice(&[VERSION, self.number]);
        bytes.extend_from_slice(&self.made_at_ms.to_le_bytes());
        bytes.extend_from_slice(&self.current);
        bytes.extend_from_slice(&self.previous);
        bytes
    }

    /// Reads [`Self::encode`]'s form; `None` if it is anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != SECRETS_BYTES || bytes[0] != VERSION {
            return None;
        }
        Some(Self {
            number: bytes[1],
            made_at_ms: u64::from_le_bytes(bytes[2..10].try_into().ok()?),
            current: bytes[10..42].try_into().ok()?,
            previous: bytes[42..74].try_into().ok()?,
        })
    }
}

/// Issues and opens tickets. Cheap to share, no interior state.
pub struct TicketKey {
    number: u8,
    current: hmac::Key,
    previous: hmac::Key,
    ttl_ms: u64,
}

impl TicketKey {
    /// A key over `secrets`, for tickets that live `ttl` at most.
    pub fn new(secrets: &TicketSecrets, ttl: Duration) -> Self {
        Self {
            number: secrets.number,
            current: hmac::Key::new(hmac::HMAC_SHA256, &secrets.current),
            previous: hmac::Key::new(hmac::HMAC_SHA256, &secrets.previous),
            ttl_ms: ttl.as_millis().try_into().unwrap_or(u64::MAX),
        }
    }

    /// A ticket for the holder of `session`, good until the session's credential expires, or for
    /// the ticket's own life, whichever is first.
    pub fn issue(&self, session: &Verified, wall_ms: u64) -> Ticket {
        let expires_at_ms = session.expires_at_ms.min(wall_ms.saturating_add(self.ttl_ms));
        let mut bytes = Vec::with_capacity(TICKET_BYTES);
        bytes.extend_from_slice(&[VERSION, self.number]);
        bytes.extend_from_slice(&session.user.0);
        bytes.push(session.device.number());
        bytes.extend_from_slice(&session.issued_at_ms.to_le_bytes());
        bytes.extend_from_slice(&expires_at_ms.to_le_bytes());
        debug_assert_eq!(bytes.len(), SIGNED_BYTES);
        let tag = hmac::sign(&self.current, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        let left_ms = expires_at_ms.saturating_sub(wall_ms);
        Ticket { bytes: bytes.into(), ttl_ms: left_ms.try_into().unwrap_or(u32::MAX) }
    }

    /// Who holds this ticket.
    ///
    /// The expiry of the answer is the ticket's, so a session that resumed with it ends there
    /// unless the client presents a token (`auth`) before.
    ///
    /// # Errors
    /// [`AuthError::Ticket`] if it is none of ours, [`AuthError::Expired`] if it was.
    pub fn open(&self, ticket: &[u8], wall_ms: u64) -> Result<Verified, AuthError> {
        if ticket.len() != TICKET_BYTES || ticket[0] != VERSION {
            return Err(AuthError::Ticket);
        }
        let key = match self.number.wrapping_sub(ticket[1]) {
            0 => &self.current,
            1 => &self.previous,
            _ => return Err(AuthError::Ticket),
        };
        let (signed, tag) = ticket.split_at(SIGNED_BYTES);
        hmac::verify(key, signed, tag).map_err(|_| AuthError::Ticket)?;
        let number = |at: usize| {
            u64::from_le_bytes(signed[at..at + 8].try_into().expect("eight bytes of a fixed form"))
        };
        let verified = Verified {
            user: UserId(signed[2..18].try_into().expect("sixteen bytes of a fixed form")),
            device: DeviceId::new(signed[18]).ok_or(AuthError::Ticket)?,
            issued_at_ms: number(19),
            expires_at_ms: number(27),
        };
        if wall_ms >= verified.expires_at_ms {
            return Err(AuthError::Expired);
        }
        Ok(verified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn session() -> Verified {
        Verified {
            user: UserId([7; 16]),
            device: DeviceId::new(3).unwrap(),
            issued_at_ms: NOW - 5_000,
            expires_at_ms: NOW + 3_600_000,
        }
    }

    fn key(secrets: &TicketSecrets) -> TicketKey {
        TicketKey::new(secrets, Duration::from_secs(600))
    }

    #[test]
    fn a_ticket_names_its_holder_until_it_expires() {
        let key = key(&TicketSecrets::new([1; 32], NOW));
        let ticket = key.issue(&session(), NOW);
        assert_eq!(ticket.ttl_ms, 600_000);
        assert_eq!(ticket.bytes.len(), TICKET_BYTES);
        let opened = key.open(&ticket.bytes, NOW + 599_999).unwrap();
        assert_eq!(opened, Verified { expires_at_ms: NOW + 600_000, ..session() });
        assert_eq!(key.open(&ticket.bytes, NOW + 600_000), Err(AuthError::Expired));
    }

    #[test]
    fn a_ticket_never_outlives_the_token_behind_it() {
        let key = key(&TicketSecrets::new([1; 32], NOW));
        let short = Verified { expires_at_ms: NOW + 1_000, ..session() };
        let ticket = key.issue(&short, NOW);
        assert_eq!(ticket.ttl_ms, 1_000);
        assert_eq!(key.open(&ticket.bytes, NOW + 1_000), Err(AuthError::Expired));
        // Resuming again and again does not stretch it either.
        let resumed = key.open(&ticket.bytes, NOW + 900).unwrap();
        assert_eq!(key.issue(&resumed, NOW + 900).ttl_ms, 100);
        assert_eq!(resumed.issued_at_ms, short.issued_at_ms);
    }

    #[test]
    fn any_flipped_bit_and_any_other_length_is_refused() {
        let key = key(&TicketSecrets::new([1; 32], NOW));
        let ticket = key.issue(&session(), NOW).bytes;
        for bit in 0..ticket.len() * 8 {
            let mut forged = ticket.to_vec();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(&forged, NOW), Err(AuthError::Ticket), "bit {bit}");
        }
        for cut in 0..ticket.len() {
            assert_eq!(key.open(&ticket[..cut], NOW), Err(AuthError::Ticket));
        }
        let mut longer = ticket.to_vec();
        longer.push(0);
        assert_eq!(key.open(&longer, NOW), Err(AuthError::Ticket));
    }

    #[test]
    fn a_rotated_secret_goes_on_verifying_for_one_rotation() {
        let first = TicketSecrets::new([1; 32], NOW);
        let ticket = key(&first).issue(&session(), NOW).bytes;
        assert!(!first.rotation_due(NOW + ROTATE_AFTER_MS - 1));
        assert!(first.rotation_due(NOW + ROTATE_AFTER_MS));
        let second = first.rotated([2; 32], NOW);
        assert!(key(&second).open(&ticket, NOW).is_ok());
        assert_eq!(second.encode(), TicketSecrets::decode(&second.encode()).unwrap().encode());
        let third = second.rotated([3; 32], NOW);
        assert_eq!(key(&third).open(&ticket, NOW), Err(AuthError::Ticket));
    }

    #[test]
    fn a_ticket_of_another_server_is_refused() {
        let ticket = key(&TicketSecrets::new([1; 32], NOW)).issue(&session(), NOW).bytes;
        let other = key(&TicketSecrets::new([2; 32], NOW));
        assert_eq!(other.open(&ticket, NOW), Err(AuthError::Ticket));
    }
}
