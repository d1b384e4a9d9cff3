//! What a fill holds in its hands between its beginning and its end, and how positions and generations look in Redis.

use std::time::Duration;

use crate::position::{Lsn, Position};

/// Under which epoch and generations something was read or filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generations {
    pub(super) epoch: u64,
    pub(super) list: Vec<u64>,
}

/// The right to store one fill, as long as nothing it depends on moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub(super) generations: Generations,
    pub(super) sweep: u64,
    pub(super) lease: Option<String>,
}

impl Ticket {
    /// The generations the fill began under.
    pub fn generations(&self) -> &Generations {
        &self.generations
    }
}

/// A fill that may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// To be given back with the value.
    pub ticket: Ticket,
    /// What the node that is read from must have replayed; `None`: any will do.
    pub required: Option<Position>,
    /// Whether this instance is the one to fill; otherwise another one is at it.
    pub leader: bool,
}

/// The answer to the wish to fill an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Begun {
    /// Go ahead.
    Ready(Fill),
    /// Redis may have forgotten which position a tag was invalidated at. Ask the primary for its current position, then
    /// begin again with this proof; if that ends here too, fill without storing.
    NeedsPosition(Proof),
}

/// That a position was asked for after Redis was seen not to know one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub(super) epoch: String,
    pub(super) evicted: String,
}

/// What became of a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Stored.
    Kept,
    /// Not stored: a tag was invalidated since the fill began.
    Fenced,
    /// Not stored: larger than [`Config::max_value_bytes`](super::Config::max_value_bytes).
    TooLarge,
}

/// A delivered invalidation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalidated {
    /// The tags' new generations, for a write-through: stores only if nothing moves them again.
    pub ticket: Ticket,
    /// Whether no other invalidation of these tags is known beyond the `lower` position.
    pub alone: bool,
}

/// A value that was found, current when Redis answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The encoded value.
    pub payload: Vec<u8>,
    /// The position its data was read at, if the filler knew.
    pub position: Option<Position>,
    /// What it was filled under.
    pub generations: Generations,
    /// How long it is valid still.
    pub remaining: Duration,
}

pub(super) fn position_text(position: Option<Position>) -> String {
    position.map_or_else(String::new, |position| format!("{:08x}{:016x}", position.timeline, position.lsn.0))
}

pub(super) fn read_position(text: &str) -> Option<Position> {
    if text.len() != 24 || !text.is_ascii() {
        return None;
    }
    let (timeline, lsn) = text.split_at(8);
    Some(Position { timeline: u32::from_str_radix(timeline, 16).ok()?, lsn: Lsn(u64::from_str_radix(lsn, 16).ok()?) })
}

/// The number at the start of what a generation key holds.
pub(super) fn read_generation(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.split(' ').next()?.parse().ok()
}

pub(super) fn read_epoch(bytes: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(bytes).ok()?.split(' ').next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn positions_compare_as_text(a: (u32, u64), b: (u32, u64)) {
            let [one, other] = [a, b].map(|(timeline, lsn)| Position { timeline, lsn: Lsn(lsn) });
            let (text, other_text) = (position_text(Some(one)), position_text(Some(other)));
            prop_assert_eq!(one.covers(other), text >= other_text);
            prop_assert_eq!(read_position(&text), Some(one));
        }
    }
}
