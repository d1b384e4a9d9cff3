//! What the owner of the layer is told, and what instances tell each other.

use redis::{PushInfo, PushKind, Value};
use serde::{Deserialize, Serialize};

use super::ticket::{position_text, read_position};
use crate::cache::pattern::Pattern;
use crate::position::Position;

/// What the first layer must know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Messages of other instances arrive from now on; some may have been missed before.
    Up,
    /// Messages may be missed from now on.
    Down,
    /// Another instance invalidated these tags.
    Invalidated {
        /// The tags.
        tags: Vec<String>,
        /// What a fill must have replayed.
        position: Option<Position>,
    },
    /// Another instance invalidated everything that matches.
    Pattern(Pattern),
    /// Nothing that was cached counts any more.
    Cleared,
}

/// What instances tell each other.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) origin: u64,
    pub(super) body: Body,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Body {
    Tags(Vec<String>, String),
    Pattern(String),
    Cleared(u64),
}

impl Message {
    pub(super) fn tags(origin: u64, tags: &[String], position: Option<Position>) -> Vec<u8> {
        Self { origin, body: Body::Tags(tags.to_vec(), position_text(position)) }.encode()
    }

    pub(super) fn pattern(origin: u64, pattern: &Pattern) -> Vec<u8> {
        Self { origin, body: Body::Pattern(pattern.to_string()) }.encode()
    }

    pub(super) fn cleared(origin: u64, epoch: u64) -> Vec<u8> {
        Self { origin, body: Body::Cleared(epoch) }.encode()
    }

    fn encode(&self) -> Vec<u8> {
        // Strings and numbers into memory: nothing in it can fail. An empty message would be taken for a clear.
        rmp_serde::to_vec(self).unwrap_or_default()
    }
}

/// What a push from Redis says.
pub(super) enum Push {
    Lost,
    Message(Message),
    /// A message of a newer version: what it invalidates is not known.
    Unreadable,
    Other,
}

pub(super) fn read(push: &PushInfo) -> Push {
    match (&push.kind, push.data.as_slice()) {
        (PushKind::Disconnection, _) => Push::Lost,
        (PushKind::Message, [_, Value::BulkString(bytes)]) => {
            rmp_serde::from_slice(bytes).map_or(Push::Unreadable, Push::Message)
        }
        _ => Push::Other,
    }
}

impl From<Body> for Event {
    fn from(body: Body) -> Self {
        match body {
            Body::Tags(tags, position) => Event::Invalidated { tags, position: read_position(&position) },
            Body::Pattern(pattern) => Event::Pattern(Pattern::new(&pattern)),
            Body::Cleared(_) => Event::Cleared,
        }
    }
}
