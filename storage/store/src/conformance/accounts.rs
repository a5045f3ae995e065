//! What account data must do. Each check crashes the process after what it did: account changes
//! are durable when they return.

use ringpost_wire::{DeviceId, UserId};

use crate::accounts::{
    AccountError, Accounts, CodeCheck, CodeName, FamilyId, GENERATIONS_KEPT, Revocation, Rotation,
    RotationTimes, TokenHash,
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
    code_is_of_its_request(&mut *fresh());
    name_without_a_code_is_right_for_nothing(&mut *fresh());
    token_rotates(&mut *fresh());
    reused_token_ends_its_family(&mut *fresh());
    lost_answer_is_given_again(&mut *fresh());
    grace_ends_with_its_time_and_with_the_newest(&mut *fresh());
    tokens_in_every_order_are_judged_alike(fresh);
    successor_is_the_same_each_time_and_of_one_token(&mut *fresh());
    device_has_one_family(&mut *fresh());
    only_so_many_generations_are_kept(&mut *fresh());
    revocation_never_goes_back(&mut *fresh());
    prune_removes_what_has_no_use(&*fresh());
}

const PHONE: &str = "+4915112345678";
const USER: UserId = UserId([1; 16]);

/// The grace of each rotation here.
const GRACE_MS: u64 = 100;

fn named<'a>(phone: &'a str, request: &'a str) -> CodeName<'a> {
    CodeName { phone, request }
}

/// The one request of a check that needs no second.
const NAME: CodeName<'static> = CodeName { phone: PHONE, request: "r" };

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
    done(subject.accounts().put_code(NAME, Some("123456"), 3, 1_000));
    subject.crash();
    let check = |code, name| done(subject.accounts().check_code(name, code, 10));
    assert_eq!(check("123456", named("+1", "r")), CodeCheck::Unknown, "a code is of one phone");
    assert_eq!(check("123456", NAME), CodeCheck::Right);
    assert_eq!(check("123456", NAME), CodeCheck::Unknown);
    subject.crash();
    assert_eq!(done(subject.accounts().check_code(NAME, "123456", 10)), CodeCheck::Unknown);
}

fn code_has_so_many_attempts(subject: &mut dyn AccountSubject) {
    done(subject.accounts().put_code(NAME, Some("123456"), 3, 1_000));
    let mut check = |code| {
        let outcome = done(subject.accounts().check_code(NAME, code, 10));
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
    done(accounts.put_code(NAME, Some("123456"), 3, 1_000));
    assert_eq!(done(accounts.check_code(NAME, "123456", 1_000)), CodeCheck::Expired);
    done(accounts.put_code(NAME, Some("123456"), 3, 1_000));
    done(accounts.put_code(NAME, Some("654321"), 3, 1_000));
    let first = done(accounts.check_code(NAME, "123456", 10));
    assert_eq!(first, CodeCheck::Wrong { attempts_left: 2 });
    assert_eq!(done(accounts.check_code(NAME, "654321", 10)), CodeCheck::Right);
}

fn code_is_of_its_request(subject: &mut dyn AccountSubject) {
    done(subject.accounts().put_code(NAME, Some("123456"), 2, 1_000));
    // Somebody else asks for the same phone, guesses until it is void, and guesses without a name.
    let other = named(PHONE, "other");
    done(subject.accounts().put_code(other, Some("111111"), 2, 1_000));
    subject.crash();
    let check = |name, code| done(subject.accounts().check_code(name, code, 10));
    assert_eq!(check(other, "123456"), CodeCheck::Wrong { attempts_left: 1 });
    assert_eq!(check(other, "123456"), CodeCheck::Exhausted);
    for request in ["", "guessed", "r/", "rr"] {
        assert_eq!(check(named(PHONE, request), "123456"), CodeCheck::Unknown, "{request}");
    }
    assert_eq!(check(NAME, "000000"), CodeCheck::Wrong { attempts_left: 1 }, "none was taken");
    assert_eq!(check(NAME, "123456"), CodeCheck::Right);
}

fn name_without_a_code_is_right_for_nothing(subject: &mut dyn AccountSubject) {
    done(subject.accounts().put_code(NAME, None, 3, 1_000));
    let check =
        |subject: &dyn AccountSubject, code| done(subject.accounts().check_code(NAME, code, 10));
    assert_eq!(check(subject, ""), CodeCheck::Wrong { attempts_left: 2 });
    subject.crash();
    assert_eq!(check(subject, "000000"), CodeCheck::Wrong { attempts_left: 1 });
    assert_eq!(check(subject, "123456"), CodeCheck::Exhausted);
    assert_eq!(check(subject, "123456"), CodeCheck::Unknown);
}

fn open(subject: &dyn AccountSubject, family: u8, number: u8, first: u64) {
    let (accounts, family) = (subject.accounts(), FamilyId([family; 16]));
    done(accounts.open_family(family, USER, device(number), token(first), 1_000));
}

fn times(now_ms: u64) -> RotationTimes {
    RotationTimes { now_ms, expires_ms: now_ms + 1_000, grace_until_ms: now_ms + GRACE_MS }
}

fn rotate(subject: &dyn AccountSubject, presented: u64, new: u64, now_ms: u64) -> Rotation {
    done(subject.accounts().rotate(token(presented), token(new), times(now_ms)))
}

fn rotated(number: u8) -> Rotation {
    Rotation::Rotated { user: USER, device: device(number) }
}

fn repeated(number: u8) -> Rotation {
    Rotation::Repeated { user: USER, device: device(number) }
}

fn reused(number: u8) -> Rotation {
    Rotation::Reused { user: USER, device: device(number) }
}

fn token_rotates(subject: &mut dyn AccountSubject) {
    open(subject, 1, 1, 0);
    assert_eq!(rotate(subject, 7, 8, 10), Rotation::Unknown);
    assert_eq!(rotate(subject, 0, 1, 10), rotated(1));
    subject.crash();
    let refused = subject.accounts().rotate(token(1), token(1), times(11));
    assert_eq!(refused, Err(AccountError::TokenNotNew));
    assert_eq!(rotate(subject, 1, 2, 1_009), rotated(1), "a rotation prolongs the family");
    assert_eq!(rotate(subject, 2, 3, 2_009), Rotation::Expired);
    assert_eq!(rotate(subject, 2, 3, 2_009), Rotation::Unknown);
}

fn reused_token_ends_its_family(subject: &mut dyn AccountSubject) {
    open(subject, 1, 1, 0);
    open(subject, 2, 2, 100);
    rotate(subject, 0, 1, 10);
    rotate(subject, 1, 2, 10);
    assert_eq!(rotate(subject, 0, 1, 10), reused(1), "two behind has no grace");
    subject.crash();
    for number in 0..4 {
        assert_eq!(rotate(subject, number, 9, 10), Rotation::Unknown, "token {number}");
    }
    assert_eq!(rotate(subject, 100, 101, 10), rotated(2), "the other device goes on");
}

fn lost_answer_is_given_again(subject: &mut dyn AccountSubject) {
    open(subject, 1, 1, 0);
    assert_eq!(rotate(subject, 0, 1, 10), rotated(1));
    // However often it is lost, and whatever dies in between.
    for now_ms in [10, 50, 10 + GRACE_MS - 1] {
        subject.crash();
        assert_eq!(rotate(subject, 0, 1, now_ms), repeated(1), "at {now_ms}");
    }
    // What was answered again is the newest, once.
    assert_eq!(rotate(subject, 1, 2, 200), rotated(1));
    assert_eq!(rotate(subject, 1, 2, 200), repeated(1), "each rotation has a grace of its own");
}

fn grace_ends_with_its_time_and_with_the_newest(subject: &mut dyn AccountSubject) {
    open(subject, 1, 1, 0);
    rotate(subject, 0, 1, 10);
    assert_eq!(rotate(subject, 0, 1, 10 + GRACE_MS), reused(1), "its time is over");
    subject.crash();
    assert_eq!(rotate(subject, 1, 2, 10 + GRACE_MS), Rotation::Unknown, "the family has ended");

    open(subject, 2, 2, 100);
    rotate(subject, 100, 101, 10);
    assert_eq!(rotate(subject, 101, 102, 11), rotated(2));
    subject.crash();
    assert_eq!(rotate(subject, 100, 101, 12), reused(2), "the newest was used");

    // A token that its grace names with another follower than its own is no lost answer.
    open(subject, 3, 3, 200);
    rotate(subject, 200, 201, 10);
    assert_eq!(rotate(subject, 200, 300, 11), reused(3));

    // A grace is no longer than the family's life.
    open(subject, 4, 4, 400);
    let short = RotationTimes { now_ms: 10, expires_ms: 20, grace_until_ms: 110 };
    done(subject.accounts().rotate(token(400), token(401), short));
    assert_eq!(rotate(subject, 400, 401, 20), Rotation::Expired);
}

/// Every order in which the tokens of one family can be presented within the grace, five at a time,
/// against the rule in a few words: the newest rotates; the one before it is answered again; any
/// other ends the family, behind which all are unknown.
fn tokens_in_every_order_are_judged_alike(fresh: &mut dyn FnMut() -> Box<dyn AccountSubject>) {
    const TOKENS: usize = 3;
    const LENGTH: u32 = 5;
    let mut subject = fresh();
    for order in 0..TOKENS.pow(LENGTH) {
        let base = order as u64 * 100;
        let family = u128::from(base).to_be_bytes();
        let opened = subject.accounts().open_family(
            FamilyId(family),
            USER,
            device(1),
            token(base),
            1_000_000,
        );
        done(opened);
        let mut newest = Some(0);
        let mut left = order;
        for _ in 0..LENGTH {
            let presented = (left % TOKENS) as u64;
            left /= TOKENS;
            let outcome = rotate(&*subject, base + presented, base + presented + 1, 10);
            let expected = match newest {
                Some(at) if presented == at => rotated(1),
                Some(at) if presented + 1 == at => repeated(1),
                Some(at) if presented < at => reused(1),
                _ => Rotation::Unknown,
            };
            assert_eq!(outcome, expected, "order {order}, token {presented}");
            newest = match expected {
                Rotation::Rotated { .. } => newest.map(|at| at + 1),
                Rotation::Reused { .. } => None,
                _ => newest,
            };
        }
    }
    subject.crash();
}

fn successor_is_the_same_each_time_and_of_one_token(subject: &mut dyn AccountSubject) {
    let first = subject.accounts().successor("one");
    subject.crash();
    assert_eq!(subject.accounts().successor("one"), first);
    assert_ne!(subject.accounts().successor("two"), first);
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
    assert_eq!(rotate(subject, 0, 1, 10), Rotation::Unknown);
    assert_eq!(rotate(subject, 1, 2, 10), reused(1));
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
    done(accounts.put_code(named("+1", "r"), Some("111111"), 3, 100));
    done(accounts.put_code(named("+2", "r"), Some("222222"), 3, 900));
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
    let gone = done(accounts.check_code(named("+2", "r"), "222222", 10));
    assert_eq!(gone, CodeCheck::Unknown);
    assert_eq!(rotate(subject, 0, 1, 10), Rotation::Unknown);
    assert!(matches!(rotate(subject, 11, 12, 600), Rotation::Rotated { .. }));
}
