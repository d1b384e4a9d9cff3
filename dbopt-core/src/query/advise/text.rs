//! A statement's text made ready for PREPARE: what stands for a value becomes a placeholder again.

use crate::query::lexer::{Token, tokens};
use crate::query::shape::Kind;
use crate::query::shape::Shape;

/// Why a statement cannot be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unprepared {
    /// Its end is missing.
    #[error("its text is cut off")]
    Cut,
    /// A string or a comment in it does not end.
    #[error("its text cannot be read")]
    Unreadable,
    /// It holds several statements.
    #[error("it is several statements in one text")]
    Script,
    /// BEGIN, SET, DDL.
    #[error("it has no plan")]
    NoPlan,
    /// Not ours to see.
    #[error("it is another user's: grant pg_read_all_stats to see it")]
    Hidden,
}

/// What a LIMIT that is not known is taken to be: the planner would think of a tenth of all rows.
const PAGE: &str = "100";

/// What stands for a list whose length is not known.
const LIST: usize = 5;

/// The text for PREPARE, and how many placeholders it has. A LIMIT by placeholder is taken to be 100, an OFFSET to be 0.
///
/// # Errors
/// For what has no plan, or no text.
pub fn prepared(sql: &str) -> Result<(String, usize), Unprepared> {
    if sql == "<insufficient privilege>" {
        return Err(Unprepared::Hidden);
    }
    // What stands for many, such as `(other)`.
    if sql.starts_with('(') && !sql.contains(' ') {
        return Err(Unprepared::NoPlan);
    }
    if sql.ends_with('…') {
        return Err(Unprepared::Cut);
    }
    let shape = Shape::of(sql).ok_or(Unprepared::Unreadable)?;
    match (shape.statements, shape.kind) {
        (_, Kind::Utility) => return Err(Unprepared::NoPlan),
        (1, _) => {}
        _ => return Err(Unprepared::Script),
    }
    let all = tokens(sql).map_err(|_| Unprepared::Unreadable)?;
    let mut writer = Writer { text: String::with_capacity(sql.len()), numbers: Vec::new(), count: 0 };
    let mut before: Option<Token<'_>> = None;
    for (at, &(token, apart)) in all.iter().enumerate() {
        if apart {
            writer.text.push(' ');
        }
        let is = |words: &[&str]| before.is_some_and(|token| words.iter().any(|word| token.is(word)));
        let paging = is(&["limit", "offset"]);
        match token {
            Token::Param(_) | Token::Symbol("?") if paging => {
                writer.text.push_str(if is(&["limit"]) { PAGE } else { "0" });
            }
            Token::Param(number) => writer.known(number),
            Token::Symbol("?") => writer.fresh(),
            Token::Symbol("." | ",") if rest_of_rows(&all, at) => {}
            Token::Symbol(";") => {}
            Token::Symbol(text) if text.len() > 1 && text.ends_with('?') => {
                writer.text.push_str(&text[..text.len() - 1]);
                writer.text.push(' ');
                writer.fresh();
            }
            Token::Symbol(".") if is_pair(&all, at) => writer.list(),
            Token::Word(text) | Token::Quoted(text) | Token::Literal(text) | Token::Symbol(text) => {
                writer.text.push_str(text);
            }
        }
        before = Some(token);
    }
    Ok((writer.text.trim().to_owned(), writer.count))
}

/// A statement as it may be shown: without its values.
pub fn without_values(sql: &str) -> String {
    crate::query::shape::without_values(sql)
}

struct Writer {
    text: String,
    /// What each number was, in the order of their appearance.
    numbers: Vec<(u16, usize)>,
    count: usize,
}

impl Writer {
    fn fresh(&mut self) {
        self.count += 1;
        self.text.push_str(&format!("${}", self.count));
    }

    fn known(&mut self, number: u16) {
        match self.numbers.iter().find(|(was, _)| *was == number) {
            Some((_, is)) => self.text.push_str(&format!("${is}")),
            None => {
                self.fresh();
                self.numbers.push((number, self.count));
            }
        }
    }

    fn list(&mut self) {
        for n in 0..LIST {
            if n > 0 {
                self.text.push_str(", ");
            }
            self.fresh();
        }
    }
}

fn symbol(all: &[(Token<'_>, bool)], at: Option<usize>, text: &str) -> bool {
    at.and_then(|at| all.get(at)).is_some_and(|(token, _)| token.is_symbol(text))
}

/// The first of the two dots of `(..)`.
fn is_pair(all: &[(Token<'_>, bool)], at: usize) -> bool {
    symbol(all, Some(at + 1), ".")
        && at.checked_sub(1).is_some_and(|before| symbol(all, Some(before), "(") || symbol(all, Some(before), "["))
}

/// The second dot of `(..)`, and all of `, ..` behind a row of VALUES.
fn rest_of_rows(all: &[(Token<'_>, bool)], at: usize) -> bool {
    let dot = |at: Option<usize>| symbol(all, at, ".");
    let before = |n: usize| at.checked_sub(n);
    match all[at].0 {
        Token::Symbol(",") => dot(Some(at + 1)) && dot(Some(at + 2)),
        Token::Symbol(".") => {
            let second = before(1).is_some() && dot(before(1));
            let first_of_rows = dot(Some(at + 1)) && before(1).is_some_and(|b| symbol(all, Some(b), ","));
            second || first_of_rows
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_values_becomes_placeholders() {
        let cases = [
            (
                "SELECT a FROM t WHERE b = $2 AND c = $1 AND d = $2",
                "SELECT a FROM t WHERE b = $1 AND c = $2 AND d = $1",
                2,
            ),
            (
                "SELECT a FROM t WHERE b = ? AND c=? LIMIT ? OFFSET $1",
                "SELECT a FROM t WHERE b = $1 AND c= $2 LIMIT 100 OFFSET 0",
                2,
            ),
            (
                "SELECT a FROM t WHERE b IN (..) AND c = $1;",
                "SELECT a FROM t WHERE b IN ($1, $2, $3, $4, $5) AND c = $6",
                6,
            ),
            ("INSERT INTO t (a) VALUES ($1), ..", "INSERT INTO t (a) VALUES ($1)", 1),
            ("SELECT a FROM t WHERE b = 'kept' /* not */", "SELECT a FROM t WHERE b = 'kept'", 0),
        ];
        for (sql, expected, count) in cases {
            assert_eq!(prepared(sql), Ok((expected.to_owned(), count)), "{sql}");
        }
    }

    #[test]
    fn what_cannot_be_explained_is_told() {
        let cases = [
            ("<insufficient privilege>", Unprepared::Hidden),
            ("SELECT a, …", Unprepared::Cut),
            ("SELECT 'a", Unprepared::Unreadable),
            ("SELECT 1; SELECT 2", Unprepared::Script),
            ("SET work_mem = 1", Unprepared::NoPlan),
            ("(other)", Unprepared::NoPlan),
        ];
        for (sql, expected) in cases {
            assert_eq!(prepared(sql), Err(expected), "{sql}");
        }
    }
}
