//! What account data must do. Each check crashes the process after what it did: account changes
//! are durable when they return.

use ringpost_wire::{DeviceId, UserId};

use crate::accounts::{
    AccountError, Accounts, CodeCheck, FamilyId, GENERATIONS_KEPT, Revocation, Rotation, TokenHash,
};

/// Account data under test, with the power to end it.
pub trait AccountSubject {
    /// The account data as it is open now.
    fn accounts(&self) -> &dyn Accounts;

    /// The process dies without notice, and the account data is opened again.
    fn crash(&mut self);
}

/// Runs every check, each on a fresh subject that `fresh` makes.
///
/// # Panics
/// If the accounts do something else than they must.
pub fn check_accounts(fresh: &mut dyn FnMut() -> Box<dyn AccountSubject>) {
    phone_belongs_to_whom_it_was_given_first(&mut *fresh());
    code_is_right_once(&mut *fresh());
    code_has_so_many_attempts(&mut *fresh());
    code_expires_and_is_replaced(&mut *fresh());
    token_rotates(&mut *fresh());
    reused_token_ends_its_family(&mut *fresh());
    device_has_one_family(&mut *fresh());
    only_so_many_generations_are_kept(&mut *fresh());
    revocation_never_goes_back(&mut *fresh());
    prune_removes_what_has_no_use(&*fresh());
}

const PHONE: &str = "+4915112345678";
const USER: UserId = UserId([1; 16]);

fn device(number: u8) -> DeviceId {
    DeviceId::new(number).expect("a check's device numbers are small")
}

fn token(number: u64) -> TokenHash {
    let mut hash = [0x70; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    TokenHash(hash)
}

fn done<T>(result: Result<T, AccountError>) -> T {
    result.unwrap_or_else(|error| panic!("the accounts must answer: {error}"))
}

fn phone_belongs_to_whom_it_was_given_first(subject: &mut dyn AccountSubject) {
    assert_eq!(done(subject.accounts().user_of(PHONE)), None);
    assert_eq!(done(subject.accounts().bind_phone(PHONE, USER)), USER);
    subject.crash();
    assert_eq!(done(subject.accounts().bind_phone(PHONE, UserId([2; 16]))), USER);
    assert_eq!(done(subject.accounts().user_of(PHONE)), Some(USER));
    assert_eq!(done(subject.accounts().user_of("+4915112345679")), None);
}

fn code_is_right_once(subject: &mut dyn AccountSubject) {
    done(subject.accounts().put_code(PHONE, "123456", 3, 1_000));
    subject.crash();
    let check = |code, phone| done(subject.accounts().check_code(phone, code, 10));
    assert_eq!(check("123456", "+1"), CodeCheck::Unknown, "a code is of one phone");
    assert_eq!(check("123456", PHONE), CodeCheck::Right);
    assert_eq!(check("123456", PHONE), CodeCheck::Unknown);
    subject.crash();
    assert_eq!(done(subject.accounts().check_code(PHONE, "123456", 10)), CodeCheck::Unknown);
}

fn code_has_so_many_attempts(subject: &mut dyn AccountSubject) {
    done(subject.accounts().put_code(PHONE, "123456", 3, 1_000));
    let mut check = |code| {
        let outcome = done(subject.accounts().check_code(PHONE, code, 10));
        // A crash between attempts gives none back.
        subject.crash();
        outcome
    };
    assert_eq!(check("000000"), CodeCheck::Wrong { attempts_left: 2 });
    assert_eq!(check("000001"), CodeCheck::Wrong { attempts_left: 1 });
    assert_eq!(check("000002"), CodeCheck::Exhausted);
    assert_eq!(check("123456"), CodeCheck::Unknown);
}

fn code_expires_and_is_replaced(subject: &mut dyn AccountSubject) {
    let accounts = subject.accounts();
    done(accounts.put_code(PHONE, "123456", 3, 1_000));
    assert_eq!(done(accounts.check_code(PHONE, "123456", 1_000)), CodeCheck::Expired);
    done(accounts.put_code(PHONE, "123456", 3, 1_000));
    done(accounts.put_code(PHONE, "654321", 3, 1_000));
    let first = done(accounts.check_code(PHONE, "123456", 10));
    assert_eq!(first, CodeCheck::Wrong { attempts_left: 2 });
    assert_eq!(done(accounts.check_code(PHONE, "654321", 10)), CodeCheck::Right);
}

fn open(subject: &dyn AccountSubject, family: u8, number: u8, first: u64) {
    let (accounts, family) = (subject.accounts(), FamilyId([family; 16]));
    done(accounts.open_family(family, USER, device(number), token(first), 1_000));
}

fn rotate(subject: &dyn AccountSubject, presented: u64, new: u64, now_ms: u64) -> Rotation {
    done(subject.accounts().rotate(token(presented), token(new), now_ms, now_ms + 1_000))
}

fn token_rotates(subject: &mut dyn AccountSubject) {
    let rotated = Rotation::Rotated { user: USER, device: device(1) };
    open(subject, 1, 1, 0);
    assert_eq!(rotate(subject, 7, 8, 10), Rotation::Unknown);
    assert_eq!(rotate(subject, 0, 1, 10), rotated);
    subject.crash();
    let refused = subject.accounts().rotate(token(1), token(1), 11, 2_000);
    assert_eq!(refused, Err(AccountError::TokenNotNew));
    assert_eq!(rotate(subject, 1, 2, 1_009), rotated, "a rotation prolongs the family");
    assert_eq!(rotate(subject, 2, 3, 2_009), Rotation::Expired);
    assert_eq!(rotate(subject, 2, 3, 2_009), Rotation::Unknown);
}

fn reused_token_ends_its_family(subject: &mut dyn AccountSubject) {
    open(subject, 1, 1, 0);
    open(subject, 2, 2, 100);
    rotate(subject, 0, 1, 10);
    rotate(subject, 1, 2, 10);
    let reused = Rotation::Reused { user: USER, device: device(1) };
    assert_eq!(rotate(subject, 0, 3, 10), reused);
    subject.crash();
    for number in 0..4 {
        assert_eq!(rotate(subject, number, 9, 10), Rotation::Unknown, "token {number}");
    }
    let other = Rotation::Rotated { user: USER, device: device(2) };
    assert_eq!(rotate(subject, 100, 101, 10), other, "the other device goes on");
}

fn device_has_one_family(subject: &mut dyn AccountSubject) {
    open(subject, 1, 1, 0);
    open(subject, 2, 1, 100);
    subject.crash();
    assert_eq!(rotate(subject, 0, 1, 10), Rotation::Unknown);
    let known =
        subject.accounts().open_family(FamilyId([3; 16]), USER, device(2), token(100), 1_000);
    assert_eq!(known, Err(AccountError::TokenNotNew));
    assert!(matches!(rotate(subject, 100, 101, 10), Rotation::Rotated { .. }));
    done(subject.accounts().end_family(USER, device(1)));
    done(subject.accounts().end_family(USER, device(2)));
    subject.crash();
    assert_eq!(rotate(subject, 101, 102, 10), Rotation::Unknown);
}

fn only_so_many_generations_are_kept(subject: &mut dyn AccountSubject) {
    open(subject, 1, 1, 0);
    for generation in 1..=GENERATIONS_KEPT {
        let rotation = rotate(subject, generation - 1, generation, 10);
        assert!(matches!(rotation, Rotation::Rotated { .. }), "generation {generation}");
    }
    // The first is forgotten: unknown, which is refused as well. The second is noticed.
    assert_eq!(rotate(subject, 0, 1_000, 10), Rotation::Unknown);
    assert!(matches!(rotate(subject, 1, 1_000, 10), Rotation::Reused { .. }));
}

fn revocations(subject: &dyn AccountSubject, after_ms: u64) -> Vec<(u8, u64)> {
    let mut found = Vec::new();
    done(subject.accounts().revocations(after_ms, &mut |revocation| {
        assert_eq!(revocation.user, USER);
        found.push((revocation.device.number(), revocation.before_ms));
    }));
    found
}

fn revocation_never_goes_back(subject: &mut dyn AccountSubject) {
    open(subject, 1, 1, 0);
    let revoke = |subject: &dyn AccountSubject, number, before_ms| {
        let revocation = Revocation { user: USER, device: device(number), before_ms };
        done(subject.accounts().revoke(revocation));
    };
    revoke(subject, 1, 500);
    revoke(subject, 2, 900);
    revoke(subject, 1, 400);
    subject.crash();
    assert_eq!(revocations(subject, 0), [(1, 500), (2, 900)]);
    assert_eq!(revocations(subject, 500), [(2, 900)]);
    assert_eq!(rotate(subject, 0, 1, 10), Rotation::Unknown, "a revocation ends the family");
}

fn prune_removes_what_has_no_use(subject: &dyn AccountSubject) {
    let accounts = subject.accounts();
    done(accounts.put_code("+1", "111111", 3, 100));
    done(accounts.put_code("+2", "222222", 3, 900));
    open(subject, 1, 1, 0);
    open(subject, 2, 2, 10);
    rotate(subject, 10, 11, 500);
    for (number, before_ms) in [(3, 40), (4, 60)] {
        done(accounts.revoke(Revocation { user: USER, device: device(number), before_ms }));
    }
    // Six rows, two at a time: at 1,000 one family and both codes have expired.
    let mut removed = 0;
    for step in 0.. {
        let pruned = done(accounts.prune(1_000, 50, 2));
        removed += pruned.removed;
        assert!(step < 4, "a sweep ends");
        if pruned.is_complete {
            break;
        }
    }
    assert_eq!(removed, 4, "two codes, a family, a revocation");
    assert_eq!(done(accounts.prune(1_000, 50, 100)).removed, 0);
    assert_eq!(revocations(subject, 0), [(4, 60)]);
    assert_eq!(done(subject.accounts().check_code("+2", "222222", 10)), CodeCheck::Unknown);
    assert_eq!(rotate(subject, 0, 1, 10), Rotation::Unknown);
    assert!(matches!(rotate(subject, 11, 12, 600), Rotation::Rotated { .. }));
}
