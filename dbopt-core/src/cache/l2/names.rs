//! What things are called in Redis.

use std::fmt::Write as _;

use crate::cache::shape::Hasher;

/// What an entry is stored under, and what it must say to be that entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    name: String,
    identity: Vec<u8>,
}

impl Key {
    /// The key of a method's result: its name in Redis is the method and `hash`; `canonical` is everything the hash was
    /// made of, so that a collision of hashes is noticed.
    pub fn hashed(method: &str, hash: u128, canonical: &[u8]) -> Self {
        let mut identity = Vec::with_capacity(method.len() + canonical.len() + 2);
        identity.push(1);
        identity.extend_from_slice(method.as_bytes());
        identity.push(0);
        identity.extend_from_slice(canonical);
        Self { name: format!("{method}:{hash:032x}"), identity }
    }

    /// A key that the application names itself.
    pub fn explicit(text: &str) -> Self {
        let mut identity = Vec::with_capacity(text.len() + 1);
        identity.push(0);
        identity.extend_from_slice(text.as_bytes());
        Self { name: text.to_owned(), identity }
    }

    /// The name that patterns are matched against.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn identity(&self) -> &[u8] {
        &self.identity
    }
}

/// The names of one namespace. All share one hash tag, so that a cluster keeps them in one slot and scripts may use them
/// together.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
    pub(super) epoch: String,
    pub(super) server: String,
    pub(super) writers: String,
    pub(super) events: String,
    /// What value names begin with.
    pub(super) values: String,
    /// What generation names begin with.
    pub(super) generations: String,
}

impl Names {
    pub(super) fn new(namespace: &str) -> Self {
        let prefix = format!("dbopt:{{{namespace}}}:");
        Self {
            epoch: format!("{prefix}epoch"),
            server: format!("{prefix}server"),
            writers: format!("{prefix}writers"),
            events: format!("{prefix}events"),
            values: format!("{prefix}v:"),
            generations: format!("{prefix}g:"),
            prefix,
        }
    }

    pub(super) fn value(&self, key: &Key) -> String {
        join(&self.values, &key.name)
    }

    pub(super) fn lease(&self, key: &Key) -> String {
        let mut name = String::with_capacity(self.prefix.len() + key.name.len() + 2);
        let _ = write!(name, "{}f:{}", self.prefix, key.name);
        name
    }

    pub(super) fn generation(&self, tag: &str) -> String {
        join(&self.generations, tag)
    }
}

fn join(start: &str, end: &str) -> String {
    let mut name = String::with_capacity(start.len() + end.len());
    name.push_str(start);
    name.push_str(end);
    name
}

/// A number for a list of tags, in its order.
pub(super) fn tags_hash(tags: &[String]) -> u64 {
    let mut hasher = Hasher::default();
    for tag in tags {
        hasher.text(tag);
    }
    hasher.finish()
}
