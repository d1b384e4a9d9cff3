//! Who is limited, and what that is called here and in Redis.

use std::fmt;

use crate::context::{self, Context};

/// Who is limited.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    /// The caller of the [`Context`].
    Caller,
    /// Whoever the method's arguments name.
    Key(fmt::Arguments<'a>),
    /// The user of that name.
    User(&'a str),
    /// A caller known by a number.
    Number(u64),
}

impl Who<'_> {
    /// The number that tables in this process know the caller by; `current` is that of the running code's.
    #[inline(always)]
    pub(super) fn tag(self, current: u64) -> u64 {
        match self {
            Who::Caller => current,
            Who::User(name) => context::tag(context::USER, name),
            Who::Number(number) => context::number_tag(number),
            Who::Key(key) => key_tag(key),
        }
    }

    /// The name in Redis, with its kind in front, and the user's, if it is one.
    pub(super) fn name(self) -> (String, Option<String>) {
        match self {
            Who::Caller => Context::caller_name(),
            Who::User(name) => (format!("u:{name}"), Some(name.to_owned())),
            Who::Number(number) => (format!("n:{number}"), None),
            Who::Key(key) => (format!("a:{key}"), None),
        }
    }
}

/// The tag of a text that is put together, without memory of its own if it is short.
fn key_tag(key: fmt::Arguments<'_>) -> u64 {
    struct Short {
        bytes: [u8; 64],
        len: usize,
    }
    impl fmt::Write for Short {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let end = self.len + text.len();
            self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
            self.len = end;
            Ok(())
        }
    }
    let mut short = Short { bytes: [0; 64], len: 0 };
    match fmt::write(&mut short, key) {
        Ok(()) => context::tag_bytes(context::ARGUMENT, &short.bytes[..short.len]),
        Err(_) => context::tag(context::ARGUMENT, &key.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_text_however_it_is_put_together() {
        let tag = |key: fmt::Arguments<'_>| Who::Key(key).tag(0);
        assert_eq!(tag(format_args!("customer 17")), tag(format_args!("customer {}{}", 1, "7")));
        assert_ne!(tag(format_args!("customer 17")), Who::User("customer 17").tag(0));
        let long = "x".repeat(60);
        assert_eq!(tag(format_args!("{long}{long}")), tag(format_args!("{}", long.repeat(2))));
    }
}
