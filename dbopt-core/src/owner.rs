//! Numbers for threads, so that what many of them count is written by each in a place of its own.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads that have a number of their own; all others share one.
pub(crate) const OWNERS: usize = 64;

/// The number that is shared: more threads than one may write there at once.
pub(crate) const SHARED: usize = OWNERS;

/// A value on cache lines of its own; processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Alone<T>(pub(crate) T);

impl<T> Deref for Alone<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A value for each of so many threads, made when it is first asked for. Of more threads than parts several share one.
#[derive(Debug)]
pub(crate) struct Parts<T, const N: usize>([OnceLock<Box<Alone<T>>>; N]);

impl<T, const N: usize> Default for Parts<T, N> {
    fn default() -> Self {
        Parts([const { OnceLock::new() }; N])
    }
}

impl<T: Default, const N: usize> Parts<T, N> {
    /// This thread's part; with more threads than parts it may be another one's, too.
    #[inline]
    pub(crate) fn own(&self) -> &T {
        self.at(number())
    }

    /// The part of the thread with this number.
    #[inline]
    pub(crate) fn at(&self, number: usize) -> &T {
        &self.0[number % N].get_or_init(Box::default).0
    }

    /// All that were asked for so far.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|part| part.get().map(|part| &part.0))
    }
}

/// This thread's number: no other thread that lives has it, unless it is [`SHARED`]. What its last owner wrote is seen by this one.
#[inline]
pub(crate) fn number() -> usize {
    match OWN.get() {
        UNKNOWN => take(),
        number => number,
    }
}

#[cold]
fn take() -> usize {
    let number = NUMBER.try_with(|number| number.0).unwrap_or(SHARED);
    OWN.set(number);
    number
}

/// The numbers that threads have, a bit for each.
static TAKEN: AtomicU64 = AtomicU64::new(0);

const UNKNOWN: usize = usize::MAX;

thread_local! {
    /// This thread's number, to be had at any time.
    static OWN: Cell<usize> = const { Cell::new(UNKNOWN) };
    /// The same; gives it back when the thread ends.
    static NUMBER: Number = Number::take();
}

struct Number(usize);

impl Number {
    fn take() -> Self {
        let free = |taken: u64| (taken != u64::MAX).then_some(taken | (taken + 1));
        // What the number's last owner added is seen before this one adds to it.
        match TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, free) {
            Ok(taken) => Number(taken.trailing_ones() as usize),
            Err(_) => Number(SHARED),
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        OWN.set(SHARED);
        if self.0 != SHARED {
            TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_owned_by_one_thread_at_a_time_and_comes_back() {
        let together = std::sync::Barrier::new(OWNERS / 4);
        for _ in 0..20 {
            let numbers: Vec<usize> = std::thread::scope(|scope| {
                let own = || {
                    let number = number();
                    together.wait();
                    number
                };
                let running: Vec<_> = (0..OWNERS / 4).map(|_| scope.spawn(own)).collect();
                running.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let mut owned: Vec<usize> = numbers.into_iter().filter(|number| *number != SHARED).collect();
            assert!(!owned.is_empty(), "numbers do not come back");
            owned.sort_unstable();
            assert!(owned.windows(2).all(|pair| pair[0] != pair[1]), "{owned:?}");
        }
    }
}
