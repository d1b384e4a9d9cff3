//! What all processes admitted, by one clock.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::Options;

const WINDOW: u64 = 1_000_000;
/// A window is a bucket longer at worst, and the life of a lease.
const AT_WORST: u64 = WINDOW + 50_000 + 50_000;
/// What each instance may hold unused, as a part of the limit.
const HELD: f64 = 0.05;

/// When a call was let pass: not before the first time, and not after the second one.
type Admission = (u64, u64);

fn read(logs: &[PathBuf]) -> Result<Vec<Admission>> {
    let mut all = Vec::new();
    for log in logs {
        let bytes = std::fs::read(log)?;
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
        all.extend(bytes.chunks_exact(16).map(|pair| (number(&pair[..8]), number(&pair[8..]))));
    }
    Ok(all)
}

/// The most that were certainly inside one window of that length.
fn most(all: &[Admission], window: u64) -> usize {
    let mut begins: Vec<u64> = all.iter().map(|(before, _)| *before).collect();
    let mut ends: Vec<u64> = all.iter().map(|(_, after)| *after).collect();
    begins.sort_unstable();
    ends.sort_unstable();
    let inside = |end: &u64| {
        let ended = ends.partition_point(|after| after <= end);
        ended.saturating_sub(begins.partition_point(|before| *before <= end.saturating_sub(window)))
    };
    ends.iter().map(inside).max().unwrap_or(0)
}

/// The fewest that were inside a window of that length, in the time in which all processes ask.
fn fewest(all: &[Admission], window: u64) -> usize {
    let mut times: Vec<u64> = all.iter().map(|(_, after)| *after).collect();
    times.sort_unstable();
    let (Some(first), Some(last)) = (times.first().copied(), times.last().copied()) else { return 0 };
    // Not the first window, in which leases grow, and not the last one, in which the first processes are done.
    let (first, last) = (first + WINDOW, last.saturating_sub(WINDOW));
    let count =
        |begin: u64| times.partition_point(|at| *at <= begin + window) - times.partition_point(|at| *at <= begin);
    (first..last.saturating_sub(window)).step_by(10_000).map(count).min().unwrap_or(0)
}

pub(super) fn judge(options: &Options, logs: &[PathBuf]) -> Result<()> {
    let all = read(logs)?;
    let limit = options.limit as usize;
    let (most, fewest) = (most(&all, WINDOW), fewest(&all, AT_WORST));
    let slowest = all.iter().map(|(before, after)| after - before).max().unwrap_or(0);
    let bound = (f64::from(options.limit) * (1.0 - HELD * options.processes as f64)) as usize;
    println!(
        "{} admitted of {} checks; in a window of 1 s at most {most} of {limit}; in {:.2} s at least {fewest} (bound {bound}); the \
         slowest check took {:.1} ms",
        all.len(),
        options.checks * options.processes as u64,
        AT_WORST as f64 / 1e6,
        slowest as f64 / 1e3
    );
    ensure!(most <= limit, "{most} were admitted in a window of 1 s, the limit is {limit}");
    ensure!(fewest >= bound, "only {fewest} were admitted in {AT_WORST} us, {bound} were promised");
    Ok(())
}
