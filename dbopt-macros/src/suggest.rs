//! "Did you mean ..": the nearest known name to one that is not known.

/// The candidate that `name` most likely was meant to be, if any is close enough to be worth naming.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(&name.to_lowercase(), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed(name, candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A third of the longer name may be wrong, as rustc allows for its own suggestions.
fn allowed(name: &str, candidate: &str) -> usize {
    name.chars().count().max(candidate.chars().count()).max(3) / 3
}

/// Edits (insert, delete, replace, swap of neighbours) that turn `from` into `to`.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance("ttl", "ttl"), 0);
        assert_eq!(distance("tll", "ttl"), 1);
        assert_eq!(distance("tlt", "ttl"), 1, "a swap is one edit");
        assert_eq!(distance("", "key"), 3);
    }

    #[test]
    fn a_typo_finds_its_name_and_a_stranger_does_not() {
        let names = ["max_staleness", "from", "ttl"];
        assert_eq!(nearest("max_stalenes", names), Some("max_staleness"));
        assert_eq!(nearest("maxStaleness", names), Some("max_staleness"));
        assert_eq!(nearest("form", names), Some("from"));
        assert_eq!(nearest("timeout", names), None);
    }
}
