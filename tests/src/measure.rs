//! What the benchmarks share: alternating rounds, ratios with their spread, CPU time and allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An allocator that counts the allocations of the whole process: `#[global_allocator] static ALLOCATOR: Counting = Counting;`.
#[derive(Debug)]
pub struct Counting;

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

/// What [`Counting`] has counted so far.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// CPU time of all threads of this process, from the scheduler's own account.
pub fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the benchmarks run on Linux");
    let nanos = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// The number in the environment's variable `name`.
pub fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Who is measured when: every contender once in each of `rounds`, another one first each time, so that no place in the round is
/// anyone's advantage. The flag is false in the round before the first, which is for warming up.
pub fn turns(contenders: usize, rounds: usize) -> impl Iterator<Item = (bool, usize)> {
    (0..=rounds).flat_map(move |n| (0..contenders).map(move |k| (n > 0, (n + k) % contenders)))
}

/// The middle one of `values`.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median of `values` with their least and greatest.
pub fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    format!("{:.3} [{:.3}-{:.3}]", values[values.len() / 2], values[0], values[values.len() - 1])
}

/// Each of `ours` as a share of its counterpart, with the spread.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> String {
    spread(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())
}
