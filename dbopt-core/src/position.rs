//! Places in the write-ahead log.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A log sequence number: a byte position in the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// How many bytes of log lie between `earlier` and this position; 0 when it is not earlier.
    pub const fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Lsn {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (high, low) = text.split_once('/').ok_or(TokenError)?;
        let high = u32::from_str_radix(high, 16).map_err(|_| TokenError)?;
        let low = u32::from_str_radix(low, 16).map_err(|_| TokenError)?;
        Ok(Lsn(u64::from(high) << 32 | u64::from(low)))
    }
}

/// A position on a timeline: LSNs of different timelines do not compare.
///
/// Its text form, such as `1-0/16B3748`, is what a read-your-writes token looks like in a header or cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The timeline; a promotion starts a new one.
    pub timeline: u32,
    /// The place on it.
    pub lsn: Lsn,
}

impl Position {
    /// Whether a node that has replayed up to `self` shows what was written at `wanted`.
    ///
    /// A later timeline has everything of an earlier one that survived the promotion.
    pub const fn covers(self, wanted: Position) -> bool {
        self.timeline > wanted.timeline || self.timeline == wanted.timeline && self.lsn.0 >= wanted.lsn.0
    }

    /// The later of two positions that may be unknown: what covers it covers both.
    pub fn later(one: Option<Position>, other: Option<Position>) -> Option<Position> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if one.covers(other) { one } else { other }),
            (one, other) => one.or(other),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.timeline, self.lsn)
    }
}

impl FromStr for Position {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (timeline, lsn) = text.split_once('-').ok_or(TokenError)?;
        Ok(Position { timeline: timeline.parse().map_err(|_| TokenError)?, lsn: lsn.parse()? })
    }
}

/// The text is no position: it should look like `1-0/16B3748`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a read-your-writes token: it should look like `1-0/16B3748`; pass on exactly what the earlier response gave"
)]
pub struct TokenError;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_form_round_trips(timeline: u32, lsn: u64) {
            let position = Position { timeline, lsn: Lsn(lsn) };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn any_text_is_refused_or_read_without_panic(text: String) {
            let _ = text.parse::<Position>();
        }
    }

    #[test]
    fn a_later_timeline_covers_an_earlier_one() {
        let old = Position { timeline: 1, lsn: Lsn(900) };
        let new = Position { timeline: 2, lsn: Lsn(100) };
        assert!(new.covers(old));
        assert!(!old.covers(new));
    }
}
