//! The body of a close frame (RFC 6455 sections 5.5.1 and 7.4).

use super::Violation;

/// What a client's close frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Close<'a> {
    /// The code, or `None` of an empty body. Only codes that may be sent.
    pub code: Option<u16>,
    /// The reason; empty if none was given. At most 123 bytes. It is the client's text: not for
    /// logs as it stands.
    pub reason: &'a str,
}

impl<'a> Close<'a> {
    /// Reads the unmasked body of a close frame.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Violation> {
        let Some((code, reason)) = body.split_first_chunk::<2>() else {
            return match body {
                [] => Ok(Self { code: None, reason: "" }),
                _ => Err(Violation::CloseTruncated),
            };
        };
        let code = u16::from_be_bytes(*code);
        if !may_be_sent(code) {
            return Err(Violation::CloseCodeInvalid);
        }
        let reason =
            simdutf8::basic::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
        Ok(Self { code: Some(code), reason })
    }
}

/// Codes that an endpoint may put in a close frame: those registered for it, and the ranges for
/// libraries (3000) and applications (4000). 1004 is reserved; 1005, 1006 and 1015 are for local
/// use only.
const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_empty_or_has_a_whole_valid_code() {
        assert_eq!(Close::parse(b""), Ok(Close { code: None, reason: "" }));
        assert_eq!(Close::parse(b"\x03"), Err(Violation::CloseTruncated));
        assert_eq!(Close::parse(b"\x03\xe8"), Ok(Close { code: Some(1000), reason: "" }));
        assert_eq!(Close::parse(b"\x03\xe8bye"), Ok(Close { code: Some(1000), reason: "bye" }));
        assert_eq!(Close::parse(b"\x03\xe8\xff"), Err(Violation::CloseReasonNotUtf8));
    }

    #[test]
    fn exactly_the_codes_of_the_registry_pass() {
        let refused: Vec<u16> = (0..=u16::MAX).filter(|&code| !may_be_sent(code)).collect();
        let expected: Vec<u16> =
            (0..1000).chain(1004..1007).chain(1015..3000).chain(5000..=u16::MAX).collect();
        assert_eq!(refused, expected);
    }
}
