//! One Rust file, parsed: its text, tokens, functions, and which of its lines are tests.
//!
//! Tests are: files below `tests/`, `benches/` or `examples/`, files named `tests.rs`, files of
//! modules declared under `#[cfg(test)]`, and items under `#[cfg(test)]`.

use std::ops::RangeInclusive;
use std::str::FromStr;

use proc_macro2::TokenStream;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta};

use crate::tokens::{self, Token};

/// A Rust file.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    pub(crate) functions: Vec<Function>,
    pub(crate) modules: Vec<Module>,
    test_lines: Vec<RangeInclusive<usize>>,
    test_modules: Vec<String>,
    all_test: bool,
}

/// A function with a body.
pub(crate) struct Function {
    pub(crate) name: String,
    /// From the signature to the closing brace; attributes and documentation do not count.
    pub(crate) lines: RangeInclusive<usize>,
}

/// A module, inline or in a file of its own.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) line: usize,
}

impl Source {
    /// Parses the text of the file at `path`.
    ///
    /// # Panics
    /// When it is no Rust.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|fault| panic!("{path}: {fault}"));
        let stream = TokenStream::from_str(text).expect("what parses as a file has tokens");
        let mut survey = Survey::default();
        survey.visit_file(&file);
        let folder = module_folder(path);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens: tokens::flatten(stream),
            functions: survey.functions,
            modules: survey.modules,
            test_lines: survey.test_lines,
            test_modules: survey
                .test_modules
                .iter()
                .map(|name| format!("{folder}/{name}"))
                .collect(),
            all_test: is_test_path(path) || file.attrs.iter().any(is_cfg_test),
        }
    }

    /// Whether this line is part of a test.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.all_test || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// How many lines are not tests.
    pub(crate) fn lines_of_code(&self) -> usize {
        (1..=self.text.lines().count()).filter(|line| !self.is_test_line(*line)).count()
    }

    /// Files of modules that this file declares under `#[cfg(test)]`, without `.rs`.
    pub(crate) fn test_modules(&self) -> Vec<String> {
        self.test_modules.clone()
    }

    /// Whether this is the file of `module` or of a module below it.
    pub(crate) fn belongs_to(&self, module: &str) -> bool {
        self.path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }

    pub(crate) fn mark_as_test(&mut self) {
        self.all_test = true;
    }

    /// Lines outside of tests on which these tokens stand in a row.
    pub(crate) fn lines_with<const N: usize>(&self, row: [&str; N]) -> Vec<usize> {
        self.all_lines_with(row).into_iter().filter(|line| !self.is_test_line(*line)).collect()
    }

    /// Lines on which these tokens stand in a row, tests included.
    pub(crate) fn all_lines_with<const N: usize>(&self, row: [&str; N]) -> Vec<usize> {
        self.tokens
            .windows(N)
            .filter(|window| window.iter().zip(row).all(|(token, text)| token.text == text))
            .map(|window| window[0].line)
            .collect()
    }
}

fn is_test_path(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || path.split('/').any(|part| matches!(part, "tests" | "benches" | "examples"))
}

/// Where the modules of a file live: beside `lib.rs`, `main.rs` and `mod.rs`, else below it.
fn module_folder(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

/// `#[cfg(test)]`, also as one of `all(..)`, but not `not(test)`.
fn is_cfg_test(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    let words = tokens::flatten(list.tokens.clone());
    list.path.is_ident("cfg")
        && words.iter().any(|word| word.text == "test")
        && words.iter().all(|word| word.text != "not" && word.text != "any")
}

#[derive(Default)]
struct Survey {
    functions: Vec<Function>,
    modules: Vec<Module>,
    test_lines: Vec<RangeInclusive<usize>>,
    test_modules: Vec<String>,
}

impl Survey {
    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let lines = signature.span().start().line..=body.span().end().line;
        self.functions.push(Function { name: signature.ident.to_string(), lines });
    }
}

impl<'ast> Visit<'ast> for Survey {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_cfg_test) {
            self.test_lines.push(item.span().start().line..=item.span().end().line);
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let name = module.ident.to_string();
        if module.content.is_none() && module.attrs.iter().any(is_cfg_test) {
            self.test_modules.push(name.clone());
        }
        self.modules.push(Module { name, line: module.ident.span().start().line });
        visit::visit_item_mod(self, module);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.function(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[test]
fn lines_under_cfg_test_are_tests_and_others_are_not() {
    let source = Source::parse(
        "a/src/b.rs",
        "fn one() {}\n#[cfg(test)]\nmod tests {\n    fn two() {}\n}\n#[cfg(not(test))]\nfn three() {}\n",
    );
    let tests = (1..=7).filter(|line| source.is_test_line(*line)).collect::<Vec<_>>();
    assert_eq!(tests, [2, 3, 4, 5]);
    assert_eq!(source.lines_of_code(), 3);
}

#[test]
fn tokens_are_found_in_the_bodies_of_macros_and_not_in_comments_or_strings() {
    let source = Source::parse(
        "a/src/b.rs",
        "// x.unwrap()\nconst A: &str = \"x.unwrap()\";\nselect! { x => { y.unwrap() } }\n",
    );
    assert_eq!(source.lines_with([".", "unwrap", "("]), [3]);
}

#[test]
fn files_below_tests_are_tests() {
    for path in ["a/tests/b.rs", "a/tests/b/c.rs", "a/src/b/tests.rs", "a/benches/d.rs"] {
        assert!(Source::parse(path, "fn a() {}\n").is_test_line(1), "{path}");
    }
    assert!(!Source::parse("a/src/attests.rs", "fn a() {}\n").is_test_line(1));
}
