//! The last quarter of an hour in samples, so that whoever opens the dashboard sees at once how things came to be as they are.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Runtime;
use crate::backend::Backend;
use crate::cluster::{NodeState, NodeView};
use crate::observe::{CallCounts, HistogramCounts};
use crate::op::Lane;

/// How often a sample is taken.
const EVERY: Duration = Duration::from_secs(2);

/// How many are kept: a quarter of an hour.
const KEPT: usize = 450;

/// The time over which calls are counted for a rate, as for the alerts.
const RATE: Duration = Duration::from_secs(30);

/// The last quarter of an hour.
#[derive(Debug, Clone, Serialize)]
pub struct History {
    /// The time between two samples, in seconds.
    pub interval_seconds: f64,
    /// The number of the newest sample; ask for those after it next time.
    pub newest: u64,
    /// The samples, oldest first.
    pub samples: Vec<Sample>,
}

/// What happened between two moments, and how things stood at the second one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// Counts samples since the start.
    pub number: u64,
    /// How long ago it was taken, in seconds.
    pub ago_seconds: f64,
    /// Calls that ended, per second, in the order of the lanes: reads, writes, critical.
    pub calls_per_second: [f64; 3],
    /// Calls that failed for the nodes' or dbopt's reasons, per second.
    pub errors_per_second: f64,
    /// The time that half of the calls stayed below, in milliseconds; absent if there were none.
    pub p50_ms: Option<f64>,
    /// The time that 99 of 100 calls stayed below, in milliseconds; absent if there were none.
    pub p99_ms: Option<f64>,
    /// Connections lent to calls, in percent of the most that may be open.
    pub utilization_percent: f64,
    /// Calls that wait for a connection.
    pub waiting: usize,
    /// Look-ups in the cache that needed no load, in percent; absent if there were none.
    pub hit_rate_percent: Option<f64>,
    /// Calls admitted by rate limits, per second, those included that were admitted without Redis or as an administrator asked.
    pub admitted_per_second: f64,
    /// Calls refused by rate limits, per second.
    pub refused_per_second: f64,
    /// Every node.
    pub nodes: Vec<NodeSample>,
}

/// One node in a [`Sample`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeSample {
    /// The name.
    pub name: Arc<str>,
    /// How far behind it is, in seconds; absent while unknown.
    pub lag_seconds: Option<f64>,
    /// Calls that ended there, per second, whatever their lane.
    pub calls_per_second: f64,
    /// How much of its machine's processors is in use, in percent; absent where nobody can tell.
    pub cpu_percent: Option<f64>,
}

/// Everything that only grows, at one moment.
#[derive(Debug, Clone, Default)]
struct Totals {
    calls: [u64; 3],
    by_node: Vec<u64>,
    errors: u64,
    latency: HistogramCounts,
    lookups: u64,
    hits: u64,
    admitted: u64,
    refused: u64,
}

impl Totals {
    fn new(nodes: usize, counts: &[CallCounts]) -> Self {
        let mut totals = Totals { by_node: vec![0; nodes], ..Totals::default() };
        for counts in counts {
            let calls = counts.latency.count();
            if let Some(lane) = Lane::ALL.iter().position(|lane| *lane == counts.lane) {
                totals.calls[lane] += calls;
            }
            totals.by_node[counts.node] += calls;
            totals.errors += counts.infrastructure_errors;
            totals.latency.add(&counts.latency);
        }
        totals
    }
}

/// How things stand.
#[derive(Debug, Default)]
struct Standing {
    utilization_percent: f64,
    waiting: usize,
    nodes: Vec<StandingNode>,
}

/// How a node stands.
#[derive(Debug)]
struct StandingNode {
    /// Its place in the configuration.
    place: usize,
    name: Arc<str>,
    lag_seconds: Option<f64>,
    cpu: Option<f64>,
}

fn sample(number: u64, before: &Totals, after: &Totals, standing: Standing, elapsed: Duration) -> Sample {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
    let mut latency = after.latency.clone();
    latency.subtract(&before.latency);
    let ms = |q| latency.quantile(q).map(|seconds| seconds * 1e3);
    let lookups = after.lookups.saturating_sub(before.lookups);
    let hits = after.hits.saturating_sub(before.hits);
    let calls_of = |totals: &Totals, node: usize| totals.by_node.get(node).copied().unwrap_or_default();
    Sample {
        number,
        ago_seconds: 0.0,
        calls_per_second: std::array::from_fn(|lane| rate(before.calls[lane], after.calls[lane])),
        errors_per_second: rate(before.errors, after.errors),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        utilization_percent: standing.utilization_percent,
        waiting: standing.waiting,
        hit_rate_percent: (lookups > 0).then(|| 100.0 * hits.min(lookups) as f64 / lookups as f64),
        admitted_per_second: rate(before.admitted, after.admitted),
        refused_per_second: rate(before.refused, after.refused),
        nodes: standing
            .nodes
            .into_iter()
            .map(|node| NodeSample {
                calls_per_second: rate(calls_of(before, node.place), calls_of(after, node.place)),
                name: node.name,
                lag_seconds: node.lag_seconds,
                cpu_percent: node.cpu.map(|share| share * 100.0),
            })
            .collect(),
    }
}

/// The samples of an instance.
#[derive(Debug)]
pub(super) struct Samples {
    born: Instant,
    /// Newest last.
    kept: Mutex<VecDeque<Taken>>,
}

#[derive(Debug)]
struct Taken {
    at: Instant,
    /// How many calls there were until then, those included that no node took.
    calls: u64,
    sample: Sample,
}

impl Default for Samples {
    fn default() -> Self {
        Samples { born: Instant::now(), kept: Mutex::default() }
    }
}

impl Samples {
    fn push(&self, calls: u64, sample: Sample) {
        let mut kept = self.kept.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Taken { at: Instant::now(), calls, sample });
    }

    fn after(&self, number: u64) -> History {
        let kept = self.kept.lock();
        let aged = |taken: &Taken| Sample { ago_seconds: taken.at.elapsed().as_secs_f64(), ..taken.sample.clone() };
        History {
            interval_seconds: EVERY.as_secs_f64(),
            newest: kept.back().map_or(0, |taken| taken.sample.number),
            samples: kept.iter().filter(|taken| taken.sample.number > number).map(aged).collect(),
        }
    }

    /// Since the instance began.
    pub(super) fn uptime(&self) -> Duration {
        self.born.elapsed()
    }

    /// Calls per second in the last 30 seconds, or since the beginning, given how many there were until now.
    pub(super) fn per_second(&self, calls: u64) -> f64 {
        let kept = self.kept.lock();
        let begin = kept.iter().rev().find(|taken| taken.at.elapsed() >= RATE);
        let (at, before) = begin.map_or((self.born, 0), |taken| (taken.at, taken.calls));
        let seconds = at.elapsed().as_secs_f64();
        if seconds > 0.0 { calls.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }
}

/// Takes samples for as long as the runtime lives.
pub(super) async fn watch<B: Backend>(runtime: Weak<Runtime<B>>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let Some(mut before) = runtime.upgrade().map(|runtime| runtime.totals()) else { return };
    let mut at = Instant::now();
    for number in 1.. {
        ticks.tick().await;
        let Some(runtime) = runtime.upgrade() else { return };
        let (after, now) = (runtime.totals(), Instant::now());
        let sample = sample(number, &before, &after, runtime.standing(), now - at);
        runtime.samples.push(runtime.call_totals().calls, sample);
        (before, at) = (after, now);
    }
}

impl<B: Backend> Runtime<B> {
    /// The samples of the last quarter of an hour that come after the one of this number; 0 gives all.
    pub fn history(&self, after: u64) -> History {
        self.samples.after(after)
    }

    fn totals(&self) -> Totals {
        let cache = self.cache.status();
        let checks = self.limiter.status().methods;
        Totals {
            lookups: cache.hits + cache.misses,
            hits: cache.hits,
            admitted: checks.iter().map(|checks| checks.admitted + checks.bypassed + checks.degraded).sum(),
            refused: checks.iter().map(|checks| checks.refused).sum(),
            ..Totals::new(self.pools.len(), &self.calls.counts())
        }
    }

    fn standing(&self) -> Standing {
        let topology = self.cluster.topology();
        let there = topology.nodes.iter().enumerate().filter(|(_, node)| node.state != NodeState::Vacant);
        let standing = |(place, node): (usize, &NodeView)| StandingNode {
            place,
            name: node.name.clone(),
            lag_seconds: node.lag.seconds(),
            cpu: node.host.cpu,
        };
        Standing {
            utilization_percent: 100.0 * self.in_use() as f64 / self.budget.max() as f64,
            waiting: self.pools.iter().flatten().map(|pool| pool.status().waiting).sum(),
            nodes: there.map(standing).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(node: usize, lane: Lane, fast: u64, slow: u64, failed: u64) -> CallCounts {
        let mut latency = HistogramCounts::default();
        (latency.buckets[3], latency.buckets[10]) = (fast, slow);
        CallCounts {
            id: 0,
            method: "Things::value",
            node,
            lane,
            latency,
            application_errors: 7,
            infrastructure_errors: failed,
            elsewhere: 0.0,
            given_up: HistogramCounts::default(),
        }
    }

    #[test]
    fn a_sample_tells_of_its_own_time_only() {
        let before = Totals::new(2, &[counts(0, Lane::Write, 10, 0, 0), counts(1, Lane::Read, 1000, 1000, 5)]);
        let mut after = Totals::new(2, &[counts(0, Lane::Write, 30, 0, 0), counts(1, Lane::Read, 1198, 1002, 9)]);
        (after.lookups, after.hits, after.refused, after.admitted) = (50, 40, 6, 8);
        let node = |place, name: &str, lag_seconds, cpu| StandingNode { place, name: name.into(), lag_seconds, cpu };
        let standing = Standing {
            utilization_percent: 12.5,
            waiting: 3,
            nodes: vec![node(0, "a", Some(0.0), Some(0.5)), node(1, "b", None, None)],
        };
        let sample = sample(9, &before, &after, standing, Duration::from_secs(2));
        assert_eq!(sample.calls_per_second, [100.0, 10.0, 0.0]);
        assert_eq!((sample.errors_per_second, sample.refused_per_second, sample.admitted_per_second), (2.0, 3.0, 4.0));
        assert_eq!((sample.hit_rate_percent, sample.waiting, sample.utilization_percent), (Some(80.0), 3, 12.5));
        assert!(sample.p50_ms.is_some_and(|p50| p50 < 1.0), "the slow ones were before: {sample:?}");
        let told = |n: &NodeSample| (n.name.to_string(), n.calls_per_second, n.lag_seconds, n.cpu_percent);
        let nodes: Vec<_> = sample.nodes.iter().map(told).collect();
        assert_eq!(nodes, [("a".to_owned(), 10.0, Some(0.0), Some(50.0)), ("b".to_owned(), 100.0, None, None)]);
    }

    #[test]
    fn nothing_happened_is_not_zero_milliseconds() {
        let totals = Totals::new(1, &[counts(0, Lane::Read, 10, 0, 0)]);
        let sample = sample(1, &totals, &totals, Standing::default(), Duration::ZERO);
        assert_eq!((sample.p50_ms, sample.p99_ms, sample.hit_rate_percent), (None, None, None));
        assert_eq!(sample.calls_per_second, [0.0; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quarter_of_an_hour_is_kept_and_told_piece_by_piece() {
        let samples = Samples::default();
        assert_eq!((samples.after(0).newest, samples.after(0).samples.len()), (0, 0));
        for number in 1..=500 {
            tokio::time::advance(EVERY).await;
            samples
                .push(number * 100, sample(number, &Totals::default(), &Totals::default(), Standing::default(), EVERY));
        }
        let all = samples.after(0);
        assert_eq!((all.samples.len(), all.newest, all.samples[0].number), (450, 500, 51));
        assert_eq!((all.samples[0].ago_seconds, all.samples[449].ago_seconds), (898.0, 0.0));
        let new: Vec<u64> = samples.after(498).samples.iter().map(|sample| sample.number).collect();
        assert_eq!(new, [499, 500]);
        assert!(samples.after(u64::MAX).samples.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_that_of_the_last_half_minute() {
        let samples = Samples::default();
        let push =
            |calls| samples.push(calls, sample(1, &Totals::default(), &Totals::default(), Standing::default(), EVERY));
        assert_eq!(samples.per_second(7), 0.0, "nothing is known of no time");
        for second in (2..=100).step_by(2) {
            tokio::time::advance(EVERY).await;
            assert_eq!(samples.per_second(second * 50), 50.0);
            push(second * 50);
        }
        assert_eq!(samples.per_second(5000), 50.0);
        tokio::time::advance(RATE).await;
        push(5000);
        assert_eq!(samples.per_second(5000), 0.0, "what was before is forgotten");
        assert_eq!(samples.uptime(), Duration::from_secs(130));
    }
}
