//! The rules by which an index is worth having. The costs are the planner's: 1 is the reading of a page in sequence.

/// The cost must fall to this part of what it was.
pub const FALLS_TO: f64 = 0.7;

/// A statement that costs less than this is quick as it is: some 400 pages, most of which are in memory.
pub const QUICK: f64 = 400.0;

/// A smaller set of indexes is preferred as long as no statement costs so many times as much,
pub const AS_GOOD: f64 = 1.15;

/// not counting this part of what was gained: whether 50 or 20 is left of 2000 is no reason for another column.
pub const NOISE: f64 = 0.03;

/// What a new entry of an index costs: a page somewhere is read, changed and logged.
pub const WRITE: f64 = 5.0;

/// What is saved must be so many times what is written.
pub const PAYS: f64 = 2.0;

/// Whether a statement runs so much better that an index is worth it.
pub fn improves(before: f64, after: f64) -> bool {
    before >= QUICK && after <= before * FALLS_TO
}

/// Whether a smaller set of indexes is as good for a statement that cost `before` without any.
pub fn is_as_good(smaller: f64, larger: f64, before: f64) -> bool {
    smaller <= larger * AS_GOOD + NOISE * (before - larger).max(0.0)
}

/// Why an index costs more than it brings, if it does: `saved` and `writes` are per second.
pub fn too_dear(saved: Option<f64>, writes: f64) -> Option<String> {
    let saved = saved?;
    let written = writes * WRITE;
    (saved < written * PAYS).then(|| {
        format!(
            "it would save {saved:.1} per second (planner cost) and cost {written:.1} in {writes:.1} writes per second"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_borders() {
        let cases = [(1000.0, 700.0, true), (1000.0, 701.0, false), (399.0, 1.0, false), (400.0, 1.0, true)];
        for (before, after, expected) in cases {
            assert_eq!(improves(before, after), expected, "{before} -> {after}");
        }
        assert!(is_as_good(114.0, 100.0, 100.0) && !is_as_good(116.0, 100.0, 100.0));
        assert!(is_as_good(50.0, 20.0, 2000.0) && !is_as_good(90.0, 20.0, 2000.0));
        assert_eq!(too_dear(Some(100.0), 10.0), None, "just worth it");
        assert!(too_dear(Some(99.0), 10.0).is_some());
        assert_eq!(too_dear(None, 1e9), None, "nobody knows how often it is run");
    }
}
