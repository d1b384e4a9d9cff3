//! Patterns that name many tags or entries at once: `*` stands for any text, everything else for itself.

use std::fmt;

/// A pattern such as `user:*`.
///
/// Only `*` is special. Redis' own `?`, `[` and `\` are ordinary text here, so that a name taken from user input never
/// matches more than it says.
///
/// ```
/// use dbopt_core::cache::pattern::Pattern;
///
/// let pattern = Pattern::new("user:*:seats");
/// assert!(pattern.matches("user:7:seats"));
/// assert!(!pattern.matches("user:7"));
/// assert!(Pattern::literal("a*").matches("a*") && !Pattern::literal("a*").matches("ab"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The literal parts; between two of them stands a `*`.
    parts: Vec<String>,
}

impl Pattern {
    /// Reads a pattern; every text is one.
    pub fn new(text: &str) -> Self {
        let mut parts: Vec<String> = text.split('*').map(str::to_owned).collect();
        // Stars in a row mean the same as one, and cost Redis exponential time.
        let last = parts.len() - 1;
        let mut index = 0;
        parts.retain(|part| {
            index += 1;
            index == 1 || index == last + 1 || !part.is_empty()
        });
        Self { parts }
    }

    /// A pattern that matches exactly `text`, stars included.
    pub fn literal(text: &str) -> Self {
        Self { parts: vec![text.to_owned()] }
    }

    /// Whether it matches the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = &self.parts[..] else {
            return self.parts.first().is_some_and(|only| only == name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
        for part in middle {
            let Some(at) = rest.find(part.as_str()) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last.as_str())
    }

    /// The pattern in Redis' own syntax, after a literal prefix.
    pub(super) fn glob(&self, prefix: &str) -> String {
        let parts: Vec<String> = self.parts.iter().map(|part| escape(part)).collect();
        escape(prefix) + &parts.join("*")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.join("*"))
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_stands_for_any_text_and_nothing_else_is_special() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "a", true),
            ("a*b", "ab", true),
            ("a*b", "aXbY", false),
            ("a*a", "a", false),
            ("a**c", "abc", true),
            ("a?c", "abc", false),
            ("a?c", "a?c", true),
            ("[ab]", "a", false),
            ("*b*b*", "b", false),
            ("*b*b*", "bb", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern:?} on {name:?}");
        }
    }

    #[test]
    fn what_is_special_to_redis_is_escaped() {
        assert_eq!(Pattern::new(r"a?[b]\**").glob("n*:"), r"n\*:a\?\[b\]\\*");
    }

    proptest! {
        #[test]
        fn a_name_made_from_the_pattern_matches(parts in proptest::collection::vec("[a-c?*]{0,3}", 1..5), fill in "[a-c]{0,3}") {
            let pattern = Pattern { parts: parts.clone() };
            prop_assert!(pattern.matches(&parts.join(&fill)));
        }

        #[test]
        fn any_text_is_read_without_panic(pattern: String, name: String) {
            let _ = Pattern::new(&pattern).matches(&name);
        }
    }
}
