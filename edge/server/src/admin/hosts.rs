//! Which hosts a request to the private port may name.
//!
//! A page of a browser can have its own name point at 127.0.0.1 once it is loaded (DNS rebinding), and
//! is then of one origin with this port: it could read and ask everything that its user may. What it
//! cannot do is name another host. So a request names an address, which nobody can point elsewhere,
//! `localhost`, or what the operator has listed. Who sends no `Host` is no browser.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::rest::Problem;

/// Most names in the list.
pub const HOSTS_MAX: usize = 64;

/// The names that may stand in `Host` beside addresses and `localhost`.
#[derive(Clone, Debug)]
pub(super) struct Hosts(Arc<[String]>);

impl Hosts {
    pub(super) fn new(listed: &[String]) -> Self {
        Self(listed.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether a `Host`, or the authority of a target, names this port.
    fn allow(&self, host: &str) -> bool {
        let name = name_of(host).to_ascii_lowercase();
        let is_address = name.parse::<IpAddr>().is_ok()
            || name
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
        is_address || name == "localhost" || self.0.contains(&name)
    }
}

/// Whether this can be a name in the list: letters, digits, hyphens, underscores and dots, without a
/// port.
pub fn is_host_name(name: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= 253 && name.bytes().all(of_name)
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit()) => {
            name
        }
        _ => host,
    }
}

/// In front of every request, also one that changes something.
pub(super) async fn known(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let named = request.headers().get_all(header::HOST).iter().map(|it| it.to_str().ok());
    let target = request.uri().authority().map(|it| Some(it.as_str()));
    let all_known = named.chain(target).all(|host| host.is_some_and(|host| hosts.allow(host)));
    if all_known { next.run(request).await } else { Problem::Misdirected.into_response() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_listed_names_are_known_and_no_other_name() {
        let hosts = Hosts::new(&["ringpost".to_owned(), "Metrics.example".to_owned()]);
        for known in [
            "127.0.0.1:7401",
            "127.0.0.1",
            "10.1.2.3:7401",
            "[::1]:7401",
            "[fd00::2]",
            "localhost:7401",
            "LOCALHOST",
            "ringpost:7401",
            "metrics.example",
        ] {
            assert!(hosts.allow(known), "{known}");
        }
        for foreign in [
            "evil.example",
            "evil.example:7401",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "ringpost.evil.example",
            "",
            ":7401",
            "[::1",
            "user@127.0.0.1",
        ] {
            assert!(!hosts.allow(foreign), "{foreign}");
        }
    }
}
