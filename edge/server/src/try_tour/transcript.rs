//! How the tour looks on the terminal: numbered steps, lines of who said what, and why it matters.
//!
//! Ids, tokens and tickets are shortened: a reader compares their ends.

use std::cell::Cell;

use crate::output;

/// Longest string that is shown whole, characters.
const WHOLE_CHARACTERS_MAX: usize = 31;
/// Characters shown of each end of a longer one.
const END_CHARACTERS: usize = 4;
/// Where lines are broken.
const COLUMNS: usize = 100;
/// Where what was said begins.
const INDENT: usize = 12;

thread_local! {
    /// The tour runs on one thread, and its steps are numbered as they come.
    static STEP: Cell<u32> = const { Cell::new(0) };
}

/// Begins a step.
pub(super) fn step(title: &str) {
    let number = STEP.get() + 1;
    STEP.set(number);
    output::say(&format!("{}{number}. {title}", if number > 1 { "\n" } else { "" }));
}

/// What is run.
pub(super) fn command(words: &str) {
    output::say(&format!("   $ {words}"));
}

/// What somebody says (`->`) or is told (`<-`), with long strings shortened.
pub(super) fn line(who: &str, arrow: &str, said: &str) {
    output::say(&broken(&format!("   {who:<5} {arrow} "), &shortened(said)));
}

/// Why the step matters.
pub(super) fn why(text: &str) {
    output::say(&format!("{:INDENT$}# {text}", ""));
}

/// Ends the tour.
pub(super) fn end(text: &str) {
    output::say(&format!("\n{text}"));
}

/// The text with its long strings (in quotes) shortened to their ends.
fn shortened(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    for (index, part) in text.split('"').enumerate() {
        if index > 0 {
            short.push('"');
        }
        let inside = index % 2 == 1;
        match part.len() > WHOLE_CHARACTERS_MAX && inside && part.is_ascii() {
            true => short.push_str(&ends(part)),
            false => short.push_str(part),
        }
    }
    short
}

/// The two ends of an id, token or ticket. Ids show their third group as well: it is where ids that
/// were made one after the other differ.
pub(super) fn ends(ascii: &str) -> String {
    let (head, tail) = (&ascii[..END_CHARACTERS], &ascii[ascii.len() - END_CHARACTERS..]);
    let groups = ascii.split('-').map(str::len);
    match groups.eq([8, 4, 4, 4, 12]) {
        true => format!("{head}..{}..{tail}", &ascii[14..18]),
        false => format!("{head}..{tail}"),
    }
}

/// The text behind the head, broken at commas where it is too long.
fn broken(head: &str, text: &str) -> String {
    let mut whole = head.to_owned();
    let mut column = head.len();
    for part in text.split_inclusive(',') {
        if column + part.len() > COLUMNS && column > INDENT {
            whole.push('\n');
            whole.push_str(&" ".repeat(INDENT));
            column = INDENT;
        }
        whole.push_str(part);
        column += part.len();
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::{broken, shortened};

    #[test]
    fn long_strings_show_their_ends_and_short_ones_all() {
        let text = r#"{"id":"1edad2c4-8db4-67d0-8001-030000000001","status":"sent","push":12}"#;
        assert_eq!(shortened(text), r#"{"id":"1eda..67d0..0001","status":"sent","push":12}"#);
    }

    #[test]
    fn long_lines_break_at_commas() {
        let part = "x".repeat(59);
        let text = broken("   bob   -> ", &format!("{part},{part},{part}"));
        let lines = text.lines().map(str::len).collect::<Vec<_>>();
        assert_eq!(lines, [72, 72, 71]);
    }
}
