//! Which address takes which slot. Pure.

use std::net::IpAddr;

/// An address that was missing from so many answers in a row has left.
const MISSES: u32 = 2;

/// The slots, and who is in them.
#[derive(Debug)]
pub(crate) struct Slots(Vec<Slot>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Vacant {
        /// Who was here last.
        last: Option<IpAddr>,
        /// It has been vacant for at least one look-up.
        rested: bool,
    },
    Taken {
        address: IpAddr,
        missed: u32,
    },
}

/// What follows from an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The slots that became vacant.
    pub(crate) left: Vec<usize>,
    /// The slots that were taken, and by whom.
    pub(crate) came: Vec<(usize, IpAddr)>,
    /// For whom there is no slot.
    pub(crate) beyond: Vec<IpAddr>,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        Slots(vec![Slot::Vacant { last: None, rested: true }; count])
    }

    /// Takes in an answer. `is_empty` tells whether no connection is left of a slot's last server.
    ///
    /// A slot is given to somebody else only after a rest and once it is empty: no call that was sent to one server may reach another,
    /// whose data may be older.
    pub(crate) fn look(&mut self, found: &[IpAddr], is_empty: impl Fn(usize) -> bool) -> Changes {
        let mut changes = Changes::default();
        for (i, slot) in self.0.iter_mut().enumerate() {
            match slot {
                Slot::Vacant { rested, .. } => *rested = true,
                Slot::Taken { address, missed } if found.contains(address) => *missed = 0,
                Slot::Taken { address, missed } => {
                    *missed += 1;
                    if *missed >= MISSES {
                        *slot = Slot::Vacant { last: Some(*address), rested: false };
                        changes.left.push(i);
                    }
                }
            }
        }
        for (at, address) in found.iter().enumerate() {
            let is_here = |slot: &Slot| matches!(slot, Slot::Taken { address: here, .. } if here == address);
            if self.0.iter().any(is_here) || found[..at].contains(address) {
                continue;
            }
            match self.slot_for(*address, &is_empty) {
                Some(i) => {
                    self.0[i] = Slot::Taken { address: *address, missed: 0 };
                    changes.came.push((i, *address));
                }
                None => changes.beyond.push(*address),
            }
        }
        changes
    }

    /// Its own if it had one, which it finds as it left it; else one that nobody had; else one that is ready for another.
    fn slot_for(&self, address: IpAddr, is_empty: impl Fn(usize) -> bool) -> Option<usize> {
        let find = |fits: &dyn Fn(usize, Option<IpAddr>, bool) -> bool| {
            self.0.iter().enumerate().position(|(i, slot)| match slot {
                Slot::Vacant { last, rested } => fits(i, *last, *rested),
                Slot::Taken { .. } => false,
            })
        };
        find(&|_, last, _| last == Some(address))
            .or_else(|| find(&|_, last, _| last.is_none()))
            .or_else(|| find(&|i, _, rested| rested && is_empty(i)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn ips(all: &[u8]) -> Vec<IpAddr> {
        all.iter().copied().map(ip).collect()
    }

    #[test]
    fn an_address_leaves_when_it_is_missing_twice_in_a_row() {
        let mut slots = Slots::new(3);
        let mut look = |found: &[u8]| slots.look(&ips(found), |_| true);
        assert_eq!(look(&[1, 2]).came, [(0, ip(1)), (1, ip(2))]);
        assert_eq!(look(&[1]), Changes::default(), "once is no proof");
        assert_eq!(look(&[1, 2]), Changes::default());
        assert_eq!(look(&[2]), Changes::default(), "and does not add up");
        assert_eq!(look(&[2]).left, [0]);
        assert_eq!(look(&[2, 1]).came, [(0, ip(1))], "it comes back to its own");
    }

    #[test]
    fn a_slot_rests_and_is_empty_before_another_takes_it() {
        let mut slots = Slots::new(1);
        slots.look(&ips(&[1]), |_| true);
        assert_eq!(slots.look(&ips(&[2]), |_| true).beyond, [ip(2)]);
        let left = slots.look(&ips(&[2]), |_| true);
        assert_eq!((left.left, left.came, left.beyond), (vec![0], vec![], ips(&[2])));
        assert_eq!(slots.look(&ips(&[2]), |_| false).beyond, [ip(2)], "a call is still running there");
        assert_eq!(slots.look(&ips(&[2]), |_| true).came, [(0, ip(2))]);
    }

    #[test]
    fn nobody_is_taken_twice_and_who_finds_no_slot_is_named() {
        let mut slots = Slots::new(2);
        let changes = slots.look(&ips(&[3, 3, 1, 2]), |_| true);
        assert_eq!((changes.came, changes.beyond), (vec![(0, ip(3)), (1, ip(1))], ips(&[2])));
    }

    proptest! {
        #[test]
        fn who_stays_in_the_answer_stays_in_use(answers in proptest::collection::vec(proptest::collection::vec(1u8..9, 0..6), 1..40)) {
            let mut slots = Slots::new(8);
            let mut taken: Vec<Option<IpAddr>> = vec![None; 8];
            for answer in answers {
                let found = ips(&answer);
                let changes = slots.look(&found, |i| i % 2 == 0);
                for i in changes.left {
                    prop_assert!(!found.contains(&taken[i].take().unwrap()));
                }
                for (i, address) in changes.came {
                    prop_assert!(taken[i].replace(address).is_none());
                }
                for address in &found {
                    let slots = taken.iter().filter(|here| **here == Some(*address)).count();
                    prop_assert_eq!(slots + usize::from(changes.beyond.contains(address)), 1);
                }
            }
        }
    }
}
