//! A latency histogram with fixed bounds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in seconds: they tell 1, 5, 10, 50 and 100 ms apart, which are the figures that the
/// targets are stated in.
pub const BOUNDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

const BOUNDS_NANOS: [u64; 18] = {
    let mut nanos = [0; 18];
    let mut i = 0;
    while i < 18 {
        nanos[i] = (BOUNDS[i] * 1e9) as u64;
        i += 1;
    }
    nanos
};

#[inline]
fn bucket_of(nanos: u64) -> usize {
    BOUNDS_NANOS.partition_point(|&bound| bound < nanos)
}

/// Counts durations by size; recording is one search and two atomic additions.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramCounts {
    /// Per bucket, not cumulative; the last one is above all bounds.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// The sum of all durations, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let nanos = duration.as_nanos() as u64;
        self.buckets[bucket_of(nanos)].fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Counts one duration, where no other thread counts at the same time: plain additions in place of atomic ones.
    #[inline]
    pub(super) fn record_alone(&self, duration: Duration) {
        let nanos = duration.as_nanos() as u64;
        let add = |to: &AtomicU64, n: u64| to.store(to.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        add(&self.buckets[bucket_of(nanos)], 1);
        add(&self.sum_nanos, nanos);
    }

    /// Adds what another one held.
    pub fn absorb(&self, counts: &HistogramCounts) {
        for (mine, theirs) in self.buckets.iter().zip(counts.buckets) {
            mine.fetch_add(theirs, Ordering::Relaxed);
        }
        self.sum_nanos.fetch_add((counts.sum * 1e9) as u64, Ordering::Relaxed);
    }

    /// What it holds now.
    pub fn counts(&self) -> HistogramCounts {
        HistogramCounts {
            buckets: std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed)),
            sum: self.sum_nanos.load(Ordering::Relaxed) as f64 / 1e9,
        }
    }
}

impl HistogramCounts {
    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds what another one holds.
    pub fn add(&mut self, other: &HistogramCounts) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }

    /// Takes off what it held earlier.
    pub(crate) fn subtract(&mut self, earlier: &HistogramCounts) {
        for (mine, theirs) in self.buckets.iter_mut().zip(earlier.buckets) {
            *mine = mine.saturating_sub(theirs);
        }
        self.sum = (self.sum - earlier.sum).max(0.0);
    }

    /// The duration below which the share `q` of all lies, in seconds, interpolated inside its bucket; `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * count as f64;
        let mut below = 0.0;
        for (i, &n) in self.buckets.iter().enumerate() {
            let n = n as f64;
            if n > 0.0 && below + n >= rank {
                let lower = if i == 0 { 0.0 } else { BOUNDS[i - 1] };
                let upper = BOUNDS.get(i).copied().unwrap_or(lower);
                return Some(lower + (upper - lower) * ((rank - below) / n));
            }
            below += n;
        }
        BOUNDS.last().copied()
    }
}

impl Default for HistogramCounts {
    fn default() -> Self {
        Histogram::default().counts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_duration_on_a_bound_belongs_below_it() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(100));
        histogram.record(Duration::from_secs(100));
        let counts = histogram.counts();
        assert_eq!(counts.buckets[10], 1);
        assert_eq!(counts.buckets[BOUNDS.len()], 1);
        assert!((counts.sum - 100.1).abs() < 1e-9);
    }

    #[test]
    fn no_quantile_of_nothing() {
        assert_eq!(Histogram::default().counts().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn quantiles_lie_in_their_bucket(mut millis in proptest::collection::vec(1u64..20_000, 1..200), q in 0.01f64..1.0) {
            let histogram = Histogram::default();
            for &ms in &millis { histogram.record(Duration::from_millis(ms)); }
            millis.sort_unstable();
            let exact = millis[((q * millis.len() as f64).ceil() as usize - 1).min(millis.len() - 1)] as f64 / 1e3;
            let told = histogram.counts().quantile(q).unwrap();
            let bucket = BOUNDS.partition_point(|&b| b < exact);
            let lower = if bucket == 0 { 0.0 } else { BOUNDS[bucket - 1] };
            prop_assert!(told >= lower - 1e-9 && told <= BOUNDS[bucket] + 1e-9, "{told} for {exact}");
        }
    }
}
