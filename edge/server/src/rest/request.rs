//! What every endpoint needs from a request: its body, its bearer, its peer; and the blocking pool.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, header, request::Parts};
use ringpost_conn::forwarded::ForwardedFields;
use ringpost_conn::{Caller, addresses};
use ringpost_store::accounts::AccountError;

use super::RestState;
use super::connection::Held;
use super::counters::Hit;
use super::fields::Fields;
use super::places::CountedFor;
use super::problem::Problem;
use crate::auth::Verified;

/// Where who calls comes from. A kept connection of a proxy brings requests of many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

impl FromRequestParts<Arc<RestState>> for Peer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<RestState>) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().ok_or(Problem::Unavailable)?;
        Ok(Self(caller.address()))
    }
}

/// A JSON body.
pub(super) struct JsonBody(pub(super) Fields);

impl FromRequest<Arc<RestState>> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<RestState>) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::NotJson);
        }
        let bytes = read_body(request.into_body(), state.body_bytes_max).await?;
        Fields::parse(&bytes).map(Self)
    }
}

async fn read_body(body: Body, bytes_max: usize) -> Result<axum::body::Bytes, Problem> {
    // A body whose stated length is too large is refused before it is read.
    let stated = axum::body::HttpBody::size_hint(&body).lower();
    if stated > bytes_max as u64 {
        return Err(Problem::TooLarge { bytes_max });
    }
    to_bytes(body, bytes_max).await.map_err(|error| {
        let is_limit = std::error::Error::source(&error)
            .is_some_and(|source| source.to_string().contains("length limit"));
        if is_limit {
            Problem::TooLarge { bytes_max }
        } else {
            Problem::BadRequest("The body was cut off.")
        }
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        let kind = value.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    })
}

/// The device that presents a good access token.
pub(super) struct Bearer(pub(super) Verified);

impl FromRequestParts<Arc<RestState>> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<RestState>,
    ) -> Result<Self, Problem> {
        let token = bearer(&parts.headers).ok_or(Problem::Unauthorized)?;
        let verified = state
            .verifier
            .verify(token, state.clock.now_ms())
            .map_err(|_| Problem::Unauthorized)?;
        if state.revoked.is_void(&verified) {
            return Err(Problem::Unauthorized);
        }
        Ok(Self(verified))
    }
}

/// The token of the only `Authorization` header. Two of them are none: whichever one took, a
/// proxy in front may have checked the other.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl RestState {
    /// Puts the caller of this request in the place of its connection's. A request that came by a
    /// proxy takes a place of its caller's, until what is answered is dropped.
    ///
    /// # Errors
    /// If the caller has all places that one address may have.
    pub(super) fn name_caller(&self, request: &mut Request) -> Result<Option<CountedFor>, Problem> {
        let Some(&of_connection) = request.extensions().get::<Caller>() else { return Ok(None) };
        let headers = request.headers();
        let lines = |name| headers.get_all(name).iter().map(axum::http::HeaderValue::as_bytes);
        let fields = ForwardedFields::new(lines("x-forwarded-for"), lines("forwarded"));
        let (caller, naming) = fields.caller(of_connection, &self.trusted_proxies);
        if let Some(naming) = naming {
            self.counters.on_naming(naming);
        }
        request.extensions_mut().insert(caller);
        let Some(held) = request.extensions_mut().remove::<Held>() else { return Ok(None) };
        if !of_connection.is_proxy() {
            return Ok(None);
        }
        let counted = held.0.count_for(addresses::counted(caller.address()));
        counted.map(Some).map_err(|_| {
            self.counters.on_hit(Hit::AddressConnections);
            Problem::Overloaded
        })
    }

    /// Runs account or store work on the blocking threads. The work is not cut short when the
    /// client goes away: a half-done sign-out would be worse.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let state = Arc::clone(self);
        // A panic is a bug and ends the process (`panic = "abort"`); otherwise only a runtime
        // that shuts down cancels.
        tokio::task::spawn_blocking(move || work(&state)).await.unwrap_or(Err(Problem::Unavailable))
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::CodesFull => Self::Overloaded,
            error => {
                if !matches!(&error, AccountError::Store(error) if error.is_outage()) {
                    tracing::error!(%error, "account data");
                }
                Self::Unavailable
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn one_bearer_header_is_taken_and_nothing_else() {
        assert_eq!(bearer(&headers(&["Bearer a.b.c"])), Some("a.b.c"));
        assert_eq!(bearer(&headers(&["bearer a.b.c"])), Some("a.b.c"));
        for bad in [&["Basic a"][..], &["Bearer"], &[], &["Bearer a", "Bearer a"], &["a.b.c"]] {
            assert_eq!(bearer(&headers(bad)), None, "{bad:?}");
        }
    }
}
