//! Random numbers for jitter and for names nobody else has; a hasher's random keys are all the randomness that needs.

use std::hash::{BuildHasher, RandomState};

/// Any number.
pub(crate) fn number() -> u64 {
    RandomState::new().hash_one(0u8)
}

/// A number in `0.0..1.0`.
pub(crate) fn fraction() -> f64 {
    (number() >> 11) as f64 / (1u64 << 53) as f64
}

/// A name that nobody else has.
pub(crate) fn id() -> String {
    format!("{:016x}", number())
}
