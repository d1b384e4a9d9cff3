//! Whether what Redis answered may be served. Pure.

use std::time::Duration;

use super::envelope::{self, Envelope};
use super::names::{Key, tags_hash};
use super::ticket::{Generations, Stored, read_generation};

/// What Redis said to one look-up, all of one instant.
#[derive(Debug, Default, Clone)]
pub(super) struct Answer {
    pub(super) epoch: Option<u64>,
    /// Of the keys that were asked for, in order.
    pub(super) values: Vec<Option<Vec<u8>>>,
    /// Whether every registered writer was heard of lately; `false` also when nobody asked.
    pub(super) trusted: bool,
}

/// Why a value is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    Absent,
    Distrusted,
    Outdated,
    Collision,
    Unreadable,
}

/// The generations as they are now; `None` when one is missing.
pub(super) fn current(epoch: Option<u64>, values: &[Option<Vec<u8>>]) -> Option<Generations> {
    let list = values.iter().map(|value| read_generation(value.as_deref()?)).collect::<Option<_>>()?;
    Some(Generations { epoch: epoch?, list })
}

/// The value, if it is this key's, of this shape, and nothing moved since it was filled. `answer` holds the value and then
/// its tags' generations.
pub(super) fn value(
    mut answer: Answer,
    (key, tags, fingerprint): (&Key, &[String], u64),
    (now_ms, limit, strong): (u64, usize, bool),
) -> Result<Stored, Miss> {
    if strong && !answer.trusted {
        return Err(Miss::Distrusted);
    }
    let bytes = answer.values.first_mut().and_then(Option::take).ok_or(Miss::Absent)?;
    let now = current(answer.epoch, answer.values.get(1..=tags.len()).unwrap_or_default()).ok_or(Miss::Outdated)?;
    let Envelope { expires_ms, header, identity, body } = envelope::decode(&bytes).ok_or(Miss::Unreadable)?;
    if identity != key.identity() {
        return Err(Miss::Collision);
    }
    if header.fingerprint != fingerprint || header.tags != tags_hash(tags) {
        return Err(Miss::Unreadable);
    }
    let generations = Generations { epoch: header.epoch, list: header.generations };
    if generations != now || expires_ms <= now_ms {
        return Err(Miss::Outdated);
    }
    let payload = envelope::payload(bytes, body, limit).ok_or(Miss::Unreadable)?;
    let remaining = Duration::from_millis(expires_ms - now_ms);
    Ok(Stored { payload, position: header.position, generations, remaining })
}
