//! A passage of a document that a task writes: what a program has printed, between two marks.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// Where the passage is.
pub(crate) struct Passage {
    /// The document, below the repository.
    pub(crate) document: &'static str,
    /// The line before it.
    pub(crate) begin: &'static str,
    /// The line behind it.
    pub(crate) end: &'static str,
}

impl Passage {
    /// The document with `text` as the passage, in place of what is there.
    ///
    /// # Errors
    /// If the document cannot be read or has lost a mark.
    pub(crate) fn filled(&self, repository: &Path, text: &str) -> anyhow::Result<String> {
        let document = fs::read_to_string(repository.join(self.document))
            .with_context(|| format!("cannot read {}", self.document))?;
        self.replace(&document, text).with_context(|| format!("{} lost a mark", self.document))
    }

    fn replace(&self, document: &str, text: &str) -> Option<String> {
        let (head, rest) = document.split_once(self.begin)?;
        let (_, tail) = rest.split_once(self.end)?;
        let (begin, end) = (self.begin, self.end);
        Some(format!("{head}{begin}```text\n{text}```\n{end}{tail}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Passage;

    const SAMPLE: Passage =
        Passage { document: "SAMPLE.md", begin: "<!-- it:begin -->\n", end: "<!-- it:end -->\n" };

    #[test]
    fn what_is_printed_replaces_the_old_and_nothing_else() {
        let document = "a\n<!-- it:begin -->\nold\n<!-- it:end -->\nb\n";
        let expected = "a\n<!-- it:begin -->\n```text\nnew\n```\n<!-- it:end -->\nb\n";
        assert_eq!(SAMPLE.replace(document, "new\n").unwrap(), expected);
    }

    #[test]
    fn a_document_without_its_marks_is_left_alone() {
        assert_eq!(SAMPLE.replace("a\n<!-- it:begin -->\nold\n", "new\n"), None);
    }
}
