//! SPDX expressions: `(MIT OR Apache-2.0) AND Unicode-3.0`, and the older `MIT/Apache-2.0`.

/// Whether the allowed licences satisfy an expression; none if it cannot be read.
pub(super) fn satisfied(text: &str, allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut parser = Parser { words: spaced.split_whitespace().collect(), at: 0, allowed };
    let answer = parser.either()?;
    (parser.at == parser.words.len()).then_some(answer)
}

struct Parser<'a> {
    words: Vec<&'a str>,
    at: usize,
    allowed: &'a dyn Fn(&str) -> bool,
}

impl Parser<'_> {
    /// AND binds more tightly than OR.
    fn either(&mut self) -> Option<bool> {
        let mut answer = self.both()?;
        while self.take("OR") {
            answer |= self.both()?;
        }
        Some(answer)
    }

    fn both(&mut self) -> Option<bool> {
        let mut answer = self.licence()?;
        while self.take("AND") {
            answer &= self.licence()?;
        }
        Some(answer)
    }

    fn licence(&mut self) -> Option<bool> {
        if self.take("(") {
            let answer = self.either()?;
            return self.take(")").then_some(answer);
        }
        let name = *self.words.get(self.at).filter(|word| !["AND", "OR", "WITH", ")"].contains(word))?;
        self.at += 1;
        if self.take("WITH") {
            // An exception only permits more.
            self.words.get(self.at)?;
            self.at += 1;
        }
        Some((self.allowed)(name))
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.words.get(self.at) == Some(&word);
        self.at += usize::from(is_next);
        is_next
    }
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    #[test]
    fn expressions_mean_what_spdx_says() {
        let judge = |text| satisfied(text, &|name| ["MIT", "Apache-2.0", "Unicode-3.0"].contains(&name));
        for right in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "GPL-3.0 AND BSD-3-Clause OR MIT",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert_eq!(judge(right), Some(true), "{right}");
        }
        for wrong in
            ["GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-3.0 OR AGPL-3.0)", "GPL-2.0 WITH Classpath-exception-2.0"]
        {
            assert_eq!(judge(wrong), Some(false), "{wrong}");
        }
        for unreadable in ["", "MIT OR", "(MIT", "MIT Apache-2.0", "OR MIT"] {
            assert_eq!(judge(unreadable), None, "{unreadable}");
        }
    }
}
