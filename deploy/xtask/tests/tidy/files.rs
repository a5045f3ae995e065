//! Files are opened by name in one place, `storage/files`, which says what is asked of a name.
//!
//! Files of the kernel are no concern of it: a line that names one may open it.

use crate::fault::{Fault, bites, refuse};
use crate::repository;
use crate::source::Source;

/// Where the product's code stands that touches disks.
const PRODUCT: [&str; 3] = ["edge/", "storage/", "core/"];

/// The place, and those who open what is no file of the product.
const ALLOWED: [(&str, &str); 5] = [
    ("storage/files/src/", "the place"),
    ("storage/journal/src/device/glommio.rs", "a library opens it; it is given the flags"),
    ("edge/server/src/host.rs", "files of the kernel, by names that it tells"),
    ("edge/server/src/try_tour/", "the tour's own directory, made for one run"),
    ("storage/store/src/conformance/", "tests"),
];

/// What opens, reads or writes by a name.
const OPENS: [[&str; 4]; 5] = [
    ["File", ":", ":", "open"],
    ["File", ":", ":", "create"],
    ["fs", ":", ":", "read_to_string"],
    ["fs", ":", ":", "write"],
    ["fs", ":", ":", "copy"],
];

/// Names of the kernel's files begin so.
const KERNEL: [&str; 3] = ["\"/proc", "\"/dev", "\"/sys"];

fn check(source: &Source) -> Vec<Fault> {
    let is_product = PRODUCT.iter().any(|folder| source.path.starts_with(folder));
    if !is_product || ALLOWED.iter().any(|(path, _)| source.path.starts_with(path)) {
        return Vec::new();
    }
    let text: Vec<&str> = source.text.lines().collect();
    let is_kernels = |line: usize| KERNEL.iter().any(|name| text[line - 1].contains(name));
    let mut lines: Vec<usize> = OPENS.iter().flat_map(|row| source.lines_with(*row)).collect();
    lines.extend(source.lines_with(["fs", ":", ":", "read", "("]));
    lines.extend(source.lines_with(["OpenOptions", ":", ":", "new"]));
    lines.retain(|line| !is_kernels(*line));
    lines.sort_unstable();
    let message = "a file is opened by `ringpost_files`, which asks whose it is and what it is";
    lines.into_iter().map(|line| Fault::new(&source.path, line, message)).collect()
}

#[test]
fn files_are_opened_in_one_place() {
    refuse(repository::sources().iter().flat_map(check));
}

#[test]
fn a_file_that_is_opened_elsewhere_is_caught() {
    let sample = |path: &str| {
        let text = "fn a() {\nFile::open(b);\nstd::fs::read(b);\nOpenOptions::new();\n\
                    File::open(\"/dev/urandom\");\nfs::read_dir(b);\n}";
        check(&Source::parse(path, text))
    };
    bites(sample("edge/a/src/b.rs"), &[2, 3, 4]);
    bites(sample("edge/a/tests/b.rs"), &[]);
    bites(sample("storage/files/src/b.rs"), &[]);
    bites(sample("bench/a/src/b.rs"), &[]);
}
