//! The account tables on an engine.

use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::constant_time;
use ringpost_wire::{DeviceId, UserId};

use super::rows::{self, Code, Family};
use super::{
    AccountError, AccountKey, Accounts, CODES_MAX, CodeCheck, CodeName, FamilyId, GENERATIONS_KEPT,
    Pruned, Revocation, Rotation, RotationTimes, TokenHash,
};
use crate::engine::{Engine, Order, Space, View, Visit, Write};
use crate::layout::{self, Key};
use crate::store::StoreError;

const SPACE: Space = Space::Accounts;

/// What only the writer sees.
struct Writer {
    /// Codes outstanding, counted in what the engine had at this opening.
    codes: usize,
    opening: u64,
    /// Where the sweep goes on.
    prune_from: Key,
}

/// [`Accounts`] on an engine.
pub struct AccountTables<E> {
    engine: E,
    key: AccountKey,
    /// Held from the read to the commit of a change, not while it is synced.
    writer: Mutex<Writer>,
}

impl<E: Engine> AccountTables<E> {
    /// The account data that `engine` holds.
    ///
    /// # Errors
    /// If it was written with another key, or cannot be read.
    pub fn open(engine: E, key: AccountKey) -> Result<Self, AccountError> {
        let opening = engine.openings();
        let codes = count_codes(&engine)?;
        let check = engine.view().read(SPACE, &rows::key_check_key())?;
        match check {
            Some(check) => {
                let check = rows::read_array::<32>("key check", &check)?;
                constant_time::verify_slices_are_equal(&check, &key.check())
                    .map_err(|_| AccountError::WrongKey)?;
            }
            None => {
                let check = rows::bytes_value(&key.check());
                engine.commit(vec![Write::Put(SPACE, rows::key_check_key(), check)])?;
                engine.persist()?;
            }
        }
        let prune_from = Key::from_slice(&[rows::CODE]);
        Ok(Self { engine, key, writer: Mutex::new(Writer { codes, opening, prune_from }) })
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // Its fields are set after the commit they follow, by assignments that cannot panic.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer, whose count of codes is that of what the engine has: a change that was not
    /// synced is gone from an engine that was opened again.
    fn counting_writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let mut writer = self.writer();
        let opening = self.engine.openings();
        if writer.opening != opening {
            writer.codes = count_codes(&self.engine)?;
            writer.opening = opening;
        }
        Ok(writer)
    }

    /// Commits; the caller lets the writer go and syncs. Two changes may share one sync.
    fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() { Ok(()) } else { self.engine.commit(writes) }
    }

    /// Syncs what was committed since the engine had this opening.
    fn persist(&self, opening: u64) -> Result<(), StoreError> {
        self.engine.persist()?;
        // Where it was opened again meanwhile, what was committed before may be gone.
        if self.engine.openings() == opening { Ok(()) } else { Err(StoreError::Stopped) }
    }

    fn row<T>(
        &self,
        view: &E::View<'_>,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        view.read(SPACE, key)?.map(|value| read(&value)).transpose()
    }

    /// The writes that end a family and all that its tokens leave behind.
    fn ending(
        &self,
        view: &E::View<'_>,
        id: FamilyId,
        family: &Family,
    ) -> Result<Vec<Write>, StoreError> {
        let mut writes = vec![Write::Delete(SPACE, rows::family_key(id))];
        let device = rows::device_key(family.user, family.device);
        let current = self.row(view, &device, |value| rows::read_array("device", value))?;
        if current == Some(id.0) {
            writes.push(Write::Delete(SPACE, device));
        }
        let from = rows::issued_prefix(id);
        let to = layout::prefix_end(&from);
        view.scan(SPACE, &from, &to, Order::Rising, &mut |key, value| {
            let token = TokenHash(rows::read_array("issued", value)?);
            writes.push(Write::Delete(SPACE, rows::token_key(token)));
            writes.push(Write::Delete(SPACE, Key::from_slice(key)));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(writes)
    }

    /// The writes that end the family of a device, if it has one.
    fn ending_of(
        &self,
        view: &E::View<'_>,
        user: UserId,
        device: DeviceId,
    ) -> Result<Vec<Write>, StoreError> {
        let key = rows::device_key(user, device);
        let Some(id) = self.row(view, &key, |value| rows::read_array("device", value))? else {
            return Ok(Vec::new());
        };
        let id = FamilyId(id);
        match self.row(view, &rows::family_key(id), rows::read_family)? {
            Some(family) => self.ending(view, id, &family),
            None => Ok(vec![Write::Delete(SPACE, key)]),
        }
    }

    /// The writes that make `new` the newest token of a family.
    fn advance(
        &self,
        view: &E::View<'_>,
        id: FamilyId,
        family: Family,
        new: TokenHash,
    ) -> Result<Vec<Write>, StoreError> {
        let generation = family.generation;
        let mut writes = vec![
            Write::Put(SPACE, rows::family_key(id), rows::family_value(&family)),
            Write::Put(SPACE, rows::token_key(new), rows::token_value(id, generation)),
            Write::Put(SPACE, rows::issued_key(id, generation), rows::bytes_value(&new.0)),
        ];
        if let Some(oldest) = generation.checked_sub(GENERATIONS_KEPT) {
            let key = rows::issued_key(id, oldest);
            if let Some(token) = self.row(view, &key, |value| rows::read_array("issued", value))? {
                writes.push(Write::Delete(SPACE, rows::token_key(TokenHash(token))));
                writes.push(Write::Delete(SPACE, key));
            }
        }
        Ok(writes)
    }
}

impl<E: Engine> Accounts for AccountTables<E> {
    fn user_of(&self, phone: &str) -> Result<Option<UserId>, AccountError> {
        let key = rows::phone_key(&self.key.phone(phone));
        let user = self.row(&self.engine.view(), &key, |value| rows::read_array("phone", value))?;
        Ok(user.map(UserId))
    }

    fn bind_phone(&self, phone: &str, user: UserId) -> Result<UserId, AccountError> {
        let opening = self.engine.openings();
        let key = rows::phone_key(&self.key.phone(phone));
        let bound = {
            let _writer = self.writer();
            let bound =
                self.row(&self.engine.view(), &key, |value| rows::read_array("phone", value))?;
            if bound.is_none() {
                self.commit(vec![Write::Put(SPACE, key, rows::bytes_value(&user.0))])?;
            }
            bound
        };
        // Also where it was bound before: that may have been a moment ago, and not be synced.
        self.persist(opening)?;
        Ok(bound.map_or(user, UserId))
    }

    fn put_code(
        &self,
        name: CodeName<'_>,
        code: Option<&str>,
        attempts: u8,
        expires_ms: u64,
    ) -> Result<(), AccountError> {
        let opening = self.engine.openings();
        assert!(attempts > 0, "a code may be tried at least once");
        let name = self.key.code_name(name);
        let key = rows::code_key(&name);
        let hash = code.map_or_else(|| self.key.no_code(&name), |code| self.key.code(&name, code));
        let value = rows::code_value(&Code { hash, attempts_left: attempts, expires_ms });
        {
            let mut writer = self.counting_writer()?;
            let is_new = self.engine.view().read(SPACE, &key)?.is_none();
            if is_new && writer.codes >= CODES_MAX {
                return Err(AccountError::CodesFull);
            }
            self.commit(vec![Write::Put(SPACE, key, value)])?;
            writer.codes += usize::from(is_new);
        }
        Ok(self.persist(opening)?)
    }

    fn check_code(
        &self,
        name: CodeName<'_>,
        code: &str,
        now_ms: u64,
    ) -> Result<CodeCheck, AccountError> {
        let opening = self.engine.openings();
        let name = self.key.code_name(name);
        let key = rows::code_key(&name);
        let presented = self.key.code(&name, code);
        let outcome = {
            let mut writer = self.counting_writer()?;
            let row = self.row(&self.engine.view(), &key, rows::read_code)?;
            let Some(row) = row else { return Ok(CodeCheck::Unknown) };
            let is_right = constant_time::verify_slices_are_equal(&row.hash, &presented).is_ok();
            let outcome = match row.attempts_left.saturating_sub(1) {
                _ if row.expires_ms <= now_ms => CodeCheck::Expired,
                _ if is_right => CodeCheck::Right,
                0 => CodeCheck::Exhausted,
                attempts_left => CodeCheck::Wrong { attempts_left },
            };
            match outcome {
                CodeCheck::Wrong { attempts_left } => {
                    let value = rows::code_value(&Code { attempts_left, ..row });
                    self.commit(vec![Write::Put(SPACE, key, value)])?;
                }
                _ => {
                    self.commit(vec![Write::Delete(SPACE, key)])?;
                    writer.codes = writer.codes.saturating_sub(1);
                }
            }
            outcome
        };
        self.persist(opening)?;
        Ok(outcome)
    }

    fn open_family(
        &self,
        family: FamilyId,
        user: UserId,
        device: DeviceId,
        token: TokenHash,
        expires_ms: u64,
    ) -> Result<(), AccountError> {
        let opening = self.engine.openings();
        {
            let _writer = self.writer();
            let view = self.engine.view();
            let is_known = view.read(SPACE, &rows::token_key(token))?.is_some()
                || view.read(SPACE, &rows::family_key(family))?.is_some();
            if is_known {
                return Err(AccountError::TokenNotNew);
            }
            let mut writes = self.ending_of(&view, user, device)?;
            let key = rows::device_key(user, device);
            writes.retain(|write| write.place() != (SPACE, &key));
            writes.push(Write::Put(SPACE, key, rows::bytes_value(&family.0)));
            let row = Family { user, device, generation: 0, expires_ms, grace_until_ms: 0 };
            writes.extend(self.advance(&view, family, row, token)?);
            drop(view);
            self.commit(writes)?;
        }
        Ok(self.persist(opening)?)
    }

    fn successor(&self, token: &str) -> [u8; 32] {
        self.key.successor(token)
    }

    fn rotate(
        &self,
        presented: TokenHash,
        new: TokenHash,
        times: RotationTimes,
    ) -> Result<Rotation, AccountError> {
        let opening = self.engine.openings();
        let rotation = {
            let _writer = self.writer();
            let view = self.engine.view();
            let token = self.row(&view, &rows::token_key(presented), rows::read_token)?;
            let Some((id, generation)) = token else { return Ok(Rotation::Unknown) };
            let family = self.row(&view, &rows::family_key(id), rows::read_family)?;
            let Some(family) = family else { return Ok(Rotation::Unknown) };
            let (user, device) = (family.user, family.device);
            let is_newest = family.generation == generation;
            let has_grace =
                family.generation == generation + 1 && times.now_ms < family.grace_until_ms;
            let follower = self.row(&view, &rows::token_key(new), rows::read_token)?;
            let is_repeat = has_grace && follower == Some((id, family.generation));
            let (rotation, writes) = if !is_newest && !is_repeat {
                (Rotation::Reused { user, device }, self.ending(&view, id, &family)?)
            } else if family.expires_ms <= times.now_ms {
                (Rotation::Expired, self.ending(&view, id, &family)?)
            } else if is_repeat {
                (Rotation::Repeated { user, device }, Vec::new())
            } else if follower.is_some() {
                return Err(AccountError::TokenNotNew);
            } else {
                let RotationTimes { expires_ms, grace_until_ms, .. } = times;
                let generation = generation + 1;
                let family = Family { generation, expires_ms, grace_until_ms, ..family };
                (Rotation::Rotated { user, device }, self.advance(&view, id, family, new)?)
            };
            drop(view);
            self.commit(writes)?;
            rotation
        };
        // Also where nothing was written: what is repeated may have been written a moment ago.
        self.persist(opening)?;
        Ok(rotation)
    }

    fn end_family(&self, user: UserId, device: DeviceId) -> Result<(), AccountError> {
        let opening = self.engine.openings();
        {
            let _writer = self.writer();
            let writes = self.ending_of(&self.engine.view(), user, device)?;
            self.commit(writes)?;
        }
        Ok(self.persist(opening)?)
    }

    fn revoke(&self, revocation: Revocation) -> Result<(), AccountError> {
        let opening = self.engine.openings();
        let Revocation { user, device, before_ms } = revocation;
        {
            let _writer = self.writer();
            let view = self.engine.view();
            let mut writes = self.ending_of(&view, user, device)?;
            let key = rows::revocation_key(user, device);
            let old = self.row(&view, &key, |value| rows::read_array("revocation", value))?;
            if old.map(u64::from_be_bytes).is_none_or(|old| old < before_ms) {
                let value = rows::bytes_value(&before_ms.to_be_bytes());
                writes.push(Write::Put(SPACE, key, value));
            }
            drop(view);
            self.commit(writes)?;
        }
        Ok(self.persist(opening)?)
    }

    fn revocations(
        &self,
        after_ms: u64,
        show: &mut dyn FnMut(Revocation),
    ) -> Result<(), AccountError> {
        scan_table(&self.engine.view(), rows::REVOCATION, &mut |key, value| {
            let revocation = rows::read_revocation(key, value)?;
            if revocation.before_ms > after_ms {
                show(revocation);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    fn prune(
        &self,
        now_ms: u64,
        revoked_before_ms: u64,
        rows_max: usize,
    ) -> Result<Pruned, AccountError> {
        let mut writer = self.counting_writer()?;
        let view = self.engine.view();
        let mut sweep = Sweep::new(writer.prune_from.clone(), rows_max.max(1));
        let (mut codes, mut removed, mut writes) = (0, 0, Vec::new());
        sweep.table(&view, rows::CODE, &mut |key, value| {
            if rows::read_code(value)?.expires_ms <= now_ms {
                codes += 1;
                removed += 1;
                writes.push(Write::Delete(SPACE, Key::from_slice(key)));
            }
            Ok(())
        })?;
        sweep.table(&view, rows::FAMILY, &mut |key, value| {
            let family = rows::read_family(value)?;
            if family.expires_ms <= now_ms {
                removed += 1;
                writes.extend(self.ending(&view, rows::family_of_key(key)?, &family)?);
            }
            Ok(())
        })?;
        sweep.table(&view, rows::REVOCATION, &mut |key, value| {
            if rows::read_revocation(key, value)?.before_ms <= revoked_before_ms {
                removed += 1;
                writes.push(Write::Delete(SPACE, Key::from_slice(key)));
            }
            Ok(())
        })?;
        drop(view);
        // Not synced: what comes back after a crash is expired still, and is pruned again.
        self.commit(writes)?;
        writer.codes = writer.codes.saturating_sub(codes);
        let is_complete = sweep.rows_left > 0;
        writer.prune_from = if is_complete { Key::from_slice(&[rows::CODE]) } else { sweep.next };
        Ok(Pruned { removed, is_complete })
    }
}

/// Takes one row of a sweep.
type Look<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError>;

fn count_codes(engine: &impl Engine) -> Result<usize, StoreError> {
    let mut codes = 0;
    scan_table(&engine.view(), rows::CODE, &mut |_, _| {
        codes += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(codes)
}

fn scan_table(view: &impl View, table: u8, visit: Visit<'_>) -> Result<(), StoreError> {
    view.scan(SPACE, &[table], &[table + 1], Order::Rising, visit)
}

/// A walk over several tables in the order of their keys, which ends after some rows and can go
/// on behind the last one.
struct Sweep {
    next: Key,
    rows_left: usize,
}

impl Sweep {
    const fn new(next: Key, rows_left: usize) -> Self {
        Self { next, rows_left }
    }

    fn table(&mut self, view: &impl View, table: u8, look: Look<'_>) -> Result<(), StoreError> {
        if self.rows_left == 0 {
            return Ok(());
        }
        let from = self.next.clone().max(Key::from_slice(&[table]));
        view.scan(SPACE, &from, &[table + 1], Order::Rising, &mut |key, value| {
            look(key, value)?;
            self.rows_left -= 1;
            // The key itself with a byte behind it is the first key that follows it.
            self.next = Key::from_slice(key);
            self.next.push(0);
            Ok(if self.rows_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
    }
}
