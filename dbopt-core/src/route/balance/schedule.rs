//! Weights as a table of turns. Pure.

/// How many turns a table has: so many that equal weights of up to eight replicas come out exactly, and that one turn, the least that
/// anyone gets, is about a thousandth of all reads.
const TURNS: usize = 840;

/// Whose turn it is, for a while: made once a second, read by every call.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// A node per turn; empty when nobody serves.
    turns: Box<[u8]>,
    /// Per node; 0 for those that get no reads.
    weights: Box<[f32]>,
    /// The nodes that get reads, the heaviest first.
    ranked: Box<[u8]>,
    /// Whether a read may leave its turn for a replica with less to do.
    compares: bool,
}

impl Schedule {
    /// The most nodes it knows: a set of them fits in a word.
    pub const MAX_NODES: usize = 64;

    /// Turns in proportion to `weights` (within one turn, at least one for each weight above 0), and each node's as evenly apart as the
    /// others allow: smooth weighted round robin.
    pub fn new(weights: &[f64], compares: bool) -> Self {
        let shares = shares(weights);
        let mut credits = vec![0i64; shares.len()];
        let mut turns = Vec::with_capacity(TURNS);
        while turns.len() < TURNS && shares.iter().any(|share| *share > 0) {
            for (credit, share) in credits.iter_mut().zip(&shares) {
                *credit += *share as i64;
            }
            let serving = (0..shares.len()).filter(|&i| shares[i] > 0);
            // The first of equals, so that the table does not depend on chance.
            let next = serving.reduce(|a, b| if credits[b] > credits[a] { b } else { a }).unwrap_or(0);
            credits[next] -= TURNS as i64;
            turns.push(next as u8);
        }
        let mut ranked: Vec<u8> = (0..weights.len()).filter(|&i| shares[i] > 0).map(|i| i as u8).collect();
        ranked.sort_by(|a, b| weights[usize::from(*b)].total_cmp(&weights[usize::from(*a)]));
        Schedule {
            turns: turns.into(),
            weights: weights.iter().map(|w| *w as f32).collect(),
            ranked: ranked.into(),
            compares,
        }
    }

    /// The node's weight; 0 when it gets no reads.
    pub fn weight(&self, node: usize) -> f32 {
        self.weights.get(node).copied().unwrap_or(0.0)
    }

    /// The nodes that get reads, the heaviest first.
    pub(super) fn ranked(&self) -> impl Iterator<Item = usize> + '_ {
        self.ranked.iter().map(|node| usize::from(*node))
    }

    pub(super) fn compares(&self) -> bool {
        self.compares
    }

    /// Whose turn it is.
    pub(super) fn turn(&self, number: usize) -> Option<usize> {
        let place = number.checked_rem(self.turns.len())?;
        self.turns.get(place).map(|node| usize::from(*node))
    }

    /// Whose turn it is at a place drawn by `number`: as likely as the node's turns are many.
    pub(super) fn drawn(&self, number: u32) -> Option<usize> {
        let place = (u64::from(number) * self.turns.len() as u64) >> 32;
        self.turns.get(place as usize).map(|node| usize::from(*node))
    }
}

/// Turns per node: in proportion, by largest remainder, and at least one for whoever weighs anything.
fn shares(weights: &[f64]) -> Vec<usize> {
    let weights: Vec<f64> = weights.iter().map(|w| if w.is_finite() { w.max(0.0) } else { 0.0 }).collect();
    let sum: f64 = weights.iter().sum();
    if sum <= 0.0 {
        return vec![0; weights.len()];
    }
    let ideal: Vec<f64> = weights.iter().map(|w| w / sum * TURNS as f64).collect();
    let mut shares: Vec<usize> =
        ideal.iter().map(|turns| if *turns > 0.0 { (turns.floor() as usize).max(1) } else { 0 }).collect();
    loop {
        let given: usize = shares.iter().sum();
        let lack = |i: usize| ideal[i] - shares[i] as f64;
        let places = (0..shares.len()).filter(|&i| shares[i] > 0);
        if given < TURNS {
            let Some(i) = places.reduce(|a, b| if lack(b) > lack(a) { b } else { a }) else { break };
            shares[i] += 1;
        } else if given > TURNS {
            // What the least ones got beyond their part comes from those who have most.
            let Some(i) = places.filter(|&i| shares[i] > 1).reduce(|a, b| if lack(b) < lack(a) { b } else { a }) else {
                break;
            };
            shares[i] -= 1;
        } else {
            break;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(schedule: &Schedule, nodes: usize) -> Vec<usize> {
        let mut counts = vec![0; nodes];
        for number in 0..TURNS {
            counts[schedule.turn(number).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn equal_weights_take_turns() {
        let schedule = Schedule::new(&[0.0, 1.0, 1.0, 1.0], true);
        let first: Vec<_> = (0..6).map(|n| schedule.turn(n).unwrap()).collect();
        assert_eq!(first, [1, 2, 3, 1, 2, 3]);
        assert_eq!(counts(&schedule, 4), [0, 280, 280, 280]);
    }

    #[test]
    fn the_heavy_ones_turns_are_apart() {
        let schedule = Schedule::new(&[5.0, 1.0, 1.0], true);
        let first: Vec<_> = (0..7).map(|n| schedule.turn(n).unwrap()).collect();
        assert_eq!(first.iter().filter(|n| **n == 0).count(), 5);
        assert!(!first.windows(4).any(|four| four.iter().all(|n| *n == 0)), "{first:?}");
    }

    #[test]
    fn the_slowest_is_still_asked_and_costs_less_than_a_hundredth() {
        let schedule = Schedule::new(&[1.0, 1.0, 1.0, 1e-9], true);
        assert_eq!(counts(&schedule, 4)[3], 1);
        let many = Schedule::new(&[1.0, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9], true);
        assert!(counts(&many, 8)[0] * 100 >= 99 * TURNS);
    }

    #[test]
    fn nobody_serves() {
        for weights in [&[][..], &[0.0, 0.0], &[f64::NAN]] {
            let schedule = Schedule::new(weights, true);
            assert_eq!((schedule.turn(3), schedule.drawn(u32::MAX), schedule.ranked().count()), (None, None, 0));
        }
    }

    proptest! {
        #[test]
        fn turns_follow_weights_and_are_spread(weights in proptest::collection::vec(prop_oneof![Just(0.0), 0.001f64..100.0], 1..12)) {
            prop_assume!(weights.iter().any(|w| *w > 0.0));
            let schedule = Schedule::new(&weights, true);
            let counts = counts(&schedule, weights.len());
            let sum: f64 = weights.iter().sum();
            // Turns that the least ones got beyond their part are missing elsewhere.
            let lent: f64 = weights.iter().filter(|w| **w > 0.0).map(|w| (1.0 - w / sum * TURNS as f64).max(0.0)).sum();
            for (node, &count) in counts.iter().enumerate() {
                let ideal = weights[node] / sum * TURNS as f64;
                prop_assert_eq!(count == 0, weights[node] == 0.0);
                prop_assert!(count as f64 - ideal <= 1.0 && ideal - count as f64 <= 1.0 + lent, "{count} for {ideal}");
                if count > 0 {
                    let at: Vec<usize> = (0..2 * TURNS).filter(|n| schedule.turn(*n) == Some(node)).collect();
                    let gap = at.windows(2).map(|two| two[1] - two[0]).max().unwrap();
                    prop_assert!(gap <= 2 * TURNS.div_ceil(count), "{gap} turns apart with {count} of them");
                }
            }
            let weights: Vec<f32> = schedule.ranked().map(|node| schedule.weight(node)).collect();
            prop_assert!(weights.is_sorted_by(|a, b| a >= b));
        }
    }
}
