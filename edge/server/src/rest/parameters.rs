//! The parameters of a query, each taken by its name, so that a refusal can name it.
//!
//! Owns their reading alone; which there are and what they mean is each endpoint's. One that stands
//! twice is refused, and neither is chosen: a proxy in front may have looked at the other one.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::problem::Problem;

/// The parameters of one query, decoded.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let form = "The query is text of the form `name=value&name=value`.";
        let pairs = Query::try_from_uri(&parts.uri).map_err(|_| Problem::BadRequest(form))?;
        Ok(Self(pairs.0))
    }
}

impl Parameters {
    /// Takes a parameter as text.
    ///
    /// # Errors
    /// If it stands twice.
    pub(crate) fn take(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let mut values = self.0.extract_if(.., |(found, _)| found == name);
        let (value, more) = (values.next(), values.next());
        if more.is_some() {
            return Err(Problem::BadParameter {
                name,
                form: "A parameter stands in a query once.",
            });
        }
        drop(values);
        Ok(value.map(|(_, value)| value))
    }

    /// Takes a parameter as what it is written of. `form` says what that is.
    ///
    /// # Errors
    /// If it stands twice, or is not of this form.
    pub(crate) fn parse<T: FromStr>(
        &mut self,
        name: &'static str,
        form: &'static str,
    ) -> Result<Option<T>, Problem> {
        let text = self.take(name)?;
        text.map(|text| text.parse().map_err(|_| Problem::BadParameter { name, form })).transpose()
    }

    /// Whether all that stood in the query was taken.
    pub(crate) fn is_used_up(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Result<Parameters, Problem> {
        let mut parts = axum::http::Request::new(()).into_parts().0;
        parts.uri = format!("/a?{query}").parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Parameters::from_request_parts(&mut parts, &()))
    }

    #[test]
    fn a_refusal_names_the_parameter() {
        const FORM: &str = "`n` is a number.";
        let mut taken = parameters("n=7&m=a%20b&empty").unwrap();
        assert_eq!(taken.parse::<u8>("n", FORM), Ok(Some(7)));
        assert_eq!(taken.parse::<u8>("n", FORM), Ok(None), "it is taken");
        assert_eq!(taken.take("m").unwrap().as_deref(), Some("a b"));
        assert!(!taken.is_used_up());
        assert_eq!(taken.take("empty").unwrap().as_deref(), Some(""));
        assert!(taken.is_used_up());
        let bad = Err(Problem::BadParameter { name: "n", form: FORM });
        assert_eq!(parameters("n=256").unwrap().parse::<u8>("n", FORM), bad);
        let twice = parameters("n=7&n=7").unwrap().parse::<u8>("n", FORM);
        assert!(matches!(twice, Err(Problem::BadParameter { name: "n", .. })), "{twice:?}");
    }
}
