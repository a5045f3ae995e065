//! Account data: who has which phone, one-time codes, refresh tokens, revocations.
//!
//! It lives outside the journal, in a space of its own of the same engine, and each change is
//! synced before it is answered: sign-ins are rare beside messages. Callers are REST's blocking
//! threads.
//!
//! - A phone is stored as a keyed hash, and a code as a keyed hash over its name and itself, so
//!   that the files alone give away neither; the key is a file of its own ([`AccountKey`]).
//! - A code belongs to the *request* that asked for it ([`CodeName`]): what another request of the
//!   same phone does neither ends it nor costs it an attempt.
//! - A refresh token is a row per generation of its *family* (one sign-in of one device). The
//!   newest generation is good. The one before it is good for a time of grace, as long as the
//!   newest was not presented: then the answer with the newest was lost, and it gets the same
//!   answer again. Any other that comes again was stolen, or its thief was first: the family ends,
//!   and the caller is told whose it was.
//!
//! ```text
//!           newest: Rotated                newest: Rotated
//!  g newest ───────────────> g+1 newest ───────────────────> g+2 newest, g+1 in its grace
//!                            g in its grace: Repeated, g+1 again
//!                            g later, or g-1: Reused, the family ends
//! ```
//!
//! Bounds: one code per request and [`CODES_MAX`] in all; one family per device,
//! [`GENERATIONS_KEPT`] generations of each; one revocation per device, until it is pruned.

mod key;
mod rows;
mod tables;

pub use key::{ACCOUNT_KEY_FILE, AccountKey};
use ringpost_wire::{DeviceId, UserId};
pub use tables::AccountTables;

use crate::store::StoreError;

/// Most one-time codes outstanding.
pub const CODES_MAX: usize = 100_000;

/// Generations of a refresh token by which its reuse is noticed; an older one is just unknown.
pub const GENERATIONS_KEPT: u64 = 64;

/// The SHA-256 of a refresh token. Tokens are random and long, so that a plain hash hides them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TokenHash(pub [u8; 32]);

/// The name of a family of refresh tokens: random, chosen by whoever opens it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FamilyId(pub [u8; 16]);

/// What a one-time code is known by. It is good under its own name alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeName<'a> {
    /// The phone that it was sent to.
    pub phone: &'a str,
    /// The request that asked for it: random and long, known to whoever asked.
    pub request: &'a str,
}

/// A one-time code is checked against this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeCheck {
    /// It is right, and used up.
    Right,
    /// It is wrong; so many more may be tried.
    Wrong {
        /// At least 1.
        attempts_left: u8,
    },
    /// It was wrong for the last time; a new code must be asked for.
    Exhausted,
    /// It has expired.
    Expired,
    /// There is none of this name.
    Unknown,
}

/// What becomes of a refresh token that is exchanged now; milliseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RotationTimes {
    /// The date.
    pub now_ms: u64,
    /// When the new token expires if it is not used.
    pub expires_ms: u64,
    /// Until when the presented one is good once more, as long as the new one is not used.
    pub grace_until_ms: u64,
}

/// What became of a refresh token that was presented.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rotation {
    /// It was the newest; the new one has taken its place.
    Rotated {
        /// Whose.
        user: UserId,
        /// Which device's.
        device: DeviceId,
    },
    /// It was the one before the newest, in its grace, and the newest is unused: the answer that
    /// carried the newest was lost. Nothing was changed; the same answer is due again.
    Repeated {
        /// Whose.
        user: UserId,
        /// Which device's.
        device: DeviceId,
    },
    /// It had been rotated before, and has no grace: the family has ended. Revoke the device.
    Reused {
        /// Whose.
        user: UserId,
        /// Which device's.
        device: DeviceId,
    },
    /// It has expired; the family has ended.
    Expired,
    /// There is no such token, or no more.
    Unknown,
}

/// The credentials of a device issued at or before `before_ms` are void.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revocation {
    /// Whose device.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
    /// Milliseconds since 1970.
    pub before_ms: u64,
}

/// What a step of [`Accounts::prune`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// Codes, families and revocations that are gone.
    pub removed: usize,
    /// The step reached the end; the next one begins anew.
    pub is_complete: bool,
}

/// Why account data could not be read or changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AccountError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// As many codes are outstanding as may be: try again when some have expired.
    #[error("{CODES_MAX} one-time codes are outstanding")]
    CodesFull,
    /// The token that should become the new one exists already.
    #[error("the new refresh token is not new")]
    TokenNotNew,
    /// The rows were written with another key.
    #[error(
        "the account key does not fit the account data: put the file `{ACCOUNT_KEY_FILE}` of \
         this data directory back"
    )]
    WrongKey,
}

/// Account data. Every change is durable when it returns.
///
/// `now_ms` and all other times are milliseconds since 1970.
pub trait Accounts: Send + Sync {
    /// The user who has this phone.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn user_of(&self, phone: &str) -> Result<Option<UserId>, AccountError>;

    /// Gives the phone to `user`, unless it has one; returns who has it now.
    ///
    /// # Errors
    /// If the store fails.
    fn bind_phone(&self, phone: &str, user: UserId) -> Result<UserId, AccountError>;

    /// Remembers a code of this name, in place of any earlier one of the same name. Without a code
    /// it is a name that no guess is right for, and that behaves like any other otherwise.
    /// `attempts` is at least 1.
    ///
    /// # Errors
    /// If too many codes are outstanding, or the store fails.
    fn put_code(
        &self,
        name: CodeName<'_>,
        code: Option<&str>,
        attempts: u8,
        expires_ms: u64,
    ) -> Result<(), AccountError>;

    /// Checks a code. A right one is used up, a wrong one costs an attempt of this name and of no
    /// other; both are durable before the answer, so that no crash gives an attempt back.
    ///
    /// # Errors
    /// If the store fails.
    fn check_code(
        &self,
        name: CodeName<'_>,
        code: &str,
        now_ms: u64,
    ) -> Result<CodeCheck, AccountError>;

    /// Starts a family for a device with its first token; ends the device's earlier family.
    ///
    /// # Errors
    /// If the token is not new, or the store fails.
    fn open_family(
        &self,
        family: FamilyId,
        user: UserId,
        device: DeviceId,
        token: TokenHash,
        expires_ms: u64,
    ) -> Result<(), AccountError>;

    /// The secret of the token that follows this one: the same each time, and beyond guessing
    /// without the key. So an answer that was lost can be given again, and is kept nowhere.
    fn successor(&self, token: &str) -> [u8; 32];

    /// Puts `new` in the place of the token that was presented, by one atomic write. `new` is made
    /// of the presented token's [`Accounts::successor`]: where that is the newest already, its
    /// answer is due again ([`Rotation::Repeated`]).
    ///
    /// # Errors
    /// If `new` is another token already, or the store fails; then `presented` is still good.
    fn rotate(
        &self,
        presented: TokenHash,
        new: TokenHash,
        times: RotationTimes,
    ) -> Result<Rotation, AccountError>;

    /// Ends a device's family: its refresh token is unknown from now on.
    ///
    /// # Errors
    /// If the store fails.
    fn end_family(&self, user: UserId, device: DeviceId) -> Result<(), AccountError>;

    /// Voids what was issued to a device at or before a time; an earlier, later revocation
    /// stands. Ends the device's family.
    ///
    /// # Errors
    /// If the store fails.
    fn revoke(&self, revocation: Revocation) -> Result<(), AccountError>;

    /// Shows every revocation later than `after_ms`: at boot, those that a token may outlive.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn revocations(
        &self,
        after_ms: u64,
        show: &mut dyn FnMut(Revocation),
    ) -> Result<(), AccountError>;

    /// One step of a sweep over at most `rows_max` rows: removes expired codes and families, and
    /// revocations at or before `revoked_before_ms`, which no token outlives any more.
    ///
    /// # Errors
    /// If the store fails.
    fn prune(
        &self,
        now_ms: u64,
        revoked_before_ms: u64,
        rows_max: usize,
    ) -> Result<Pruned, AccountError>;
}
