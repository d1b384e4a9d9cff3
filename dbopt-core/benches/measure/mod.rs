//! What benchmarks share: alternating rounds, ratios with their spread, allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts allocations of the whole process.
pub(crate) struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
#[allow(unsafe_code, reason = "only an allocator can count allocations")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// The median of `values` with their least and greatest, as text.
pub(crate) fn spread(mut values: Vec<f64>) -> (f64, String) {
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    (median, format!("{median:.3} [{:.3}-{:.3}]", values[0], values[values.len() - 1]))
}

/// How many rounds, and how long each: `BENCH_ROUNDS` and `BENCH_MILLIS` change them.
pub(crate) fn rounds() -> (usize, Duration) {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    (number("BENCH_ROUNDS", 11) as usize, Duration::from_millis(number("BENCH_MILLIS", 40)))
}

/// Prints a table: each contender's median, and the first one's ratio to it round by round.
pub(crate) fn table(title: &str, names: &[&str], times: &[Vec<f64>]) {
    println!("\n{title}");
    for (name, mine) in names.iter().zip(times) {
        let ratios = times[0].iter().zip(mine).map(|(ours, other)| ours / other).collect();
        println!("  {name:<42} {:>9.1} ns   dbopt is {} of it", spread(mine.clone()).0, spread(ratios).1);
    }
}
