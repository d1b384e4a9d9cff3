//! SQL cut into the pieces that a fingerprint needs. Pure; linear in the text, and every text has an answer.
//!
//! A lexer of our own and no parser: it runs in every application, on texts that a parser may refuse, and it must know literals only.

/// A piece of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or a name without quotes.
    Word(&'a str),
    /// A name in double quotes, which are part of it.
    Quoted(&'a str),
    /// A string or a number: a value.
    Literal(&'a str),
    /// `$1`.
    Param(u16),
    /// An operator, or one of `( ) [ ] , ; .`.
    Symbol(&'a str),
}

impl Token<'_> {
    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// Whether it is this operator or sign.
    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self, Token::Symbol(this) if *this == symbol)
    }

    /// Whether a value stands here.
    pub(super) fn is_value(&self) -> bool {
        matches!(self, Token::Literal(_) | Token::Param(_))
    }
}

/// A string, a quoted name or a comment does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// A token, and whether anything stood between it and the one before.
pub(super) type Spaced<'a> = (Token<'a>, bool);

/// The tokens of `sql`. Comments are left out: they may hold values.
pub(super) fn tokens(sql: &str) -> Result<Vec<Spaced<'_>>, Unreadable> {
    let mut all = Vec::with_capacity(sql.len() / 5 + 4);
    gather(sql, &mut all).map(|()| all)
}

/// The tokens of a text whose end is missing, up to what is not whole.
pub(super) fn tokens_of_beginning(sql: &str) -> Vec<Spaced<'_>> {
    let mut all = Vec::with_capacity(sql.len() / 5 + 4);
    let _cut_in_the_middle = gather(sql, &mut all);
    all.pop();
    all
}

fn gather<'a>(sql: &'a str, all: &mut Vec<Spaced<'a>>) -> Result<(), Unreadable> {
    let mut lexer = Lexer { sql, bytes: sql.as_bytes(), at: 0 };
    loop {
        let before = lexer.at;
        lexer.skip_space()?;
        let apart = lexer.at > before;
        match lexer.next()? {
            Some(token) => all.push((token, apart)),
            None => return Ok(()),
        }
    }
}

struct Lexer<'a> {
    sql: &'a str,
    bytes: &'a [u8],
    at: usize,
}

const OPERATORS: &[u8] = b"+-*/<>=~!@#%^&|?:";

impl<'a> Lexer<'a> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_space(&mut self) -> Result<(), Unreadable> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (b' ' | b'\t' | b'\n' | b'\r' | 0x0c, _) => self.at += 1,
                (b'-', b'-') => self.skip_while(|byte| byte != b'\n'),
                (b'/', b'*') => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn skip_comment(&mut self) -> Result<(), Unreadable> {
        let mut depth = 0;
        while self.at < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => (depth, self.at) = (depth + 1, self.at + 2),
                (b'*', b'/') => (depth, self.at) = (depth - 1, self.at + 2),
                _ => self.at += 1,
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(Unreadable)
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.bytes.get(self.at).is_some_and(|&byte| wanted(byte)) {
            self.at += 1;
        }
    }

    fn since(&self, start: usize) -> &'a str {
        self.sql.get(start..self.at).unwrap_or("?")
    }

    fn next(&mut self) -> Result<Option<Token<'a>>, Unreadable> {
        let start = self.at;
        let Some(&byte) = self.bytes.get(start) else { return Ok(None) };
        let token = match byte {
            b'\'' => self.string(start, false)?,
            b'"' => {
                self.until_quote(b'"', false)?;
                Token::Quoted(self.since(start))
            }
            b'$' if self.peek(1).is_ascii_digit() => self.param(),
            b'$' => self.dollar(start)?,
            b'0'..=b'9' => self.number(start),
            b'.' if self.peek(1).is_ascii_digit() => self.number(start),
            b'_' | b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => self.word(start)?,
            _ if OPERATORS.contains(&byte) => self.operator(start),
            // One byte: what is not ASCII is a word.
            _ => {
                self.at += 1;
                Token::Symbol(self.since(start))
            }
        };
        Ok(Some(token))
    }

    /// Moves behind the closing quote; two of them are one of the text.
    fn until_quote(&mut self, quote: u8, escapes: bool) -> Result<(), Unreadable> {
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(Unreadable),
                Some(b'\\') if escapes => self.at += 2,
                Some(&byte) if byte == quote && self.peek(1) == quote => self.at += 2,
                Some(&byte) if byte == quote => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn string(&mut self, start: usize, escapes: bool) -> Result<Token<'a>, Unreadable> {
        self.until_quote(b'\'', escapes)?;
        Ok(Token::Literal(self.since(start)))
    }

    fn param(&mut self) -> Token<'a> {
        self.at += 1;
        let digits = self.at;
        self.skip_while(|byte| byte.is_ascii_digit());
        Token::Param(self.since(digits).parse().unwrap_or(u16::MAX))
    }

    /// `$tag$ .. $tag$`.
    fn dollar(&mut self, start: usize) -> Result<Token<'a>, Unreadable> {
        self.at += 1;
        self.skip_while(|byte| byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80);
        if self.peek(0) != b'$' {
            self.at = start + 1;
            return Ok(Token::Symbol(self.since(start)));
        }
        self.at += 1;
        let tag = self.since(start);
        let end = self.sql.get(self.at..).and_then(|rest| rest.find(tag)).ok_or(Unreadable)?;
        self.at += end + tag.len();
        Ok(Token::Literal(self.since(start)))
    }

    fn number(&mut self, start: usize) -> Token<'a> {
        let part = |byte: u8| byte == b'.' || byte == b'_' || byte.is_ascii_alphanumeric();
        loop {
            self.skip_while(part);
            let exponent = matches!(self.bytes.get(self.at.wrapping_sub(1)), Some(b'e' | b'E'));
            if exponent && matches!(self.peek(0), b'+' | b'-') && self.peek(1).is_ascii_digit() {
                self.at += 1;
            } else {
                return Token::Literal(self.since(start));
            }
        }
    }

    fn word(&mut self, start: usize) -> Result<Token<'a>, Unreadable> {
        self.skip_while(|byte| matches!(byte, b'_' | b'$' | 0x80..) || byte.is_ascii_alphanumeric());
        let word = self.since(start);
        match (word, self.peek(0), self.peek(1)) {
            ("e" | "E", b'\'', _) => self.string(start, true),
            ("b" | "B" | "x" | "X" | "n" | "N", b'\'', _) => self.string(start, false),
            ("u" | "U", b'&', b'\'') => {
                self.at += 1;
                self.string(start, false)
            }
            _ => Ok(Token::Word(word)),
        }
    }

    fn operator(&mut self, start: usize) -> Token<'a> {
        while OPERATORS.contains(&self.peek(0)) && !matches!((self.peek(0), self.peek(1)), (b'-', b'-') | (b'/', b'*'))
        {
            self.at += 1;
        }
        // `=-1` is an equals sign and a number: as in PostgreSQL, only operators with unusual signs end in a plus or minus.
        let unusual = self.bytes[start..self.at].iter().any(|byte| b"~!@#%^&|?".contains(byte));
        while self.at - start > 1 && !unusual && matches!(self.bytes[self.at - 1], b'+' | b'-') {
            self.at -= 1;
        }
        Token::Symbol(self.since(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(sql: &str) -> Vec<Token<'_>> {
        tokens(sql).unwrap().into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn values_are_found_however_they_are_written() {
        for value in [
            "'it''s'",
            "E'it\\'s'",
            "$$a$$",
            "$tag$ $$ ' $tag$",
            "1.5e-3",
            ".5",
            "0x1F",
            "B'101'",
            "U&'d\\0061'",
            "'\n'",
        ] {
            let sql = format!("a = {value} b");
            assert_eq!(kinds(&sql)[2..], [Token::Literal(value), Token::Word("b")], "{value}");
        }
        assert_eq!(kinds("$12::text"), [Token::Param(12), Token::Symbol("::"), Token::Word("text")]);
        assert_eq!(kinds("a=-1"), [Token::Word("a"), Token::Symbol("="), Token::Symbol("-"), Token::Literal("1")]);
    }

    #[test]
    fn comments_are_nothing() {
        assert_eq!(kinds("a /* 'x /* y */ */ -- z'\n b"), [Token::Word("a"), Token::Word("b")]);
    }

    #[test]
    fn what_does_not_end_is_unreadable() {
        for sql in ["'a", "\"a", "/* a", "$x$ a", "E'a\\'"] {
            assert_eq!(tokens(sql), Err(Unreadable), "{sql}");
        }
    }

    proptest! {
        #[test]
        fn every_text_has_an_answer(sql in ".*") {
            if let Ok(tokens) = tokens(&sql) {
                prop_assert!(tokens.len() <= sql.len());
            }
        }
    }
}
