//! A statement as its words, for what needs no parser. Pure.

use super::lexer::{TokenKind, tokens};

/// The tokens of a statement that are no gaps.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    /// As they are written.
    pub(crate) written: Vec<String>,
    /// In capitals.
    pub(crate) upper: Vec<String>,
}

impl Words {
    pub(crate) fn of(sql: &str) -> Words {
        let all = tokens(sql).unwrap_or_default();
        let written: Vec<String> = all
            .iter()
            .filter(|token| token.kind != TokenKind::Gap)
            .map(|token| sql[token.range.clone()].to_owned())
            .collect();
        let upper = written.iter().map(|word| word.to_ascii_uppercase()).collect();
        Words { written, upper }
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.upper.iter().any(|other| other == word)
    }

    pub(crate) fn follow(&self, one: &str, other: &str) -> bool {
        self.upper.windows(2).any(|pair| pair[0] == one && pair[1] == other)
    }

    /// Whether these words begin at that place.
    pub(crate) fn are(&self, at: usize, words: &[&str]) -> bool {
        self.upper.get(at..at + words.len()).is_some_and(|found| found.iter().eq(words))
    }

    /// The place after these words, if they stand here; else this place.
    pub(crate) fn skip(&self, at: usize, words: &[&str]) -> usize {
        if self.are(at, words) { at + words.len() } else { at }
    }

    /// A name with the schema before it, and the place after it.
    pub(crate) fn name_at(&self, at: usize) -> Option<(String, usize)> {
        let mut name = self.written.get(at)?.clone();
        let mut next = at + 1;
        while self.written.get(next).is_some_and(|sign| sign == ".") {
            name = format!("{name}.{}", self.written.get(next + 1)?);
            next += 2;
        }
        Some((name, next))
    }

    /// The names of a list with commas.
    pub(crate) fn names_at(&self, mut at: usize) -> Vec<String> {
        let mut names = Vec::new();
        while let Some((name, next)) = self.name_at(at) {
            names.push(name);
            if self.upper.get(next).is_none_or(|sign| sign != ",") {
                break;
            }
            at = next + 1;
        }
        names
    }
}
