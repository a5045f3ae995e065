//! Credentials in the words of the workers: what `auth` checked, as a connection takes it.

use ringpost_conn::letter::{CredentialRefused, Identity};
use ringpost_conn::{Ticket, Tickets};
use ringpost_shard::event::Proof;

use crate::auth::{AuthError, TicketKey, Verified};

/// The outcome of the check of a credential that proves this.
pub(super) fn checked(
    answer: Result<Verified, AuthError>,
    proof: Proof,
) -> Result<Identity, CredentialRefused> {
    answer
        .map(|Verified { user, device, issued_at_ms, expires_at_ms }| Identity {
            user,
            device,
            issued_at_ms,
            expires_at_ms,
            proof,
        })
        .map_err(|error| refused(error, proof))
}

fn refused(error: AuthError, proof: Proof) -> CredentialRefused {
    match error {
        AuthError::Expired if proof == Proof::Ticket => CredentialRefused::TicketExpired,
        AuthError::Ticket => CredentialRefused::TicketUnknown,
        AuthError::Expired => CredentialRefused::TokenExpired,
        AuthError::NotYet => CredentialRefused::TokenNotYet,
        // Whether the key or the signature is wrong is told to nobody who guesses at either.
        AuthError::UnknownKey | AuthError::Signature => CredentialRefused::TokenUnsigned,
        AuthError::Issuer | AuthError::Audience => CredentialRefused::TokenForeign,
        AuthError::TooLong
        | AuthError::Malformed
        | AuthError::Algorithm
        | AuthError::Critical
        | AuthError::Claims => CredentialRefused::TokenMalformed,
    }
}

impl Tickets for TicketKey {
    fn issue(&self, identity: &Identity, now_ms: u64) -> Ticket {
        let Identity { user, device, issued_at_ms, expires_at_ms, .. } = *identity;
        self.issue(&Verified { user, device, issued_at_ms, expires_at_ms }, now_ms)
    }

    fn open(&self, ticket: &[u8], now_ms: u64) -> Result<Identity, CredentialRefused> {
        checked(self.open(ticket, now_ms), Proof::Ticket)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringpost_wire::{DeviceId, UserId};

    use super::*;
    use crate::auth::TicketSecrets;

    const NOW: u64 = 1_800_000_000_000;

    /// What a worker is told to put into `welcome` is when the ticket really ends.
    #[test]
    fn a_worker_is_told_the_time_that_is_left_and_not_the_configured_one() {
        let key = TicketKey::new(&TicketSecrets::new([1; 32], NOW), Duration::from_secs(600));
        let tickets: &dyn Tickets = &key;
        for (token_ms, left_ms) in [(3_600_000, 600_000), (90_000, 90_000), (0, 0)] {
            let identity = Identity {
                user: UserId([7; 16]),
                device: DeviceId::new(3).unwrap(),
                issued_at_ms: NOW - 5_000,
                expires_at_ms: NOW + token_ms,
                proof: Proof::Token,
            };
            let ticket = tickets.issue(&identity, NOW);
            assert_eq!(ticket.ttl_ms, left_ms);
            let end = NOW + u64::from(left_ms);
            assert_eq!(tickets.open(&ticket.bytes, end), Err(CredentialRefused::TicketExpired));
            if left_ms > 0 {
                let opened = tickets.open(&ticket.bytes, end - 1);
                assert_eq!(
                    opened,
                    Ok(Identity { expires_at_ms: end, proof: Proof::Ticket, ..identity })
                );
            }
        }
    }
}
