//! What the rules look at, as plain values, and rates made of counters. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::observe::HistogramCounts;

/// An instance and its cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// Every node, in the order of the configuration.
    pub nodes: Vec<NodeReading>,
    /// The name of the primary, if there is one.
    pub primary: Option<Arc<str>>,
    /// Its timeline, where that is known: it tells one failover from another on all instances alike.
    pub timeline: Option<u32>,
    /// The last failover, as it was measured.
    pub failover: Option<Measured>,
    /// Connections lent to calls.
    pub in_use: usize,
    /// Connections that may be open.
    pub max: usize,
    /// What was counted since the start.
    pub totals: Totals,
    /// Whether Redis answers, where it is configured.
    pub redis_up: Option<bool>,
    /// Invalidations that wait to be delivered.
    pub journal: usize,
}

/// A failover, measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The primary since.
    pub to: Arc<str>,
    /// For how long there was none, in seconds.
    pub outage: f64,
    /// How many bytes of log were lost, as far as is known; `None` when nobody can tell.
    pub lost_bytes: Option<u64>,
    /// The higher timeline that was given up for it.
    pub abandoned: Option<u32>,
}

/// How much was lost, in words.
pub fn loss_in_words(bytes: Option<u64>) -> String {
    match bytes {
        Some(0) => "no log is known to be lost".into(),
        Some(bytes) => format!("at least {bytes} bytes of log are lost, with what was written there"),
        None => "how much of the log is lost is not known".into(),
    }
}

/// A node at one moment.
#[derive(Debug, Clone)]
pub struct NodeReading {
    /// The name.
    pub name: Arc<str>,
    /// How it is.
    pub condition: NodeCondition,
    /// Why it is not fine.
    pub cause: Option<String>,
    /// How far behind it is in seconds; `None` when nobody can tell.
    pub lag: Option<f64>,
    /// For how long a write of the primary has not reached it, in seconds; `None` for what is no replica.
    pub unreached: Option<f64>,
    /// Whether somebody has stopped it from replaying.
    pub paused: bool,
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeCondition {
    /// Answers, and is where it belongs.
    Fine,
    /// Serves no reads, as it is too far behind.
    Lagging,
    /// Answers again, and is not trusted yet.
    Returning,
    /// Does not answer.
    Unreachable,
    /// A replica that receives nothing.
    Disconnected,
    /// A replica that has gone a way of its own.
    Diverged,
    /// The same server as another node.
    Duplicate,
    /// Belongs to another cluster.
    Foreign,
    /// Says it is a primary, and another one is.
    SecondPrimary,
    /// Not asked yet.
    Unknown,
}

/// What was counted since the start.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Latencies of all calls; `None` before the first.
    pub latency: Option<HistogramCounts>,
    /// Calls, those included that no node took.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Look-ups in the cache.
    pub lookups: u64,
    /// Those that it answered.
    pub hits: u64,
}

/// What happened in the last moments.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traffic {
    /// Calls.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls whose time is known.
    pub timed: u64,
    /// The time that 99 of 100 stayed below, in seconds.
    pub p99: Option<f64>,
    /// Look-ups in the cache.
    pub lookups: u64,
    /// Those that it answered.
    pub hits: u64,
}

/// The counters over the last moments, from which rates follow.
#[derive(Debug)]
pub struct Window {
    span: Duration,
    samples: VecDeque<(Instant, Totals)>,
}

impl Window {
    /// A window of this length, in which nothing happened yet.
    pub fn new(span: Duration) -> Self {
        Window { span, samples: VecDeque::new() }
    }

    /// Adds the counters at `now`; what happened since the window began.
    pub fn push(&mut self, now: Instant, totals: Totals) -> Traffic {
        // The newest sample that is old enough is the window's beginning; those before it are of no use any more.
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= self.span) {
            self.samples.pop_front();
        }
        let traffic = self.samples.front().map_or_else(Traffic::default, |(_, begin)| between(begin, &totals));
        self.samples.push_back((now, totals));
        traffic
    }
}

fn between(begin: &Totals, end: &Totals) -> Traffic {
    let latency = match (&begin.latency, &end.latency) {
        (Some(begin), Some(end)) => Some(HistogramCounts {
            buckets: std::array::from_fn(|i| end.buckets[i].saturating_sub(begin.buckets[i])),
            sum: end.sum - begin.sum,
        }),
        (None, end) => end.clone(),
        (Some(_), None) => None,
    };
    Traffic {
        calls: end.calls.saturating_sub(begin.calls),
        errors: end.errors.saturating_sub(begin.errors),
        timed: latency.as_ref().map_or(0, HistogramCounts::count),
        p99: latency.and_then(|latency| latency.quantile(0.99)),
        lookups: end.lookups.saturating_sub(begin.lookups),
        hits: end.hits.saturating_sub(begin.hits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Histogram;

    #[tokio::test(start_paused = true)]
    async fn a_rate_forgets_what_is_older_than_the_window() {
        let (start, mut window) = (Instant::now(), Window::new(Duration::from_secs(30)));
        let at = |s: u64| start + Duration::from_secs(s);
        let totals = |calls, errors| Totals { calls, errors, ..Totals::default() };
        assert_eq!(window.push(at(0), totals(1000, 1000)), Traffic::default(), "before there is a rate there is none");
        assert_eq!(window.push(at(1), totals(1010, 1005)).errors, 5);
        for s in 2..60 {
            window.push(at(s), totals(1010 + s, 1005));
        }
        let traffic = window.push(at(60), totals(1070, 1005));
        assert_eq!((traffic.calls, traffic.errors), (30, 0));
        assert!(window.samples.len() <= 32);
    }

    #[tokio::test(start_paused = true)]
    async fn the_p99_is_that_of_the_window_alone() {
        let (start, mut window, histogram) =
            (Instant::now(), Window::new(Duration::from_secs(30)), Histogram::default());
        for _ in 0..1000 {
            histogram.record(Duration::from_secs(3));
        }
        let totals = |h: &Histogram| Totals { latency: Some(h.counts()), ..Totals::default() };
        window.push(start, totals(&histogram));
        for _ in 0..100 {
            histogram.record(Duration::from_millis(2));
        }
        let traffic = window.push(start + Duration::from_secs(1), totals(&histogram));
        assert!(traffic.timed == 100 && traffic.p99.is_some_and(|p99| p99 < 0.003), "{traffic:?}");
    }
}
