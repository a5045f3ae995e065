//! Licence expressions (SPDX 2.3, annex D): is one allowed when these licences are?
//!
//! `OR` needs one side, `AND` both; `WITH` binds a licence and its exception into one name. The
//! old `A/B` of crates.io means `OR`, and `A+` (this or a later version) is met by `A`.

/// Whether `expression` can be met with licences of `allowed` alone.
///
/// # Errors
/// When the expression is not well formed.
pub(crate) fn is_allowed(expression: &str, allowed: &[String]) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = Words { words: spaced.split_whitespace().collect(), at: 0, allowed };
    let answer = words.either()?;
    match words.peek() {
        None => Ok(answer),
        Some(word) => Err(format!("unexpected `{word}` in `{expression}`")),
    }
}

struct Words<'a> {
    words: Vec<&'a str>,
    at: usize,
    allowed: &'a [String],
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.peek() == Some(word);
        self.at += usize::from(is_next);
        is_next
    }

    fn either(&mut self) -> Result<bool, String> {
        let mut answer = self.both()?;
        while self.take("OR") {
            answer |= self.both()?;
        }
        Ok(answer)
    }

    fn both(&mut self) -> Result<bool, String> {
        let mut answer = self.one()?;
        while self.take("AND") {
            answer &= self.one()?;
        }
        Ok(answer)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let answer = self.either()?;
            return if self.take(")") { Ok(answer) } else { Err("missing `)`".to_owned()) };
        }
        let licence = self.peek().ok_or("a licence is missing")?;
        self.at += 1;
        if !self.take("WITH") {
            let licence = licence.trim_end_matches('+');
            return Ok(self.allowed.iter().any(|name| name == licence));
        }
        let exception = self.peek().ok_or("an exception is missing")?;
        self.at += 1;
        Ok(self.allowed.iter().any(|name| *name == format!("{licence} WITH {exception}")))
    }
}

#[test]
fn expressions_are_met_as_the_operators_say() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    let check = |expression: &str, expected: bool| {
        assert_eq!(is_allowed(expression, &allowed), Ok(expected), "{expression}");
    };
    check("MIT", true);
    check("MIT+", true);
    check("GPL-3.0-only", false);
    check("MIT OR GPL-3.0-only", true);
    check("GPL-3.0-only/MIT", true);
    check("MIT AND GPL-3.0-only", false);
    check("ISC AND (GPL-3.0-only OR MIT)", true);
    check("GPL-3.0-only OR MIT AND ISC", true);
    check("(GPL-3.0-only OR MIT) AND Zlib", false);
    check("Apache-2.0 WITH LLVM-exception", true);
    check("Apache-2.0", false);
}

#[test]
fn a_broken_expression_is_an_error() {
    for expression in ["", "MIT OR", "(MIT", "MIT MIT", "MIT)", "MIT WITH"] {
        assert!(is_allowed(expression, &[]).is_err(), "{expression}");
    }
}
