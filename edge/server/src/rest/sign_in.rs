//! Sign-in: one-time codes, access and refresh tokens, sign-out.
//!
//! ```text
//! POST /v1/auth/code    {phone}                         202 {request, expires_in}
//! POST /v1/auth/verify  {request, phone, code, device}  200 {user_id, device, access_token, ...}
//! POST /v1/auth/refresh {refresh_token}                 200 the same, with the next refresh token
//! POST /v1/auth/logout  Authorization: Bearer           204
//! ```
//! Invariants:
//! - `code` answers the same for every phone and does no look-up, so it tells nothing about one.
//! - A code belongs to the *request* that asked for it: whoever asks for codes of another's phone
//!   can neither replace nor use up the code that its owner waits for.
//! - Texts to one phone are bounded, whoever asks, and one address may cause a part of them. A
//!   request beyond is answered alike, after the same work: it gets a name without a code, for
//!   which no guess is right.
//! - Each refresh token is good once, and once more for a short time if the answer was lost (its
//!   successor is unused then, and is answered again). Otherwise a second time means that two have
//!   it: the device's credentials are void, its connection is closed, and only a new code helps.
//! - A revocation is durable before anybody is told of it, and so is that a device signed out.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringpost_conn::addresses::counted;
use ringpost_store::accounts::{
    AccountError, CodeCheck, CodeName, FamilyId, Revocation, Rotation, RotationTimes, TokenHash,
};
use ringpost_wire::{DeviceId, UserId};
use serde::Serialize;
use uuid::Uuid;

use super::RestState;
use super::code_sender::OneTimeCode;
use super::counters::Hit;
use super::fields::Fields;
use super::problem::Problem;
use super::request::{Bearer, JsonBody, Peer};
use crate::auth::Verified;

/// Digits of a one-time code.
const CODE_DIGITS: usize = 6;
/// Codes that there are.
const CODES: u32 = 1_000_000;
/// Text in front of a refresh token, so that leaked ones can be searched for.
const REFRESH_PREFIX: &str = "rpr1_";
/// Random bytes in a refresh token, and in the name of a request.
const SECRET_BYTES: usize = 32;
const REQUEST_BYTES: usize = 16;
/// How long a home may take to create a user or to remove a device: one journal commit, or a store
/// that is behind.
const HOME_DEADLINE: Duration = Duration::from_secs(3);

#[derive(Serialize)]
struct CodeAnswer {
    /// Sent back with the code.
    request: String,
    /// Seconds that the code lives.
    expires_in: u64,
}

#[derive(Serialize)]
struct Session {
    user_id: UserText,
    device: u8,
    access_token: String,
    token_type: &'static str,
    /// Seconds that the access token lives.
    expires_in: u64,
    refresh_token: String,
    /// Seconds that the refresh token lives if it is not used.
    refresh_expires_in: u64,
}

/// A user id as text.
type UserText = Uuid;

/// `POST /v1/auth/code`.
pub(super) async fn code(
    State(state): State<Arc<RestState>>,
    Peer(address): Peer,
    JsonBody(mut asked): JsonBody,
) -> Result<Response, Problem> {
    state.take_address(address)?;
    let phone = phone(&mut asked)?;
    // Taken before anything is stored, so that what is stored is sent; and by who is sent nothing
    // too, so that nobody can tell the two apart by it.
    let delivery = state.deliveries.clone().try_acquire_owned().map_err(|_| {
        state.counters.on_hit(Hit::Deliveries);
        Problem::Overloaded
    })?;
    let is_sent = state.take_text(&phone, address);
    let one_time =
        OneTimeCode { phone, code: random_code()?, request: random_text::<REQUEST_BYTES>()? };
    let request = one_time.request.clone();
    let stored = one_time.clone();
    state
        .blocking(move |state| {
            let expires_ms = state.clock.now_ms() + millis(state.auth.code_ttl);
            let name = CodeName { phone: &stored.phone, request: &stored.request };
            let code = is_sent.then_some(stored.code.as_str());
            let put = state.accounts.put_code(name, code, state.auth.code_attempts_max, expires_ms);
            if matches!(put, Err(AccountError::CodesFull)) {
                state.counters.on_hit(Hit::Codes);
            }
            Ok(put?)
        })
        .await?;
    if is_sent {
        let sender = Arc::clone(&state);
        tokio::spawn(async move {
            let _under_way = delivery;
            match sender.code_sender.deliver(one_time).await {
                Ok(()) => sender.counters.codes_delivered.increment(),
                Err(error) => {
                    sender.counters.codes_failed.increment();
                    tracing::warn!(%error, "a one-time code was not delivered");
                }
            }
        });
    }
    let answer = CodeAnswer { request, expires_in: state.auth.code_ttl.as_secs() };
    Ok(private(StatusCode::ACCEPTED, &answer))
}

/// `POST /v1/auth/verify`.
pub(super) async fn verify(
    State(state): State<Arc<RestState>>,
    Peer(address): Peer,
    JsonBody(mut asked): JsonBody,
) -> Result<Response, Problem> {
    state.take_address(address)?;
    let request =
        asked.text("request", "`request` is what the answer to `/v1/auth/code` named.")?;
    let phone = phone(&mut asked)?;
    let code = asked.text("code", "`code` is the text of six digits that was sent.")?;
    let device = device(&mut asked)?;
    let is_code = code.len() == CODE_DIGITS && code.bytes().all(|byte| byte.is_ascii_digit());
    if !is_code || request.len() > 2 * REQUEST_BYTES {
        return Err(Problem::BadCode);
    }
    let user = state
        .blocking(move |state| {
            let name = CodeName { phone: &phone, request: &request };
            let check = state.accounts.check_code(name, &code, state.clock.now_ms())?;
            if check != CodeCheck::Right {
                state.count_bad_code(check);
                return Err(Problem::BadCode);
            }
            Ok(state.accounts.bind_phone(&phone, UserId::from(Uuid::new_v4()))?)
        })
        .await?;
    // Asked for again at each sign-in: a crash may have come between the phone and the user.
    let created = tokio::time::timeout(HOME_DEADLINE, state.control.create_user(user)).await;
    if !matches!(created, Ok(Ok(true))) {
        return Err(Problem::Overloaded);
    }
    let session = state
        .blocking(move |state| {
            // Whoever holds the phone now holds the device: its earlier credentials end here.
            state.revoke(user, device, 0)?;
            let issued_at_ms = state.stamp_ms().max(state.revoked.before(user, device) + 1);
            let refresh_token = refresh_token(random()?);
            let family = FamilyId(random()?);
            let expires_ms = state.clock.now_ms() + millis(state.auth.refresh_ttl);
            let first = hash(&refresh_token);
            state.accounts.open_family(family, user, device, first, expires_ms)?;
            Ok(state.session((user, device), issued_at_ms, refresh_token))
        })
        .await?;
    Ok(private(StatusCode::OK, &session))
}

/// `POST /v1/auth/refresh`.
pub(super) async fn refresh(
    State(state): State<Arc<RestState>>,
    Peer(address): Peer,
    JsonBody(mut asked): JsonBody,
) -> Result<Response, Problem> {
    state.take_address(address)?;
    let presented =
        asked.text("refresh_token", "`refresh_token` is the newest that an answer carried.")?;
    let session = state
        .blocking(move |state| {
            let refresh_token = refresh_token(state.accounts.successor(&presented));
            let issued_at_ms = state.stamp_ms();
            let now_ms = state.clock.now_ms();
            let times = RotationTimes {
                now_ms,
                expires_ms: now_ms + millis(state.auth.refresh_ttl),
                grace_until_ms: now_ms + millis(state.auth.refresh_grace),
            };
            match state.accounts.rotate(hash(&presented), hash(&refresh_token), times)? {
                Rotation::Rotated { user, device } => {
                    Ok(state.session((user, device), issued_at_ms, refresh_token))
                }
                Rotation::Repeated { user, device } => {
                    state.counters.refresh_repeated.increment();
                    Ok(state.session((user, device), issued_at_ms, refresh_token))
                }
                Rotation::Reused { user, device } => {
                    state.counters.refresh_reused.increment();
                    tracing::warn!(%user, %device, "a refresh token came twice: device signed out");
                    state.revoke(user, device, 0)?;
                    Err(Problem::BadRefreshToken)
                }
                Rotation::Expired => {
                    state.counters.on_hit(Hit::RefreshLife);
                    Err(Problem::BadRefreshToken)
                }
                Rotation::Unknown => Err(Problem::BadRefreshToken),
            }
        })
        .await?;
    Ok(private(StatusCode::OK, &session))
}

/// `POST /v1/auth/logout`.
pub(super) async fn logout(
    State(state): State<Arc<RestState>>,
    Bearer(bearer): Bearer,
) -> Result<Response, Problem> {
    // A task of its own: a client that hangs up in between does not stop it half way.
    let signed_out = tokio::spawn(sign_out(state, bearer)).await;
    signed_out.map_err(|_| Problem::Unavailable)??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The device's credentials are void, durably and at its home; then it is removed; then REST refuses
/// them too. In this order a repeat of what failed in between is still let in.
async fn sign_out(state: Arc<RestState>, bearer: Verified) -> Result<(), Problem> {
    let Verified { user, device, issued_at_ms, .. } = bearer;
    let revocation =
        state.blocking(move |state| state.put_revocation(user, device, issued_at_ms)).await?;
    let removed = state.control.remove_device(user, device, revocation.before_ms);
    if !matches!(tokio::time::timeout(HOME_DEADLINE, removed).await, Ok(Ok(true))) {
        return Err(Problem::Overloaded);
    }
    state.revoked.insert(revocation);
    Ok(())
}

impl RestState {
    fn take_address(&self, address: std::net::IpAddr) -> Result<(), Problem> {
        let taken = self.rates.addresses.take(counted(address), self.start.elapsed());
        taken.map_err(|wait| self.limited(Hit::AddressRate, wait))
    }

    /// Whether a code may be sent to this phone now, at the wish of this address.
    fn take_text(&self, phone: &str, address: std::net::IpAddr) -> bool {
        let (rates, now) = (&self.rates, self.start.elapsed());
        // The address first: what it may not have is not taken from the phone.
        let over = if rates.texts_of_address.take((phone, counted(address)), now).is_err() {
            Hit::PhoneAddressRate
        } else if rates.texts.take(phone, now).is_err() {
            Hit::PhoneRate
        } else {
            return true;
        };
        self.counters.on_hit(over);
        self.counters.codes_held_back.increment();
        false
    }

    /// The refusal of what comes too often.
    pub(super) fn limited(&self, hit: Hit, wait: Duration) -> Problem {
        self.counters.on_hit(hit);
        Problem::RateLimited { retry_after_ms: millis(wait).max(1) }
    }

    /// All that is said of a bad code is that it is; why is for the counters.
    fn count_bad_code(&self, check: CodeCheck) {
        self.counters.codes_wrong.increment();
        match check {
            CodeCheck::Exhausted => self.counters.on_hit(Hit::CodeAttempts),
            CodeCheck::Expired => self.counters.on_hit(Hit::CodeLife),
            CodeCheck::Right | CodeCheck::Wrong { .. } | CodeCheck::Unknown => {}
        }
    }

    /// Voids all that was issued to the device until now, at least what was issued at
    /// `presented_ms`: durable first, then here, then at its home, which closes the connection.
    fn revoke(&self, user: UserId, device: DeviceId, presented_ms: u64) -> Result<(), Problem> {
        let revocation = self.put_revocation(user, device, presented_ms)?;
        self.revoked.insert(revocation);
        self.control.revoke(user, device, revocation.before_ms);
        Ok(())
    }

    /// The durable part of a revocation.
    fn put_revocation(
        &self,
        user: UserId,
        device: DeviceId,
        presented_ms: u64,
    ) -> Result<Revocation, Problem> {
        // Not below any stamp given out, even if the clock has stepped back since; and every
        // stamp from here on is above.
        let now_ms = self.stamp_ms();
        self.last_stamp_ms.fetch_max(now_ms + 1, SeqCst);
        let before_ms = now_ms.max(presented_ms);
        let revocation = Revocation { user, device, before_ms };
        self.accounts.revoke(revocation)?;
        Ok(revocation)
    }

    /// A time of issue: now, or a little later where a revocation has just been at work.
    ///
    /// Taken *before* the step that a revocation would undo (a rotation, a new family): then a
    /// sign-out that comes between that step and the answer voids the answer.
    fn stamp_ms(&self) -> u64 {
        let now_ms = self.clock.now_ms();
        now_ms.max(self.last_stamp_ms.fetch_max(now_ms, SeqCst))
    }

    fn session(
        &self,
        (user, device): (UserId, DeviceId),
        issued_at_ms: u64,
        refresh_token: String,
    ) -> Session {
        let auth = &self.auth;
        let who = (user, device);
        let signer = self.signer.read().unwrap_or_else(PoisonError::into_inner);
        let issued = signer.sign(&auth.issuer, &auth.audience, who, issued_at_ms, auth.access_ttl);
        drop(signer);
        Session {
            user_id: user.uuid(),
            device: device.number(),
            access_token: issued.token,
            token_type: "Bearer",
            expires_in: issued.expires_in_s,
            refresh_token,
            refresh_expires_in: auth.refresh_ttl.as_secs(),
        }
    }
}

/// An answer that no cache may keep.
fn private(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_value(body).expect("answers are plain JSON");
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// The field `phone`: a number in international form (ITU-T E.164), `+` and 7 to 15 digits.
fn phone(asked: &mut Fields) -> Result<String, Problem> {
    let form = "`phone` is `+`, country code and number, 7 to 15 digits, such as +491701234567.";
    let text = asked.text("phone", form)?;
    if is_phone(&text) { Ok(text) } else { Err(Problem::BadField { name: "phone", form }) }
}

fn is_phone(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
}

/// The field `device`.
fn device(asked: &mut Fields) -> Result<DeviceId, Problem> {
    let form = "`device` is a number from 1 to 127.";
    let number = u8::try_from(asked.number("device", form)?).ok();
    number.and_then(DeviceId::new).ok_or(Problem::BadField { name: "device", form })
}

fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Problem::Unavailable)?;
    Ok(bytes)
}

fn random_text<const N: usize>() -> Result<String, Problem> {
    Ok(URL_SAFE_NO_PAD.encode(random::<N>()?))
}

/// Every code is equally likely: numbers at the uneven end of the range are drawn again.
fn random_code() -> Result<String, Problem> {
    const EVEN_END: u32 = u32::MAX - u32::MAX % CODES;
    loop {
        let number = u32::from_le_bytes(random::<4>()?);
        if number < EVEN_END {
            return Ok(format!("{:0width$}", number % CODES, width = CODE_DIGITS));
        }
    }
}

/// A refresh token of this secret.
fn refresh_token(secret: [u8; SECRET_BYTES]) -> String {
    format!("{REFRESH_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret))
}

/// Tokens carry 256 bits that nobody can guess, so that a plain hash hides them and needs no constant-time
/// comparison: nobody can choose what is compared.
fn hash(token: &str) -> TokenHash {
    let digest = digest(&SHA256, token.as_bytes());
    TokenHash(digest.as_ref().try_into().expect("a SHA-256 digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones_have_one_form() {
        assert!(is_phone("+491701234567"));
        for text in [
            "",
            "+",
            "491701234567",
            "+0491701234",
            "+49 170 123",
            "+123456",
            "+1234567890123456",
            "+49170123456७",
        ] {
            assert!(!is_phone(text), "{text}");
        }
    }

    #[test]
    fn codes_have_six_digits_and_are_not_all_alike() {
        let codes: std::collections::HashSet<String> =
            (0..64).map(|_| random_code().unwrap()).collect();
        assert!(codes.len() > 32);
        for code in codes {
            assert!(
                code.len() == CODE_DIGITS && code.bytes().all(|b| b.is_ascii_digit()),
                "{code}"
            );
        }
    }
}
