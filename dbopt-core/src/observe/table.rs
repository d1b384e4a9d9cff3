//! What is kept by a number that is given out one after the other.

use std::sync::OnceLock;

/// The length of the first segment.
const FIRST: usize = 32;

/// Values by number, in segments that double in length and never move: what is found can be borrowed for as long as the table lives.
#[derive(Debug)]
pub(super) struct Table<T>([OnceLock<Box<[OnceLock<T>]>>; 27]);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table([const { OnceLock::new() }; 27])
    }
}

/// The segment of a number, and the place in it.
#[inline]
fn place(number: usize) -> (usize, usize) {
    let shifted = number + FIRST;
    let segment = shifted.ilog2() - FIRST.ilog2();
    (segment as usize, shifted - (FIRST << segment))
}

impl<T> Table<T> {
    /// The value under `number`; made if there is none.
    #[inline]
    pub(super) fn get_or_init(&self, number: usize, make: impl FnOnce() -> T) -> &T {
        let (segment, place) = place(number);
        let empty = || (0..FIRST << segment).map(|_| OnceLock::new()).collect();
        self.0[segment].get_or_init(empty)[place].get_or_init(make)
    }

    /// Every value, in the order of the numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(OnceLock::get).flat_map(|values| values.iter().filter_map(OnceLock::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_place_of_its_own() {
        let table = Table::default();
        for number in (0..500).rev() {
            assert_eq!(*table.get_or_init(number, || number), number);
        }
        assert_eq!(*table.get_or_init(7, || 0), 7, "it is made once");
        assert!(table.iter().copied().eq(0..500));
    }
}
