//! Bound values: as text, for those who ask for them with `insight.values`, and as they are, for the planner. Pure.

use super::binds::{Binds, Bound};
use crate::backend::BoundValue;

/// A value is shown up to this length.
const SHOWN: usize = 100;

/// The values in what follows the names of a Bind message; it may be cut.
pub(super) fn shown(binds: &[u8], types: &[u32]) -> Vec<String> {
    let Some(binds) = Binds::of(binds) else { return Vec::new() };
    let show = |(place, bound): (usize, Bound<'_>)| match bound {
        Bound { length: ..0, .. } => "NULL".into(),
        Bound { bytes, .. } if binds.is_binary(place) => binary(bytes, types.get(place).copied().unwrap_or(0)),
        Bound { bytes, .. } => text(bytes),
    };
    binds.values().enumerate().map(show).collect()
}

/// All values in what follows the names of a Bind message; nothing if its end is missing, or one of them is not in binary form.
pub(super) fn whole<'b>(binds: &'b [u8], types: &[u32]) -> Option<Vec<BoundValue<'b>>> {
    let binds = Binds::of(binds).filter(|binds| (0..binds.count()).all(|place| binds.is_binary(place)))?;
    let mut all = Vec::with_capacity(binds.count());
    for (place, bound) in binds.values().enumerate() {
        if !bound.is_whole() {
            return None;
        }
        let bytes = (bound.length >= 0).then_some(bound.bytes);
        all.push(BoundValue { kind: types.get(place).copied().unwrap_or(0), bytes });
    }
    (all.len() == binds.count()).then_some(all)
}

fn text(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("'{}…'", &text[..end]),
        None => format!("'{text}'"),
    }
}

fn binary(value: &[u8], of: u32) -> String {
    let known = match (of, value) {
        (16, [byte]) => Some((*byte != 0).to_string()),
        (21, _) => value.try_into().ok().map(|bytes| i16::from_be_bytes(bytes).to_string()),
        (23, _) => value.try_into().ok().map(|bytes| i32::from_be_bytes(bytes).to_string()),
        (20, _) => value.try_into().ok().map(|bytes| i64::from_be_bytes(bytes).to_string()),
        (700, _) => value.try_into().ok().map(|bytes| f32::from_be_bytes(bytes).to_string()),
        (701, _) => value.try_into().ok().map(|bytes| f64::from_be_bytes(bytes).to_string()),
        (25 | 1042 | 1043 | 114, _) => Some(text(value)),
        _ => None,
    };
    known.unwrap_or_else(|| {
        let hex: String = value.iter().take(SHOWN / 2).map(|byte| format!("{byte:02x}")).collect();
        format!("\\x{hex}{}", if value.len() > SHOWN / 2 { "…" } else { "" })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_whole_and_binary_or_none_at_all() {
        let mut binds = vec![0, 1, 0, 1, 0, 2, 0, 0, 0, 3];
        binds.extend(b"abc");
        binds.extend((-1i32).to_be_bytes());
        let found = whole(&binds, &[25]).unwrap();
        let told: Vec<_> = found.iter().map(|value| (value.kind, value.bytes)).collect();
        assert_eq!(told, [(25, Some(&b"abc"[..])), (0, None)]);
        assert_eq!(format!("{:?}", found[0]), "BoundValue { kind: 25, .. }");
        for end in 0..binds.len() {
            assert!(whole(&binds[..end], &[25]).is_none(), "cut at {end}");
        }
        binds[3] = 0;
        assert!(whole(&binds, &[25]).is_none(), "in text form");
        assert!(whole(&[0, 0, 0, 0], &[]).is_some_and(|values| values.is_empty()));
    }

    #[test]
    fn values_are_told_by_their_type_and_what_is_cut_is_left_out() {
        let mut binds = vec![0, 1, 0, 1, 0, 4];
        for value in [&7i64.to_be_bytes()[..], b"abc", &[1, 2]] {
            binds.extend((value.len() as i32).to_be_bytes());
            binds.extend(value);
        }
        binds.extend((-1i32).to_be_bytes());
        assert_eq!(shown(&binds, &[20, 25, 17, 25]), ["7", "'abc'", "\\x0102", "NULL"]);
        for end in 0..binds.len() {
            assert!(shown(&binds[..end], &[20, 25]).len() <= 4);
        }
    }
}
