//! What a text parser answers when it cannot: what is wrong, and a value that would do.

/// Becomes "{what}: write `{option} = \"{instead}\"`" where it is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) what: String,
    pub(crate) instead: String,
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { what: what.into(), instead: instead.into() }
    }
}
