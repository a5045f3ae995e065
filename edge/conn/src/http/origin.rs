//! Which web pages may open a WebSocket here.
//!
//! A browser sends the cookies and reaches the networks of its user whatever page asks, and it
//! names the page in `Origin`: the allow-list is what keeps foreign pages out (RFC 6455 section
//! 10.2). It names pages, never "the same host as in `Host`": a name that an attacker points here
//! would pass that.

use thiserror::Error;

/// Longest part of a refused `Origin` that is told, bytes. A host has at most 253.
pub const ORIGIN_BYTES_MAX: usize = 272;

/// The allow-list of origins. Empty by default: no page of a browser, only clients that send no
/// `Origin`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origins {
    any: bool,
    allowed: Box<[Box<str>]>,
}

/// An entry of the allow-list that no browser would ever match.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "{0:?} is not an origin: expected \"*\", \"null\" or scheme://host[:port], without a path, \
     a trailing slash or the scheme's default port"
)]
pub struct InvalidOrigin(pub String);

impl Origins {
    /// The allow-list with these entries: `*` allows every page; `null` those without an origin
    /// (files, sandboxes); any other is an origin as a browser writes it.
    ///
    /// # Errors
    /// The first entry that is none of these.
    pub fn new<'e>(entries: impl IntoIterator<Item = &'e str>) -> Result<Self, InvalidOrigin> {
        let mut any = false;
        let mut allowed = Vec::new();
        for entry in entries {
            match entry {
                "*" => any = true,
                "null" => allowed.push(entry.into()),
                _ if is_origin(entry) => allowed.push(entry.into()),
                _ => return Err(InvalidOrigin(entry.to_owned())),
            }
        }
        Ok(Self { any, allowed: allowed.into() })
    }

    /// Whether no page may connect.
    pub fn is_empty(&self) -> bool {
        !self.any && self.allowed.is_empty()
    }

    /// Whether a page with this `Origin` may connect. Scheme and host are without case.
    pub fn allow(&self, origin: &str) -> bool {
        self.any || self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }
}

/// Whether a browser could send this as an origin with a host.
fn is_origin(entry: &str) -> bool {
    let Some((scheme, host)) = entry.split_once("://") else { return false };
    let default_port = match scheme {
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => "://",
    };
    let scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !scheme.is_empty()
        && scheme.bytes().all(scheme_byte)
        && !host.is_empty()
        && host.bytes().all(host_byte)
        && !host.ends_with(default_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_allows_no_page() {
        assert!(Origins::default().is_empty());
        assert!(!Origins::default().allow("https://app.example.com"));
        assert!(!Origins::default().allow("null"));
    }

    #[test]
    fn only_the_exact_origin_is_allowed() {
        let origins = Origins::new(["https://app.example.com", "http://localhost:5173"]).unwrap();
        assert!(origins.allow("https://app.example.com"));
        assert!(origins.allow("HTTPS://App.Example.com"));
        assert!(origins.allow("http://localhost:5173"));
        for foreign in [
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com.evil.net",
            "https://evil.net/https://app.example.com",
            "https://example.com",
            "http://localhost",
            "null",
            "*",
            "",
        ] {
            assert!(!origins.allow(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_star_allows_every_page() {
        let origins = Origins::new(["*"]).unwrap();
        assert!(origins.allow("https://any.example") && origins.allow("null"));
    }

    #[test]
    fn an_entry_that_could_never_match_is_refused() {
        for entry in [
            "",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/app",
            "https://app.example.com:443",
            "http://app.example.com:80",
            "https://*.example.com",
            "https://user@app.example.com",
            "https://app example.com",
            "://app.example.com",
        ] {
            assert_eq!(Origins::new([entry]), Err(InvalidOrigin(entry.to_owned())));
        }
        for entry in ["https://[::1]:8443", "capacitor://localhost", "http://app.example.com:443"] {
            assert!(Origins::new([entry]).is_ok(), "{entry}");
        }
    }
}
