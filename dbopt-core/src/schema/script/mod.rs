//! A script of SQL, cut into its statements. Pure.

mod kind;
mod lexer;
#[cfg(test)]
mod tests;
mod words;

use std::ops::Range;

pub use kind::{Alone, Kind};
pub use lexer::{Token, TokenKind, Unclosed, tokens};
pub(crate) use words::Words;

/// A script and where its statements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    text: String,
    statements: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    /// What stands before it since the statement before: white space and comments.
    lead: usize,
    range: Range<usize>,
    line: usize,
    kind: Kind,
}

/// A statement of a script.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// Its text, without the semicolon and what stands around it.
    pub sql: &'a str,
    /// The comments and white space before it.
    pub lead: &'a str,
    /// The line it begins on, from 1.
    pub line: usize,
    /// What it needs.
    pub kind: &'a Kind,
}

impl Script {
    /// Cuts `text` into statements.
    ///
    /// # Errors
    /// For a string, name or comment that is never closed: the line where it was opened, and what closes it.
    pub fn parse(text: &str) -> Result<Script, String> {
        let all = tokens(text).map_err(|open| {
            let line = line_of(text, open.at);
            format!("line {line}: {} is opened here and never closed; write {} where it ends", open.what, open.close)
        })?;
        let (mut statements, mut lead, mut from) = (Vec::new(), 0, 0);
        let mut inside = Inside::default();
        for (i, token) in all.iter().enumerate() {
            let sign = &text[token.range.clone()];
            inside.take(token.kind, sign, || next_word(text, &all[i + 1..]));
            if token.kind == TokenKind::Symbol && sign == ";" && inside.is_outermost() {
                push(text, &all[from..i], lead, &mut statements);
                (from, lead) = (i + 1, token.range.end);
                inside = Inside::default();
            }
        }
        push(text, &all[from..], lead, &mut statements);
        Ok(Script { text: text.to_owned(), statements })
    }

    /// Its statements, in order.
    pub fn statements(&self) -> impl ExactSizeIterator<Item = Statement<'_>> {
        self.statements.iter().map(|piece| Statement {
            sql: &self.text[piece.range.clone()],
            lead: &self.text[piece.lead..piece.range.start],
            line: piece.line,
            kind: &piece.kind,
        })
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }
}

impl Statement<'_> {
    /// The line of a character of the statement, counted from 1 as PostgreSQL's error positions are.
    pub fn line_at(&self, position: u32) -> usize {
        let before = self.sql.chars().take((position as usize).saturating_sub(1));
        self.line + before.filter(|c| *c == '\n').count()
    }

    /// Its first line, shortened for a message.
    pub fn summary(&self) -> String {
        let words = self.sql.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.chars().count() <= 80 { words } else { words.chars().take(77).chain("...".chars()).collect() }
    }
}

fn push(text: &str, tokens: &[Token], lead: usize, statements: &mut Vec<Piece>) {
    let mut solid = tokens.iter().filter(|token| token.kind != TokenKind::Gap);
    let Some(first) = solid.next() else { return };
    let last = solid.next_back().unwrap_or(first);
    let range = first.range.start..last.range.end;
    let kind = Kind::of(&text[range.clone()]);
    statements.push(Piece { lead, line: line_of(text, range.start), range, kind });
}

/// The line of a byte, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn next_word<'a>(text: &'a str, tokens: &[Token]) -> &'a str {
    let next = tokens.iter().find(|token| token.kind != TokenKind::Gap);
    next.map_or("", |token| &text[token.range.clone()])
}

/// Where in a statement a semicolon does not end it: in parentheses, and in a body that begins with `BEGIN ATOMIC`.
#[derive(Default)]
struct Inside {
    words: Vec<String>,
    parentheses: usize,
    blocks: usize,
}

impl Inside {
    fn is_outermost(&self) -> bool {
        self.parentheses == 0 && self.blocks == 0
    }

    fn take<'a>(&mut self, kind: TokenKind, text: &str, next: impl FnOnce() -> &'a str) {
        match (kind, text) {
            (TokenKind::Symbol, "(") => self.parentheses += 1,
            (TokenKind::Symbol, ")") => self.parentheses = self.parentheses.saturating_sub(1),
            (TokenKind::Word, word) => self.word(word, next),
            _ => {}
        }
    }

    fn word<'a>(&mut self, word: &str, next: impl FnOnce() -> &'a str) {
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        if self.words.len() < 4 {
            self.words.push(word.to_ascii_lowercase());
        }
        if self.parentheses > 0 || !self.makes_routine() {
            return;
        }
        if is("begin") && self.blocks == 0 && next().eq_ignore_ascii_case("atomic") || is("case") && self.blocks > 0 {
            self.blocks += 1;
        } else if is("end") && self.blocks > 0 {
            self.blocks -= 1;
        }
    }

    fn makes_routine(&self) -> bool {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        matches!(
            words.as_slice(),
            ["create", "function" | "procedure", ..] | ["create", "or", "replace", "function" | "procedure", ..]
        )
    }
}
