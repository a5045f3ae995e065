//! Access tokens: JWT (RFC 7519) signed with Ed25519 (RFC 8037), and nothing else.
//!
//! ```text
//! {"alg":"EdDSA","kid":K}.{iss,aud,sub: UUID,device: 1..127,iat,iat_ms?,nbf?,exp}.signature
//! ```
//! Owns form and rules; pure: time is an argument, keys are given. The signature is checked by
//! jsonwebtoken (aws-lc); the claims are checked here, because the library reads the clock
//! itself. The algorithm follows from the key, never from the token; a key is found by its id in
//! a map, so the id is opaque; `jku`, `x5u` and `jwk` are never looked at. Measured: 42 us a check
//! on one core, which is why it never runs in a worker's turn ([`super::TokenService`]).

use std::collections::HashMap;
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ringpost_wire::limits::TOKEN_BYTES_MAX;
use ringpost_wire::{DeviceId, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::jwks::{self, JwksError};
use super::{AuthError, Verified};

/// The longest that any token is honoured after its issue, whatever its `exp` says: revocations
/// older than this need not be kept.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(86_400);

/// Longest header of a token, bytes of its base64: it is read before a signature vouches for it, and
/// what a library keeps of a header costs more than what is in it. Ours have 70.
const HEADER_BYTES_MAX: usize = 1_024;

/// Longest key id that is looked up, bytes.
const KEY_ID_BYTES_MAX: usize = 256;

/// What a good token must say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenRules {
    /// `aud` must be or contain this.
    pub audience: String,
    /// How far the issuer's clock may differ from ours.
    pub clock_skew: Duration,
}

/// Claims as they are written and read. A claim that comes twice is refused by serde.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    sub: Uuid,
    device: u8,
    iat: u64,
    /// `iat` in milliseconds: makes "issued at or before the revocation" exact for our own.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    exp: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn names(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

/// A signed token and when it ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issued {
    /// The token's text.
    pub token: String,
    /// When it was issued, milliseconds since 1970.
    pub issued_at_ms: u64,
    /// Seconds until it expires.
    pub expires_in_s: u64,
}

/// Signs access tokens with this server's own key.
#[derive(Clone)]
pub struct TokenSigner {
    key: EncodingKey,
    key_id: String,
    public: [u8; 32],
}

impl TokenSigner {
    /// The signer of a PKCS#8 document; `None` if it holds no Ed25519 key.
    pub fn from_pkcs8(document: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(document).ok()?;
        let public: [u8; 32] = pair.public_key().as_ref().try_into().ok()?;
        let key_id = thumbprint(&public);
        Some(Self { key: EncodingKey::from_ed_der(document), key_id, public })
    }

    /// The key's id: its RFC 7638 thumbprint.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Signs a token for `device` of `user` that begins at `issued_at_ms` and lives `ttl` (whole
    /// seconds).
    pub fn sign(
        &self,
        issuer: &str,
        audience: &str,
        (user, device): (UserId, DeviceId),
        issued_at_ms: u64,
        ttl: Duration,
    ) -> Issued {
        let iat = issued_at_ms / 1_000;
        let claims = Claims {
            iss: issuer.to_owned(),
            aud: Audience::One(audience.to_owned()),
            sub: user.uuid(),
            device: device.number(),
            iat,
            iat_ms: Some(issued_at_ms),
            nbf: None,
            exp: iat.saturating_add(ttl.as_secs()),
        };
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::EdDSA) };
        let token = jsonwebtoken::encode(&header, &claims, &self.key)
            .expect("the key was read as an Ed25519 key, and the claims are plain JSON");
        Issued { token, issued_at_ms, expires_in_s: ttl.as_secs() }
    }
}

/// The thumbprint of an Ed25519 public key (RFC 7638 over the members that RFC 8037 names).
fn thumbprint(public: &[u8; 32]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()))
}

/// A key that verifies, and the only issuer that it speaks for.
struct IssuerKey {
    key: DecodingKey,
    issuer: String,
}

/// Verifies access tokens. Its keys can be exchanged while it is in use.
pub struct TokenVerifier {
    /// Held for one check by readers, for one assignment by who exchanges them.
    keys: RwLock<HashMap<String, IssuerKey>>,
    rules: TokenRules,
    validation: Validation,
}

impl TokenVerifier {
    /// A verifier that knows this server's own key, which speaks for `issuer`.
    pub fn new(own: &TokenSigner, issuer: &str, rules: TokenRules) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        // The claims are checked in `check`, against the caller's clock.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let own_key =
            IssuerKey { key: DecodingKey::from_ed_der(&own.public), issuer: issuer.to_owned() };
        let keys = HashMap::from([(own.key_id.clone(), own_key)]);
        Self { keys: RwLock::new(keys), rules, validation }
    }

    /// Takes the keys of another from here on, and lets go of its own; answers how many they are.
    pub fn take_keys(&self, other: Self) -> usize {
        let keys = other.keys.into_inner().unwrap_or_else(PoisonError::into_inner);
        let count = keys.len();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        count
    }

    /// Adds the keys of an outside identity provider; they speak for `issuer` alone.
    ///
    /// # Errors
    /// If the file cannot be used, or one of its keys has the id of another.
    pub fn add_jwks(&mut self, path: &Path, issuer: &str) -> Result<usize, JwksError> {
        let read = jwks::read(path)?;
        let count = read.len();
        let keys = self.keys.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (id, public) in read {
            let key = DecodingKey::from_ed_der(&public);
            let taken = keys.insert(id.clone(), IssuerKey { key, issuer: issuer.to_owned() });
            if taken.is_some() {
                return Err(JwksError::SameId(id));
            }
        }
        Ok(count)
    }

    /// Who presents this token at `wall_ms`. Cheapest check first.
    ///
    /// # Errors
    /// [`AuthError`]; the peer is told no more than that the token is not good.
    pub fn verify(&self, token: &str, wall_ms: u64) -> Result<Verified, AuthError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::TooLong);
        }
        if token.find('.').unwrap_or(token.len()) > HEADER_BYTES_MAX {
            return Err(AuthError::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| header_kind(&error))?;
        if header.alg != Algorithm::EdDSA {
            return Err(AuthError::Algorithm);
        }
        if header.crit.is_some() {
            return Err(AuthError::Critical);
        }
        let id = header.kid.filter(|id| id.len() <= KEY_ID_BYTES_MAX);
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let signed_by = id.and_then(|id| keys.get(&id)).ok_or(AuthError::UnknownKey)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &signed_by.key, &self.validation)
            .map_err(|error| kind(&error))?
            .claims;
        self.check(&claims, &signed_by.issuer, wall_ms)
    }

    fn check(&self, claims: &Claims, issuer: &str, wall_ms: u64) -> Result<Verified, AuthError> {
        if claims.iss != issuer {
            return Err(AuthError::Issuer);
        }
        if !claims.aud.names(&self.rules.audience) {
            return Err(AuthError::Audience);
        }
        let device = DeviceId::new(claims.device).ok_or(AuthError::Claims)?;
        let user = UserId::from(claims.sub);
        if user.is_nil() || claims.exp <= claims.iat {
            return Err(AuthError::Claims);
        }
        let skew_ms: u64 = self.rules.clock_skew.as_millis().try_into().unwrap_or(u64::MAX);
        let life_end = claims.iat.saturating_add(TOKEN_LIFE_MAX.as_secs());
        let expires_at_ms = millis(claims.exp.min(life_end))?.saturating_add(skew_ms);
        if wall_ms >= expires_at_ms {
            return Err(AuthError::Expired);
        }
        let issued_at_ms = match claims.iat_ms {
            Some(ms) if ms / 1_000 == claims.iat => ms,
            Some(_) => return Err(AuthError::Claims),
            None => millis(claims.iat)?,
        };
        let begins_ms = claims.nbf.map_or(Ok(0), millis)?.max(issued_at_ms);
        if begins_ms > wall_ms.saturating_add(skew_ms) {
            return Err(AuthError::NotYet);
        }
        Ok(Verified { user, device, issued_at_ms, expires_at_ms })
    }
}

/// A NumericDate in milliseconds; one that does not fit is no date.
fn millis(seconds: u64) -> Result<u64, AuthError> {
    seconds.checked_mul(1_000).ok_or(AuthError::Claims)
}

/// Which rule a header broke. A data error is nearly always an `alg` that the library does not
/// know, such as `none`.
fn header_kind(error: &jsonwebtoken::errors::Error) -> AuthError {
    match error.kind() {
        ErrorKind::Json(json) if json.is_data() => AuthError::Algorithm,
        _ => AuthError::Malformed,
    }
}

/// Which rule a token with a good header broke.
fn kind(error: &jsonwebtoken::errors::Error) -> AuthError {
    match error.kind() {
        ErrorKind::InvalidSignature => AuthError::Signature,
        ErrorKind::Json(json) if json.is_data() => AuthError::Claims,
        _ => AuthError::Malformed,
    }
}

#[cfg(test)]
pub(super) mod tests;
