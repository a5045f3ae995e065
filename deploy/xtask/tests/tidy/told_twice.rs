//! An error is told once: a type whose text holds its cause does not give it as its source as well.
//!
//! What a command prints on its end is the whole chain of causes, parted by colons. A cause that
//! stands in the text of the error above it would be read twice.

use syn::visit::{self, Visit};
use syn::{Attribute, Field, Fields, LitStr};

use crate::fault::{Fault, bites, refuse};
use crate::repository;
use crate::source::Source;

/// Finds the texts that `thiserror` is given.
struct Texts<'a> {
    path: &'a str,
    faults: Vec<Fault>,
}

impl Texts<'_> {
    fn check(&mut self, attributes: &[Attribute], fields: &Fields) {
        let text = attributes.iter().find(|it| it.path().is_ident("error")).and_then(text_of);
        let Some(text) = text else { return };
        for (position, field) in fields.iter().enumerate() {
            let name =
                field.ident.as_ref().map_or_else(|| position.to_string(), |it| it.to_string());
            let told =
                ["}", ":"].iter().any(|end| text.value().contains(&format!("{{{name}{end}")));
            if told && is_source(field) {
                let message = format!(
                    "the text holds `{name}`, and the chain of causes tells it again: name the \
                     field `error`, without `#[from]` and `#[source]`, or leave it out of the text"
                );
                self.faults.push(Fault::new(self.path, text.span().start().line, message));
            }
        }
    }
}

/// The literal of `#[error("..", ..)]`; `transparent` is none.
fn text_of(attribute: &Attribute) -> Option<LitStr> {
    attribute
        .parse_args_with(|input: syn::parse::ParseStream<'_>| {
            let text = input.parse::<LitStr>();
            let _: proc_macro2::TokenStream = input.parse()?;
            text
        })
        .ok()
}

fn is_source(field: &Field) -> bool {
    field.ident.as_ref().is_some_and(|name| name == "source")
        || field.attrs.iter().any(|it| it.path().is_ident("source") || it.path().is_ident("from"))
}

impl<'ast> Visit<'ast> for Texts<'_> {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.check(&item.attrs, &item.fields);
        visit::visit_item_struct(self, item);
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.check(&variant.attrs, &variant.fields);
        visit::visit_variant(self, variant);
    }
}

fn check(source: &Source) -> Vec<Fault> {
    let file = syn::parse_file(&source.text).expect("it was parsed before");
    let mut texts = Texts { path: &source.path, faults: Vec::new() };
    texts.visit_file(&file);
    texts.faults
}

#[test]
fn no_error_is_told_twice() {
    refuse(repository::sources().iter().flat_map(check));
}

#[test]
fn a_cause_in_the_text_and_in_the_chain_is_caught() {
    let sample = |text: &str| check(&Source::parse("a/src/b.rs", text));
    bites(sample("#[error(\"no: {source}\")]\nstruct A { source: E }"), &[1]);
    bites(sample("enum A {\n#[error(\"no: {0:?}\", 1)]\nB(#[from] E),\n}"), &[2]);
    bites(sample("enum A {\n#[error(\"{x} {cause}\")]\nB { x: u8, #[source] cause: E },\n}"), &[2]);
    bites(sample("enum A {\n#[error(\"no: {error}\")]\nB { error: E },\n}"), &[]);
    bites(
        sample(
            "enum A {\n#[error(\"no\")]\nB { source: E },\n#[error(transparent)]\nC(#[from] E) }",
        ),
        &[],
    );
}
