//! Which devices' credentials are void, as REST asks it on every request.
//!
//! The account data keeps revocations durably; this is the part of them that a token can still
//! outlive, in memory. Bounded: an entry is worth keeping only as long as the longest token lives.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use ringpost_shard::Now;
use ringpost_store::accounts::{AccountError, Accounts, Revocation};
use ringpost_wire::{DeviceId, UserId};

use crate::auth::{TOKEN_LIFE_MAX, Verified};

/// Devices whose revocation is remembered: 64 Ki entries of about 64 bytes with the table.
const REVOKED_MAX: usize = 1 << 16;

/// Recent revocations.
#[derive(Default)]
pub struct Revoked {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    before_ms: HashMap<(UserId, DeviceId), u64>,
    /// Every credential issued at or before this is void. Rises only when the table overflows:
    /// then the older half is forgotten and all that is as old must be refreshed, which costs
    /// clients a call and lets no revoked one in.
    floor_ms: u64,
}

impl Revoked {
    /// The revocations in `accounts` that a token can still outlive, each of them shown to `show`
    /// as well (which tells the homes at boot): by a date in doubt that is all of them.
    ///
    /// # Errors
    /// If the account data cannot be read.
    pub fn load(
        accounts: &dyn Accounts,
        now: Now,
        clock_skew: Duration,
        show: &mut dyn FnMut(Revocation),
    ) -> Result<Self, AccountError> {
        let revoked = Self::default();
        accounts.revocations(oldest_that_matters(now, clock_skew), &mut |revocation| {
            revoked.insert(revocation);
            show(revocation);
        })?;
        Ok(revoked)
    }

    /// Remembers a revocation, which must be durable already.
    pub(super) fn insert(&self, revocation: Revocation) {
        let Revocation { user, device, before_ms } = revocation;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let entry = state.before_ms.entry((user, device)).or_default();
        *entry = before_ms.max(*entry);
        if state.before_ms.len() > REVOKED_MAX {
            state.forget_older_half();
        }
    }

    /// Forgets what no token outlives any more: revocations at or before `before_ms`.
    pub(super) fn prune(&self, before_ms: u64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.before_ms.retain(|_, revoked_ms| *revoked_ms > before_ms);
    }

    /// Whether this credential was revoked.
    pub fn is_void(&self, credential: &Verified) -> bool {
        credential.issued_at_ms <= self.before(credential.user, credential.device)
    }

    /// The moment at or before which this device's credentials are void; 0 if there is none.
    pub(super) fn before(&self, user: UserId, device: DeviceId) -> u64 {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.before_ms.get(&(user, device)).copied().unwrap_or(0).max(state.floor_ms)
    }

    /// The latest revocation; 0 if there is none. New credentials must be issued after it, or
    /// after a step of the clock they would be void from the start.
    pub(super) fn latest(&self) -> u64 {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.before_ms.values().copied().max().unwrap_or(0).max(state.floor_ms)
    }
}

impl State {
    fn forget_older_half(&mut self) {
        let mut times: Vec<u64> = self.before_ms.values().copied().collect();
        let middle = times.len() / 2;
        let (_, floor_ms, _) = times.select_nth_unstable(middle);
        self.floor_ms = self.floor_ms.max(*floor_ms);
        let floor_ms = self.floor_ms;
        self.before_ms.retain(|_, before_ms| *before_ms > floor_ms);
    }
}

/// Revocations at or before this moment void nothing that has not ended by itself. A date in doubt
/// ends nothing: the tokens would be good again once it goes back.
pub(super) fn oldest_that_matters(now: Now, clock_skew: Duration) -> u64 {
    if !now.may_expire {
        return 0;
    }
    // Twice the skew: once for the token's end, once for a time of issue ahead of our clock.
    let life = TOKEN_LIFE_MAX + 2 * clock_skew;
    now.wall_ms.saturating_sub(life.as_millis().try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(user: u32, before_ms: u64) -> Revocation {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&user.to_be_bytes());
        Revocation { user: UserId(id), device: DeviceId::new(1).unwrap(), before_ms }
    }

    fn issued(user: u32, issued_at_ms: u64) -> Verified {
        let Revocation { user, device, .. } = revocation(user, 0);
        Verified { user, device, issued_at_ms, expires_at_ms: u64::MAX }
    }

    #[test]
    fn credentials_issued_at_or_before_the_revocation_are_void() {
        let revoked = Revoked::default();
        revoked.insert(revocation(1, 500));
        // An earlier one that comes later takes nothing back.
        revoked.insert(revocation(1, 400));
        assert!(revoked.is_void(&issued(1, 499)));
        assert!(revoked.is_void(&issued(1, 500)));
        assert!(!revoked.is_void(&issued(1, 501)));
        let other = Verified { device: DeviceId::new(2).unwrap(), ..issued(1, 1) };
        assert!(!revoked.is_void(&other));
        revoked.prune(499);
        assert!(revoked.is_void(&issued(1, 500)));
        revoked.prune(500);
        assert!(!revoked.is_void(&issued(1, 500)));
    }

    #[test]
    fn an_overflow_lets_no_revoked_credential_in() {
        let revoked = Revoked::default();
        let count = REVOKED_MAX as u32 + 1;
        for user in 0..count {
            revoked.insert(revocation(user, 1_000 + u64::from(user)));
        }
        for user in 0..count {
            assert!(revoked.is_void(&issued(user, 1_000 + u64::from(user))), "{user}");
        }
        let newest = 1_000 + u64::from(count);
        assert!(!revoked.is_void(&issued(0, newest)), "what is refreshed is good again");
        let state = revoked.state.read().unwrap();
        assert!(state.before_ms.len() <= REVOKED_MAX / 2 + 1);
    }

    #[test]
    fn a_date_in_doubt_makes_no_revocation_old() {
        let now_ms = 100 * 24 * 3_600 * 1_000;
        let oldest = |may_expire| {
            let now = Now { mono: Duration::ZERO, wall_ms: now_ms, may_expire };
            oldest_that_matters(now, Duration::from_secs(60))
        };
        assert_eq!(oldest(false), 0);
        let life_ms = TOKEN_LIFE_MAX.as_millis() as u64 + 120_000;
        assert_eq!(oldest(true), now_ms - life_ms);
    }
}
