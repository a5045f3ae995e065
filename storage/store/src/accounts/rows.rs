//! The layout of the account tables, in the manner of [`crate::layout`]: big-endian, one space,
//! a version byte before every value.
//!
//! ```text
//! table       key                            value after the version
//! PHONE       01 phone_hash:32               user:16
//! CODE        02 name_hash:32                code_hash:32 attempts_left:1 expires_ms:8
//! FAMILY      03 family:16                   user:16 device:1 generation:8 expires_ms:8
//!                                            grace_until_ms:8
//! TOKEN       04 token_hash:32               family:16 generation:8
//! ISSUED      05 family:16 generation:8      token_hash:32
//! DEVICE      06 user:16 device:1            family:16
//! REVOCATION  07 user:16 device:1            before_ms:8
//! KEY_CHECK   08                             check:32
//! ```

use bytes::Bytes;
use ringpost_wire::{DeviceId, UserId};

use super::{FamilyId, Revocation, TokenHash};
use crate::layout::{Key, Reader, key, value};
use crate::store::StoreError;

pub(super) const CODE: u8 = 2;
pub(super) const FAMILY: u8 = 3;
pub(super) const ISSUED: u8 = 5;
pub(super) const REVOCATION: u8 = 7;
const PHONE: u8 = 1;
const TOKEN: u8 = 4;
const DEVICE: u8 = 6;
const KEY_CHECK: u8 = 8;

/// A one-time code.
#[derive(Clone, Copy)]
pub(super) struct Code {
    pub(super) hash: [u8; 32],
    pub(super) attempts_left: u8,
    pub(super) expires_ms: u64,
}

/// A family of refresh tokens.
#[derive(Clone, Copy)]
pub(super) struct Family {
    pub(super) user: UserId,
    pub(super) device: DeviceId,
    pub(super) generation: u64,
    pub(super) expires_ms: u64,
    /// Until when the generation before is good once more.
    pub(super) grace_until_ms: u64,
}

pub(super) fn phone_key(phone_hash: &[u8; 32]) -> Key {
    key(&[&[PHONE], phone_hash])
}

pub(super) fn code_key(name_hash: &[u8; 32]) -> Key {
    key(&[&[CODE], name_hash])
}

pub(super) fn family_key(family: FamilyId) -> Key {
    key(&[&[FAMILY], &family.0])
}

pub(super) fn token_key(token: TokenHash) -> Key {
    key(&[&[TOKEN], &token.0])
}

pub(super) fn issued_prefix(family: FamilyId) -> Key {
    key(&[&[ISSUED], &family.0])
}

pub(super) fn issued_key(family: FamilyId, generation: u64) -> Key {
    key(&[&issued_prefix(family), &generation.to_be_bytes()])
}

pub(super) fn device_key(user: UserId, device: DeviceId) -> Key {
    key(&[&[DEVICE], &user.0, &[device.number()]])
}

pub(super) fn revocation_key(user: UserId, device: DeviceId) -> Key {
    key(&[&[REVOCATION], &user.0, &[device.number()]])
}

pub(super) fn key_check_key() -> Key {
    key(&[&[KEY_CHECK]])
}

pub(super) fn bytes_value(bytes: &[u8]) -> Bytes {
    value(&[bytes])
}

pub(super) fn read_array<const N: usize>(
    table: &'static str,
    value: &[u8],
) -> Result<[u8; N], StoreError> {
    Reader::value(table, value)?.array()
}

pub(super) fn code_value(code: &Code) -> Bytes {
    value(&[&code.hash, &[code.attempts_left], &code.expires_ms.to_be_bytes()])
}

pub(super) fn read_code(value: &[u8]) -> Result<Code, StoreError> {
    let mut reader = Reader::value("code", value)?;
    Ok(Code { hash: reader.array()?, attempts_left: reader.u8()?, expires_ms: reader.u64()? })
}

pub(super) fn family_value(family: &Family) -> Bytes {
    value(&[
        &family.user.0,
        &[family.device.number()],
        &family.generation.to_be_bytes(),
        &family.expires_ms.to_be_bytes(),
        &family.grace_until_ms.to_be_bytes(),
    ])
}

pub(super) fn read_family(value: &[u8]) -> Result<Family, StoreError> {
    let mut reader = Reader::value("family", value)?;
    Ok(Family {
        user: UserId(reader.array()?),
        device: reader.device()?,
        generation: reader.u64()?,
        expires_ms: reader.u64()?,
        grace_until_ms: reader.u64()?,
    })
}

/// The family in a FAMILY key.
pub(super) fn family_of_key(key: &[u8]) -> Result<FamilyId, StoreError> {
    let mut reader = Reader::new("family", key);
    reader.u8()?;
    reader.array().map(FamilyId)
}

pub(super) fn token_value(family: FamilyId, generation: u64) -> Bytes {
    value(&[&family.0, &generation.to_be_bytes()])
}

pub(super) fn read_token(value: &[u8]) -> Result<(FamilyId, u64), StoreError> {
    let mut reader = Reader::value("token", value)?;
    Ok((FamilyId(reader.array()?), reader.u64()?))
}

pub(super) fn read_revocation(key: &[u8], value: &[u8]) -> Result<Revocation, StoreError> {
    let mut reader = Reader::new("revocation", key);
    reader.u8()?;
    Ok(Revocation {
        user: UserId(reader.array()?),
        device: reader.device()?,
        before_ms: u64::from_be_bytes(read_array("revocation", value)?),
    })
}
