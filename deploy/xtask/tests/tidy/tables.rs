//! Tables of documents that name things of the code, one per row.

use std::collections::BTreeSet;

/// The names in the first column of a document's tables: ``| `name` | ...``.
pub(crate) fn first_column(document: &str) -> BTreeSet<String> {
    let name = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
    document.lines().filter_map(name).collect()
}

#[test]
fn names_in_the_first_column_are_found_and_no_others() {
    let document = "`a` is no row\n| name | why |\n|---|---|\n| `b` | as `c` |\n| d | `e` |\n";
    assert_eq!(first_column(document), BTreeSet::from(["b".to_owned()]));
}
