//! What a statement looks like without its values: its normalised text, and what its values are good for. Pure.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::lexer::{Spaced, Token, tokens, tokens_of_beginning};

/// A text is shown up to this length.
const SHOWN: usize = 2048;

/// What a statement does, as far as insight cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// SELECT, WITH, VALUES, TABLE.
    Read,
    /// INSERT.
    Insert,
    /// UPDATE and MERGE.
    Update,
    /// DELETE.
    Delete,
    /// Everything that has no plan: BEGIN, SET, DDL.
    Utility,
}

impl Kind {
    /// Whether the planner has something to say of it.
    pub fn has_plan(self) -> bool {
        self != Kind::Utility
    }

    fn of(first: Option<&Token<'_>>) -> Kind {
        let Some(Token::Word(word)) = first else {
            return if first.is_some_and(|token| token.is_symbol("(")) { Kind::Read } else { Kind::Utility };
        };
        match word.to_ascii_lowercase().as_str() {
            "select" | "with" | "values" | "table" => Kind::Read,
            "insert" => Kind::Insert,
            "update" | "merge" => Kind::Update,
            "delete" => Kind::Delete,
            _ => Kind::Utility,
        }
    }
}

/// The column by which a statement looks for one row, or for the rows of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyColumn {
    pub(super) table: String,
    pub(super) column: String,
    /// The number of the placeholder it is compared with.
    pub(super) param: u16,
}

/// A statement without its values.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// The same in all processes.
    pub(super) id: u64,
    pub(super) text: String,
    pub(super) kind: Kind,
    /// Statements in the text.
    pub(super) statements: usize,
    /// The highest placeholder.
    pub(super) params: u16,
    /// Of the first 64 placeholders, those that say which rows are meant; not a page's borders, nor what is to be written.
    pub(super) identifying: u64,
    /// The same of values that are written into the text, as one number.
    pub(super) literals: u64,
    /// It takes many keys at once already.
    pub(super) batch: bool,
    /// It reads or writes a table.
    pub(super) has_table: bool,
    /// dbopt's own question to the server.
    pub(super) own: bool,
    pub(super) key: Option<KeyColumn>,
}

/// dbopt's own statements on the connections of calls.
const OWN: [&str; 4] = ["pg_current_wal_insert_lsn", "pg_last_wal_replay_lsn", "pg_current_xact_id", "dbopt_"];

/// What a value is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Identifies,
    /// A limit, an offset, a border of a range.
    Pages,
    /// One of many, or a list of many.
    OneOfMany,
    /// What an UPDATE writes.
    Written,
}

impl Shape {
    /// The shape of `sql`; `None` when a string or a comment in it does not end.
    pub(super) fn of(sql: &str) -> Option<Shape> {
        tokens(sql).ok().map(|tokens| Shape::made_of(&tokens))
    }

    /// The shape of a text whose end is missing.
    pub(super) fn of_beginning(sql: &str) -> Shape {
        Shape::made_of(&tokens_of_beginning(sql))
    }

    fn made_of(tokens: &[Spaced<'_>]) -> Shape {
        let plain: Vec<Token<'_>> = tokens.iter().map(|(token, _)| *token).collect();
        let kind = Kind::of(plain.first());
        let mut writer = Writer::default();
        let mut shape = Shape {
            id: 0,
            text: String::new(),
            kind,
            statements: 1 + plain.windows(2).filter(|pair| pair[0].is_symbol(";")).count(),
            params: 0,
            identifying: 0,
            literals: 0,
            batch: false,
            has_table: plain.iter().any(|t| t.is("from") || t.is("into") || t.is("update")),
            own: plain
                .iter()
                .any(|t| matches!(t, Token::Word(w) | Token::Quoted(w) if OWN.iter().any(|own| w.contains(own)))),
            key: None,
        };
        let mut literals = SipHasher13::new_with_keys(0, 0);
        let roles = roles(&plain, kind);
        for (i, token) in plain.iter().enumerate().filter(|(_, token)| token.is_value()) {
            let identifies = match roles[i] {
                Role::Identifies => true,
                Role::OneOfMany => {
                    shape.batch = true;
                    false
                }
                Role::Pages | Role::Written => false,
            };
            match token {
                Token::Param(n) => {
                    shape.params = shape.params.max(*n);
                    if identifies && (1..=64).contains(n) {
                        shape.identifying |= 1 << (n - 1);
                    }
                    if identifies && shape.key.is_none() {
                        shape.key = key_column(&plain, i, *n);
                    }
                }
                Token::Literal(text) if identifies => {
                    literals.write(text.as_bytes());
                    literals.write_u8(0);
                }
                _ => {}
            }
        }
        let mut i = 0;
        while i < tokens.len() {
            i = writer.write(tokens, i);
        }
        shape.literals = literals.finish();
        (shape.id, shape.text) = writer.finish();
        shape
    }
}

/// What each value is good for; of other tokens it means nothing.
fn roles(tokens: &[Token<'_>], kind: Kind) -> Vec<Role> {
    let mut roles = vec![Role::Identifies; tokens.len()];
    // What surrounds the current token, one entry per open parenthesis.
    let mut around: Vec<Role> = Vec::new();
    let mut written = false;
    let mut rows = 0;
    let many_rows = has_many_rows(tokens);
    for (i, token) in tokens.iter().enumerate() {
        let before = |n: usize| i.checked_sub(n).map(|at| tokens[at]);
        match token {
            Token::Symbol("(" | "[") => {
                let outer = around.last().copied().unwrap_or(Role::Identifies);
                let role = match before(1) {
                    Some(word) if word.is("any") || word.is("all") || word.is("in") || word.is("array") => {
                        Role::OneOfMany
                    }
                    Some(word) if word.is("unnest") => Role::OneOfMany,
                    Some(Token::Symbol("<" | ">" | "<=" | ">=")) => Role::Pages,
                    Some(word) if word.is("values") => {
                        rows += 1;
                        if many_rows { Role::OneOfMany } else { outer }
                    }
                    Some(Token::Symbol(",")) if rows > 0 && around.is_empty() => Role::OneOfMany,
                    _ => outer,
                };
                around.push(role);
            }
            Token::Symbol(")" | "]") => drop(around.pop()),
            Token::Word(word) if around.is_empty() && kind == Kind::Update => {
                written = match word.to_ascii_lowercase().as_str() {
                    "set" => true,
                    "where" | "from" | "returning" => false,
                    _ => written,
                };
            }
            _ => {}
        }
        if !token.is_value() {
            continue;
        }
        let range = |token: Option<&Token<'_>>| matches!(token, Some(Token::Symbol("<" | ">" | "<=" | ">=")));
        let paging = |token: Option<Token<'_>>| {
            token.is_some_and(|t| ["limit", "offset", "fetch", "first", "next", "between"].iter().any(|w| t.is(w)))
        };
        let second_of_between = before(1).is_some_and(|t| t.is("and")) && before(3).is_some_and(|t| t.is("between"));
        roles[i] = match around.last() {
            Some(role) if *role != Role::Identifies => *role,
            _ if paging(before(1)) || second_of_between => Role::Pages,
            _ if range(before(1).as_ref()) || range(tokens.get(i + 1)) => Role::Pages,
            _ if written => Role::Written,
            _ => Role::Identifies,
        };
    }
    roles
}

/// Whether there is `VALUES (..), (..)`.
fn has_many_rows(tokens: &[Token<'_>]) -> bool {
    let (mut depth, mut after_values) = (0i32, false);
    tokens.windows(2).any(|pair| {
        depth += i32::from(pair[0].is_symbol("(")) - i32::from(pair[0].is_symbol(")"));
        after_values |= pair[0].is("values");
        after_values && depth == 0 && pair[0].is_symbol(",") && pair[1].is_symbol("(")
    })
}

fn name(token: &Token<'_>) -> Option<String> {
    match token {
        Token::Word(word) => Some((*word).to_owned()),
        Token::Quoted(quoted) => Some(quoted.trim_matches('"').to_owned()),
        _ => None,
    }
}

/// `"table"."column" = $n` in front of the placeholder at `at`.
fn key_column(tokens: &[Token<'_>], at: usize, param: u16) -> Option<KeyColumn> {
    let before = |n: usize| at.checked_sub(n).and_then(|i| tokens.get(i));
    if !before(1)?.is_symbol("=") {
        return None;
    }
    let column = name(before(2)?)?;
    let table = match before(3) {
        Some(dot) if dot.is_symbol(".") => name(before(4)?)?,
        _ => {
            let from = tokens.iter().position(|t| t.is("from") || t.is("update"))?;
            name(tokens.get(from + 1)?)?
        }
    };
    Some(KeyColumn { table, column, param })
}

/// Writes the normalised text, and hashes it with its words in lower case.
#[derive(Default)]
struct Writer {
    text: String,
    hashed: Vec<u8>,
    /// Placeholders get the numbers of their first appearance: those in lists take none.
    numbers: Vec<u16>,
}

impl Writer {
    /// Writes what stands at `i`; gives the place behind it.
    fn write(&mut self, tokens: &[Spaced<'_>], i: usize) -> usize {
        let (token, apart) = tokens[i];
        let before = i.checked_sub(1).map(|at| tokens[at].0);
        let tight = match (before, token) {
            (None, _) => true,
            (Some(Token::Symbol("(" | "." | "[" | "::")), _) => true,
            (_, Token::Symbol(")" | "," | "." | ";" | "]" | "::")) => true,
            (_, Token::Symbol("(" | "[")) => !apart,
            _ => false,
        };
        if !tight {
            self.put(" ");
        }
        match token {
            Token::Literal(_) => self.put("?"),
            Token::Param(n) => {
                let known = self.numbers.iter().position(|&seen| seen == n);
                let number = known.unwrap_or_else(|| {
                    self.numbers.push(n);
                    self.numbers.len() - 1
                });
                self.put(&format!("${}", number + 1));
            }
            Token::Word(word) => {
                self.text.push_str(word);
                self.hashed.extend(word.bytes().map(|byte| byte.to_ascii_lowercase()));
            }
            Token::Quoted(text) | Token::Symbol(text) => self.put(text),
        }
        let opens = token.is_symbol("(") || token.is_symbol("[");
        let list = opens && before.is_some_and(|word| word.is("in") || word.is("array"));
        if list && let Some(end) = end_of_values(tokens, i + 1) {
            self.put("..");
            return end;
        }
        if token.is_symbol(")")
            && let Some(end) = end_of_rows(tokens, i)
        {
            self.put(", ..");
            return end;
        }
        i + 1
    }

    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.hashed.extend_from_slice(text.as_bytes());
    }

    fn finish(mut self) -> (u64, String) {
        // Fixed for ever, so that a fingerprint has one name on all instances and in all versions.
        let mut hasher = SipHasher13::new_with_keys(0x6462_6f70_745f_6670, 0x7374_6174_656d_656e);
        hasher.write(&self.hashed);
        if self.text.len() > SHOWN {
            let end = (0..=SHOWN).rev().find(|&at| self.text.is_char_boundary(at)).unwrap_or(0);
            self.text.truncate(end);
            self.text.push_str(" …");
        }
        (hasher.finish(), self.text)
    }
}

/// The place of the bracket that ends a list of nothing but values, which begins at `from`.
fn end_of_values(tokens: &[Spaced<'_>], from: usize) -> Option<usize> {
    let mut i = from;
    let mut values = 0;
    loop {
        let (token, _) = tokens.get(i)?;
        match token {
            Token::Symbol(")" | "]") if values > 0 => return Some(i),
            Token::Symbol("," | "-" | "::") => {}
            Token::Literal(_) | Token::Param(_) => values += 1,
            Token::Word(word) if tokens[i - 1].0.is_symbol("::") || word.eq_ignore_ascii_case("null") => {}
            _ => return None,
        }
        i += 1;
    }
}

/// Behind a row of VALUES that ends at `at`: the place behind the further rows, if there are any.
fn end_of_rows(tokens: &[Spaced<'_>], at: usize) -> Option<usize> {
    let next = |i: usize, symbol: &str| tokens.get(i).is_some_and(|(token, _)| token.is_symbol(symbol));
    if !(next(at + 1, ",") && next(at + 2, "(") && follows_values(tokens, at)) {
        return None;
    }
    let (mut i, mut depth) = (at + 1, 0);
    loop {
        match tokens.get(i).map(|(token, _)| token) {
            Some(Token::Symbol("(")) => depth += 1,
            Some(Token::Symbol(")")) => depth -= 1,
            Some(Token::Symbol(",")) if depth == 0 => {}
            None => return Some(i),
            Some(_) if depth == 0 => return Some(i),
            Some(_) => {}
        }
        i += 1;
    }
}

/// Whether the parenthesis that closes at `at` was opened right behind VALUES.
fn follows_values(tokens: &[Spaced<'_>], at: usize) -> bool {
    let mut depth = 0;
    for i in (0..=at).rev() {
        match tokens[i].0 {
            Token::Symbol(")") => depth += 1,
            Token::Symbol("(") => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i > 0 && tokens[i - 1].0.is("values");
        }
    }
    false
}

/// A text of the server, such as a condition of a plan, without the values in it.
pub(super) fn without_values(text: &str) -> String {
    match tokens(text) {
        Ok(tokens) => {
            let mut shown = String::with_capacity(text.len());
            for (token, apart) in tokens {
                if apart && !shown.is_empty() {
                    shown.push(' ');
                }
                match token {
                    Token::Literal(_) => shown.push('?'),
                    Token::Param(n) => shown.push_str(&format!("${n}")),
                    Token::Word(text) | Token::Quoted(text) | Token::Symbol(text) => shown.push_str(text),
                }
            }
            shown
        }
        Err(_) => "(not shown: it cannot be read)".into(),
    }
}

#[cfg(test)]
mod tests;
