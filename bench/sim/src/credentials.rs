//! Tokens and tickets that say openly whom they speak for: signatures are proved elsewhere.

use bytes::Bytes;
use ringpost_conn::letter::{CredentialRefused, Identity};
use ringpost_conn::{Ticket, Tickets};
use ringpost_wire::{DeviceId, UserId};

use crate::observed::DeviceKey;

/// Life of a ticket, ms: jumps of the wall clock end some.
const TICKET_TTL_MS: u64 = 3_600_000;

/// The token of a device, which ends in the far future.
pub(crate) fn token(device: DeviceKey) -> String {
    format!("{}/{}", u128::from_be_bytes(device.user.0), device.number)
}

/// What the checker of tokens answers.
pub(crate) fn verify(token: &str, wall_ms: u64) -> Result<Identity, CredentialRefused> {
    let (user, number) = token.split_once('/').ok_or(CredentialRefused::Invalid)?;
    let user: u128 = user.parse().map_err(|_| CredentialRefused::Invalid)?;
    let number = number.parse().map_err(|_| CredentialRefused::Invalid)?;
    Ok(Identity {
        user: UserId(user.to_be_bytes()),
        device: DeviceId::new(number).ok_or(CredentialRefused::Invalid)?,
        issued_at_ms: wall_ms,
        expires_at_ms: u64::MAX,
    })
}

pub(crate) struct OpenTickets;

impl Tickets for OpenTickets {
    fn issue(&self, identity: &Identity, now_ms: u64) -> Ticket {
        let expires_at_ms = now_ms + TICKET_TTL_MS;
        let bytes = [
            &identity.user.0[..],
            &[identity.device.number()],
            &identity.issued_at_ms.to_le_bytes(),
            &expires_at_ms.to_le_bytes(),
        ]
        .concat();
        Ticket { bytes: Bytes::from(bytes), ttl_ms: TICKET_TTL_MS as u32 }
    }

    fn open(&self, ticket: &[u8], now_ms: u64) -> Result<Identity, CredentialRefused> {
        let [user @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = ticket else {
            return Err(CredentialRefused::Invalid);
        };
        let number = |at: usize| {
            let bytes = ticket[at..at + 8].try_into().expect("eight bytes");
            u64::from_le_bytes(bytes)
        };
        let identity = Identity {
            user: UserId(user.try_into().map_err(|_| CredentialRefused::Invalid)?),
            device: DeviceId::new(ticket[16]).ok_or(CredentialRefused::Invalid)?,
            issued_at_ms: number(17),
            expires_at_ms: number(25),
        };
        if identity.expires_at_ms <= now_ms {
            return Err(CredentialRefused::Expired);
        }
        Ok(identity)
    }
}
