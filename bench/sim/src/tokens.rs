//! Who is who: user ids, access tokens and resume tickets, all said openly.

use bytes::Bytes;
use ringpost_conn::letter::{CredentialRefused, Identity};
use ringpost_conn::{Ticket, Tickets};
use ringpost_shard::event::Proof;
use ringpost_wire::{DeviceId, UserId};

use crate::fact::Who;

/// Life of a token: longer than any run and any jump of the clock.
const TOKEN_TTL_MS: u64 = 1_000 * 24 * 3_600 * 1_000;

/// Life of a ticket: shorter than a jump of the clock.
const TICKET_TTL_MS: u64 = 3_600 * 1_000;

/// The id of a user of the fleet.
#[must_use]
pub(crate) fn user_id(number: u8) -> UserId {
    let mut id = [0x40; 16];
    id[15] = number;
    UserId(id)
}

/// The number of a user, if it is one of the fleet.
#[must_use]
pub(crate) fn number_of(user: UserId) -> Option<u8> {
    let number = user.0[15];
    (user_id(number) == user).then_some(number)
}

/// The access token of a device.
#[must_use]
pub(crate) fn token(who: Who) -> String {
    format!("token-{}-{}", who.user, who.device)
}

/// What the token checker answers.
///
/// # Errors
/// If it is no token.
pub(crate) fn verify(token: &str, now_ms: u64) -> Result<Identity, CredentialRefused> {
    let mut parts = token.split('-').skip(1).map(str::parse::<u8>);
    let mut part = || parts.next()?.ok();
    let (user, device) = part().zip(part()).ok_or(CredentialRefused::TokenMalformed)?;
    let device = DeviceId::new(device).ok_or(CredentialRefused::TokenMalformed)?;
    let expires_at_ms = now_ms + TOKEN_TTL_MS;
    let (user, issued_at_ms) = (user_id(user), now_ms);
    Ok(Identity { user, device, issued_at_ms, expires_at_ms, proof: Proof::Token })
}

/// Tickets that say openly whom they speak for.
pub(crate) struct OpenTickets;

impl Tickets for OpenTickets {
    fn issue(&self, identity: &Identity, now_ms: u64) -> Ticket {
        let expires_at_ms = identity.expires_at_ms.min(now_ms + TICKET_TTL_MS);
        let bytes = [
            &identity.user.0[..],
            &[identity.device.number()],
            &identity.issued_at_ms.to_le_bytes(),
            &expires_at_ms.to_le_bytes(),
        ]
        .concat();
        let ttl_ms = u32::try_from(expires_at_ms.saturating_sub(now_ms)).unwrap_or(u32::MAX);
        Ticket { bytes: Bytes::from(bytes), ttl_ms }
    }

    fn open(&self, ticket: &[u8], now_ms: u64) -> Result<Identity, CredentialRefused> {
        let part =
            |from: usize, to: usize| ticket.get(from..to).ok_or(CredentialRefused::TicketUnknown);
        let number = |at: usize| {
            let bytes = part(at, at + 8)?.try_into().expect("eight bytes");
            Ok(u64::from_le_bytes(bytes))
        };
        let identity = Identity {
            user: UserId(part(0, 16)?.try_into().expect("sixteen bytes")),
            device: DeviceId::new(part(16, 17)?[0]).ok_or(CredentialRefused::TicketUnknown)?,
            issued_at_ms: number(17)?,
            expires_at_ms: number(25)?,
            proof: Proof::Ticket,
        };
        if identity.expires_at_ms <= now_ms {
            return Err(CredentialRefused::TicketExpired);
        }
        Ok(identity)
    }
}
