//! A number for the shape of a type, so that an entry written by an older build is a miss and not a wrong value.
//!
//! The type's `Deserialize` is run on made-up values, and everything it asks for is noted: names of structs, fields and
//! variants, kinds of numbers, what is optional, in depth. Made-up values that a type refuses are replaced by others
//! (a date, an address); where nothing pleases it, what was noted until then counts.
//!
//! What is inside `#[serde(flatten)]`, `#[serde(untagged)]` and `serde_json::Value` does not show itself this way. There only
//! decoding itself can notice a change, as the payload carries its field names.

mod probe;
mod trace;

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::RwLock;
use serde::de::DeserializeOwned;

use self::trace::Trace;

/// The number of `T`'s shape: the same in every build whose `T` looks alike, whatever the compiler or platform.
///
/// It is found once per type and remembered.
pub fn fingerprint<T: DeserializeOwned + 'static>() -> u64 {
    static KNOWN: LazyLock<RwLock<HashMap<TypeId, u64>>> = LazyLock::new(RwLock::default);
    let id = TypeId::of::<T>();
    if let Some(known) = KNOWN.read().get(&id) {
        return *known;
    }
    // Outside the lock: it runs code of the type.
    let found = find::<T>();
    KNOWN.write().insert(id, found);
    found
}

fn find<T: DeserializeOwned>() -> u64 {
    /// More than any sane type needs; what is noted until then counts.
    const PASSES: usize = 2000;
    let mut trace = Trace::default();
    for _ in 0..PASSES {
        let accepted = T::deserialize(probe::Probe::new(&mut trace)).is_ok();
        if !trace.next_pass(accepted) {
            break;
        }
    }
    trace.fingerprint()
}

/// FNV-1a: small, and the same everywhere and for ever.
#[derive(Debug, Clone)]
pub(crate) struct Hasher(u64);

impl Default for Hasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher {
    /// Adds a text; two texts are not the same as one made of both.
    pub(crate) fn text(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
