//! SQL as PostgreSQL's own lexer cuts it: where strings, quoted names, dollar quotes and comments begin and end. Pure.

use std::ops::Range;

/// What a token is, as far as it matters for cutting a script and recognising a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A key word or a name without quotes.
    Word,
    /// A name in double quotes.
    QuotedName,
    /// Text in quotes or between dollars.
    Text,
    /// A number, or a parameter such as `$1`.
    Number,
    /// Any other single character.
    Symbol,
    /// White space and comments.
    Gap,
}

/// A piece of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it is, in bytes.
    pub range: Range<usize>,
}

/// Something that is opened and never closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclosed {
    /// Where it was opened, in bytes.
    pub at: usize,
    /// What it is.
    pub what: &'static str,
    /// What closes it.
    pub close: &'static str,
}

/// Cuts `sql` into tokens that follow each other without a hole.
///
/// # Errors
/// For a string, name or comment that is never closed.
pub fn tokens(sql: &str) -> Result<Vec<Token>, Unclosed> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < sql.len() {
        let (kind, end) = next(sql, at)?;
        found.push(Token { kind, range: at..end });
        at = end;
    }
    Ok(found)
}

fn next(sql: &str, at: usize) -> Result<(TokenKind, usize), Unclosed> {
    let bytes = sql.as_bytes();
    let rest = &bytes[at..];
    let first = rest[0];
    Ok(match first {
        _ if first.is_ascii_whitespace() || first == 0x0b => {
            let end = rest.iter().position(|b| !b.is_ascii_whitespace() && *b != 0x0b).map_or(bytes.len(), |n| at + n);
            (TokenKind::Gap, end)
        }
        b'-' if rest.starts_with(b"--") => {
            let end = rest.iter().position(|b| *b == b'\n' || *b == b'\r').map_or(bytes.len(), |n| at + n);
            (TokenKind::Gap, end)
        }
        b'/' if rest.starts_with(b"/*") => (TokenKind::Gap, comment_end(bytes, at)?),
        b'\'' => (TokenKind::Text, quote_end(bytes, at, at, false)?),
        b'"' => (TokenKind::QuotedName, name_end(bytes, at, at)?),
        b'$' => match dollar_tag(bytes, at) {
            Some(tag_end) => (TokenKind::Text, dollar_end(sql, at, tag_end)?),
            None if rest.get(1).is_some_and(u8::is_ascii_digit) => (TokenKind::Number, digits_end(bytes, at + 1)),
            None => (TokenKind::Symbol, at + 1),
        },
        b'0'..=b'9' => (TokenKind::Number, digits_end(bytes, at)),
        _ if starts_word(first) => word(bytes, at)?,
        _ => (TokenKind::Symbol, at + 1),
    })
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn goes_on_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// A word, or the string that its letter introduces: `E'..'`, `U&'..'`, `B'..'`, `X'..'`, `N'..'`, `U&".."`.
fn word(bytes: &[u8], at: usize) -> Result<(TokenKind, usize), Unclosed> {
    let letter = bytes[at].to_ascii_lowercase();
    match (letter, bytes.get(at + 1), bytes.get(at + 2)) {
        (b'e', Some(b'\''), _) => return Ok((TokenKind::Text, quote_end(bytes, at, at + 1, true)?)),
        (b'b' | b'x' | b'n', Some(b'\''), _) => return Ok((TokenKind::Text, quote_end(bytes, at, at + 1, false)?)),
        (b'u', Some(b'&'), Some(b'\'')) => return Ok((TokenKind::Text, quote_end(bytes, at, at + 2, false)?)),
        (b'u', Some(b'&'), Some(b'"')) => return Ok((TokenKind::QuotedName, name_end(bytes, at, at + 2)?)),
        _ => {}
    }
    let end = bytes[at..].iter().position(|b| !goes_on_word(*b)).map_or(bytes.len(), |n| at + n);
    Ok((TokenKind::Word, end))
}

fn digits_end(bytes: &[u8], at: usize) -> usize {
    let digit = |b: &u8| b.is_ascii_alphanumeric() || *b == b'.' || *b == b'_';
    bytes[at..].iter().position(|b| !digit(b)).map_or(bytes.len(), |n| at + n)
}

/// The end of a string that opens at `open`; two quotes in a row are one inside it.
fn quote_end(bytes: &[u8], at: usize, open: usize, backslashes: bool) -> Result<usize, Unclosed> {
    let mut i = open + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' if backslashes => i += 2,
            b'\'' if bytes.get(i + 1) == Some(&b'\'') => i += 2,
            b'\'' => return Ok(i + 1),
            _ => i += 1,
        }
    }
    Err(Unclosed { at, what: "a string", close: "'" })
}

fn name_end(bytes: &[u8], at: usize, open: usize) -> Result<usize, Unclosed> {
    let mut i = open + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'"' if bytes.get(i + 1) == Some(&b'"') => i += 2,
            b'"' => return Ok(i + 1),
            _ => i += 1,
        }
    }
    Err(Unclosed { at, what: "a quoted name", close: "\"" })
}

/// Comments nest.
fn comment_end(bytes: &[u8], at: usize) -> Result<usize, Unclosed> {
    let (mut i, mut depth) = (at, 0_usize);
    while i < bytes.len() {
        if bytes[i..].starts_with(b"/*") {
            (i, depth) = (i + 2, depth + 1);
        } else if bytes[i..].starts_with(b"*/") {
            (i, depth) = (i + 2, depth - 1);
            if depth == 0 {
                return Ok(i);
            }
        } else {
            i += 1;
        }
    }
    Err(Unclosed { at, what: "a comment", close: "*/" })
}

/// The end of `$tag$`, if one stands here.
fn dollar_tag(bytes: &[u8], at: usize) -> Option<usize> {
    let tag = &bytes[at + 1..];
    let length = tag.iter().position(|b| *b == b'$')?;
    let valid = tag[..length].iter().enumerate().all(|(i, b)| starts_word(*b) || i > 0 && b.is_ascii_digit());
    valid.then_some(at + 1 + length + 1)
}

fn dollar_end(sql: &str, at: usize, tag_end: usize) -> Result<usize, Unclosed> {
    let tag = &sql[at..tag_end];
    let close = sql[tag_end..].find(tag);
    close.map(|n| tag_end + n + tag.len()).ok_or(Unclosed { at, what: "a dollar-quoted text", close: "its $tag$" })
}
