//! Which of the replicas that may serve a read does. Pure.

use super::schedule::Schedule;

/// A read's turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// Whose turn it is when.
    pub schedule: &'a Schedule,
    /// Counted by the instance, from a number of its own, so that instances do not march in step.
    pub number: usize,
}

/// How many turns are drawn before the heaviest is taken: more are needed only if what may serve has a tiny part of them.
const DRAWS: u32 = 8;

impl Turn<'_> {
    /// The one of the nodes in `may_serve` (a bit for each) that the read goes to; `load` tells how many calls a node has.
    ///
    /// The node whose turn it is, or else one drawn by weight; of it and another drawn one, the one that is better off for its weight
    /// with the read added. Two instances that know the same draw differently, so they do not all run to the same node.
    pub fn choose(&self, may_serve: u64, load: impl Fn(usize) -> u32) -> Option<usize> {
        let serves = |node: &usize| *node < Schedule::MAX_NODES && may_serve & (1 << *node) != 0;
        if may_serve == 0 {
            return None;
        }
        let first = match self.schedule.turn(self.number).filter(serves) {
            Some(node) => node,
            None => (1..=DRAWS)
                .filter_map(|draw| self.drawn(draw))
                .find(serves)
                .or_else(|| self.ranked(may_serve).next())?,
        };
        let busy = load(first);
        if busy == 0 || !self.schedule.compares() {
            return Some(first);
        }
        let other = (0..DRAWS).filter_map(|draw| self.drawn(!draw)).find(|node| *node != first && serves(node));
        match other {
            Some(other) if is_better(self.schedule, (first, busy), (other, load(other))) => Some(other),
            _ => Some(first),
        }
    }

    /// Those of the nodes in `may_serve` that get reads, the heaviest first.
    pub fn ranked(&self, may_serve: u64) -> impl Iterator<Item = usize> + '_ {
        self.schedule.ranked().filter(move |node| may_serve & (1 << node) != 0)
    }

    fn drawn(&self, draw: u32) -> Option<usize> {
        let mixed = (self.number as u64).wrapping_add(u64::from(draw) << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.schedule.drawn(((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32) as u32)
    }
}

/// Whether the other node, with this read, has less to do for its weight than the first one has without it.
fn is_better(schedule: &Schedule, (first, busy): (usize, u32), (other, load): (usize, u32)) -> bool {
    (load + 1) as f32 * schedule.weight(first) < busy as f32 * schedule.weight(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn firsts(schedule: &Schedule, may_serve: u64, loads: &[u32], reads: usize) -> Vec<usize> {
        let mut counts = vec![0; loads.len()];
        for number in 0..reads {
            let turn = Turn { schedule, number: number + 300 };
            counts[turn.choose(may_serve, |node| loads[node]).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn idle_replicas_take_their_turns() {
        let schedule = Schedule::new(&[0.0, 3.0, 2.0, 1.0], true);
        assert_eq!(firsts(&schedule, 0b1110, &[0; 4], 840 * 2), [0, 840, 560, 280]);
    }

    #[test]
    fn a_crowded_replica_is_left_for_another_and_not_by_all() {
        let schedule = Schedule::new(&[1.0, 1.0, 1.0], true);
        let counts = firsts(&schedule, 0b111, &[9, 1, 1], 840);
        assert_eq!(counts[0], 0);
        assert!(counts[1] > 380 && counts[2] > 380, "{counts:?}");
        let alone = firsts(&schedule, 0b001, &[9, 1, 1], 840);
        assert_eq!(alone, [840, 0, 0]);
    }

    #[test]
    fn in_plain_round_robin_nobody_compares() {
        let schedule = Schedule::new(&[1.0, 1.0, 1.0], false);
        assert_eq!(firsts(&schedule, 0b111, &[90, 0, 0], 840), [280, 280, 280]);
    }

    #[test]
    fn who_takes_the_place_of_another_is_drawn_by_weight() {
        let schedule = Schedule::new(&[1.0, 1.0, 2.0], true);
        let counts = firsts(&schedule, 0b110, &[0; 3], 84_000);
        let share = counts[2] as f64 / 84_000.0;
        assert_eq!(counts[0], 0);
        assert!((0.64..0.69).contains(&share), "two thirds: {share}");
    }

    #[test]
    fn a_replica_at_the_floor_never_has_two_reads() {
        let schedule = Schedule::new(&[1.0, 1.0, 0.001], true);
        assert_eq!(firsts(&schedule, 0b111, &[30, 30, 1], 8400)[2], 0);
    }

    proptest! {
        #[test]
        fn only_what_may_serve_is_chosen(weights in proptest::collection::vec(prop_oneof![Just(0.0), 0.001f64..10.0], 1..10), may_serve: u64, number: usize, loads in proptest::collection::vec(0u32..50, 10)) {
            let schedule = Schedule::new(&weights, true);
            let turn = Turn { schedule: &schedule, number };
            let known = may_serve & ((1 << weights.len()) - 1);
            let able = (0..weights.len()).any(|i| known & (1 << i) != 0 && weights[i] > 0.0);
            let chosen = turn.choose(known, |node| loads[node]);
            prop_assert_eq!(chosen.is_some(), able);
            if let Some(node) = chosen {
                prop_assert!(known & (1 << node) != 0 && weights[node] > 0.0);
            }
        }
    }
}
