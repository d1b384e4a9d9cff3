//! What a cached method is, and how its results travel.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{l2, shape};
use crate::op::Op;

/// The static description of one cached method; the macros write one per method.
pub struct Cached {
    pub(super) op: &'static Op,
    pub(super) ttl: Option<Duration>,
    pub(super) l1_ttl: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
    pub(super) refresh_ahead: Option<f64>,
    pub(super) layers: Layers,
    pub(super) strong: bool,
    pub(super) keyed: bool,
    pub(super) by_user: bool,
    pub(super) without_none: bool,
}

/// Where results are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layers {
    /// In memory and in Redis.
    Both,
    /// In memory only.
    Memory,
    /// In Redis only.
    Redis,
}

impl Cached {
    /// The results of `op`, kept for the configured times.
    pub const fn new(op: &'static Op) -> Self {
        Cached {
            op,
            ttl: None,
            l1_ttl: None,
            stale_if_error: None,
            refresh_ahead: None,
            layers: Layers::Both,
            strong: false,
            keyed: false,
            by_user: false,
            without_none: false,
        }
    }

    /// Keeps results for so long.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Keeps results in memory for so long.
    pub const fn l1_ttl(mut self, ttl: Duration) -> Self {
        self.l1_ttl = Some(ttl);
        self
    }

    /// Answers with a result that expired less than `limit` ago when the database cannot be read.
    pub const fn stale_if_error(mut self, limit: Duration) -> Self {
        self.stale_if_error = Some(limit);
        self
    }

    /// Lets one caller load a result anew when this share of its lifetime is over.
    pub const fn refresh_ahead(mut self, share: f64) -> Self {
        self.refresh_ahead = Some(share);
        self
    }

    /// Keeps results in memory only.
    pub const fn only_l1(mut self) -> Self {
        self.layers = Layers::Memory;
        self
    }

    /// Keeps results in Redis only.
    pub const fn only_l2(mut self) -> Self {
        self.layers = Layers::Redis;
        self
    }

    /// Shows every reader, on every instance, what was written and acknowledged before it asked.
    pub const fn strong(mut self) -> Self {
        self.strong = true;
        self
    }

    /// The key is a text that the method names itself.
    pub const fn keyed(mut self) -> Self {
        self.keyed = true;
        self
    }

    /// Keeps results of different users apart.
    pub const fn vary_by_user(mut self) -> Self {
        self.by_user = true;
        self
    }

    /// Does not keep `None`.
    pub const fn without_none(mut self) -> Self {
        self.without_none = true;
        self
    }

    /// The method.
    pub const fn op(&self) -> &'static Op {
        self.op
    }

    /// Whether every reader sees what was acknowledged.
    pub const fn is_strong(&self) -> bool {
        self.strong
    }

    /// Whether results of different users are kept apart.
    pub const fn varies_by_user(&self) -> bool {
        self.by_user
    }

    pub(super) fn in_memory(&self) -> bool {
        self.layers != Layers::Redis
    }

    pub(super) fn in_redis(&self) -> bool {
        self.layers != Layers::Memory
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("op", &self.op.name()).field("layers", &self.layers).finish_non_exhaustive()
    }
}

/// How results of a type travel to Redis and back.
#[diagnostic::on_unimplemented(
    message = "results of type `{T}` cannot be kept in Redis",
    note = "derive `serde::Serialize` and `serde::Deserialize`, or keep them in memory only: `#[cached(layers = \"l1\")]`"
)]
pub trait Codec<T>: Send + Sync + 'static {
    /// Whether they travel at all.
    const TRAVELS: bool;
    /// A number for the type's shape; another shape's values are not read.
    fn shape() -> u64;
    /// As bytes; `None` when the type's `Serialize` refuses.
    fn encode(value: &T) -> Option<Vec<u8>>;
    /// From bytes; `None` when they are no such value.
    fn decode(bytes: &[u8]) -> Option<T>;
}

/// By the type's own `Serialize` and `Deserialize`.
#[derive(Debug, Clone, Copy)]
pub struct Serde;

impl<T: Serialize + DeserializeOwned + 'static> Codec<T> for Serde {
    const TRAVELS: bool = true;

    fn shape() -> u64 {
        shape::fingerprint::<T>()
    }

    fn encode(value: &T) -> Option<Vec<u8>> {
        l2::encode(value)
    }

    fn decode(bytes: &[u8]) -> Option<T> {
        l2::decode(bytes)
    }
}

/// Not at all: results stay in this process.
#[derive(Debug, Clone, Copy)]
pub struct InMemory;

impl<T> Codec<T> for InMemory {
    const TRAVELS: bool = false;

    fn shape() -> u64 {
        0
    }

    fn encode(_: &T) -> Option<Vec<u8>> {
        None
    }

    fn decode(_: &[u8]) -> Option<T> {
        None
    }
}
