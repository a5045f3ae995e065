//! The checkers: each holds one rule of the promise against what can be seen from outside. They
//! know nothing of the code under test and share nothing with it.

mod content;
mod duplicates;
mod durable_first;
mod idempotency;
mod kept;
mod numbering;
mod order;
mod privacy;
mod receipts;

use crate::observed::{DeviceKey, Observed, Violation};

/// One rule.
trait Checker {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Takes what happened.
    ///
    /// # Errors
    /// What it shows to be broken.
    fn see(&mut self, event: &Observed) -> Result<(), String>;

    /// What is still owed.
    fn owed(&self) -> Option<String> {
        None
    }
}

/// All rules together.
pub(crate) struct Checkers(Vec<Box<dyn Checker>>);

impl Checkers {
    /// Rules for this fleet, all of which signs in before anything is sent.
    pub(crate) fn new(fleet: &[DeviceKey]) -> Self {
        Self(vec![
            Box::new(durable_first::DurableFirst::default()),
            Box::new(privacy::Privacy),
            Box::new(content::Content::default()),
            Box::new(numbering::Numbering::default()),
            Box::new(idempotency::Idempotency::default()),
            Box::new(duplicates::Duplicates::default()),
            Box::new(order::Order::default()),
            Box::new(receipts::Receipts::new(fleet)),
            Box::new(kept::Kept::new(fleet)),
        ])
    }

    /// Shows all rules what happened.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub(crate) fn see(&mut self, event: &Observed) -> Result<(), Violation> {
        for checker in &mut self.0 {
            let name = checker.name();
            checker.see(event).map_err(|what| Violation { checker: name, what })?;
        }
        Ok(())
    }

    /// What is still owed, by the rule that says so.
    pub(crate) fn owed(&self) -> Option<Violation> {
        self.0.iter().find_map(|checker| {
            let what = checker.owed()?;
            Some(Violation { checker: checker.name(), what })
        })
    }
}
