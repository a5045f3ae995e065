//! A Rust file as a flat row of tokens: comments gone, macros and their bodies included.
//!
//! Rules that look for a call or a keyword match on tokens and not on the syntax tree, because
//! the tree does not reach into the bodies of macros, and not on text, because text has comments.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One token with the line it begins on, from 1.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// The tokens in order; brackets are tokens of their own.
pub(crate) fn flatten(stream: TokenStream) -> Vec<Token> {
    let mut row = Vec::new();
    collect(stream, &mut row);
    row
}

fn collect(stream: TokenStream, row: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                row.push(Token { text: open.to_owned(), line });
                collect(group.stream(), row);
                let line = group.span_close().end().line;
                row.push(Token { text: close.to_owned(), line });
            }
            tree => row.push(Token { text: tree.to_string(), line }),
        }
    }
}
