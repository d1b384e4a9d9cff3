//! How slow each replica is beside the others, from what calls took there. Pure.
//!
//! What calls take depends on what they do, so replicas are compared method by method: a method is to a call what its class of
//! statements is to a statement. And it depends on chance, so a replica is as slow as can be told apart from chance: one call that stalled among a
//! hundred says nothing, three that took a hundred times as long as usual say all.

use std::collections::HashMap;

use crate::observe::{BOUNDS, CallCounts, HistogramCounts};
use crate::op::Lane;

/// What is left of a second's calls a second later: they are forgotten by half in six and a half seconds.
const KEPT: f64 = 0.9;

/// How many standard errors a difference must have to be one.
const SURE: f64 = 2.0;

/// A call that failed for the node's reasons counts as one that took so many times as long as usual: a node that fails at once is not fast.
const PENALTY: f64 = 30.0;

/// In how many seconds a replica that is seen to be fast again loses half of its slowness, as a power: 100 becomes 10.
const HALVED_WHEN_FAST: f64 = 5.0;

/// The same while too few calls run there to tell.
const HALVED_UNSEEN: f64 = 30.0;

/// What is remembered of the calls.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    /// By the method's id and the node.
    windows: HashMap<(usize, usize), Window>,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    faults_seen: u64,
    /// In the last second, and lately.
    faults: [f64; 2],
    /// How many times as long as on the fastest node its calls take; rises at once, decays.
    slowness: f64,
}

/// The calls of a method on a node.
#[derive(Debug)]
struct Window {
    seen: HistogramCounts,
    seen_elsewhere: f64,
    /// Those of the last second, and the lately ended ones. The first tell at once what is new, the second what few calls tell.
    sums: [Sums; 2],
}

const LAST: usize = 0;
const LATELY: usize = 1;

/// From so many calls in a second on, other nodes are compared with that second rather than with what was usual before.
const ENOUGH: f64 = 8.0;

#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    count: f64,
    seconds: f64,
    /// The sums of the calls' times and of their squares, as the histogram's buckets tell them.
    told: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, other: Sums, kept: f64) {
        self.count = self.count * kept + other.count;
        self.seconds = self.seconds * kept + other.seconds;
        self.told = self.told * kept + other.told;
        self.squares = self.squares * kept + other.squares;
    }

    fn says_something(&self) -> bool {
        self.count >= 0.5
    }

    fn mean(&self) -> f64 {
        self.seconds / self.count
    }

    /// The square of the standard error of `seconds`. The calls are joined by one that is off by all of the mean, so that few that agree prove little.
    fn variance(&self) -> f64 {
        (self.squares - self.told * self.told / self.count).max(0.0) + self.mean().powi(2)
    }

    /// The mean at most, as far as that is sure.
    fn at_most(&self) -> f64 {
        self.mean() + SURE * self.variance().sqrt() / self.count
    }
}

impl Window {
    fn new() -> Self {
        Window { seen: HistogramCounts::default(), seen_elsewhere: 0.0, sums: Default::default() }
    }

    fn add(&mut self, counts: &CallCounts, kept: f64) {
        let mut new = Sums::default();
        // A call that another node answered first says how long it takes here at least.
        let mut times = counts.latency.clone();
        times.add(&counts.given_up);
        for (i, (now, before)) in times.buckets.iter().zip(self.seen.buckets).enumerate() {
            let more = now.saturating_sub(before) as f64;
            let lower = if i == 0 { 0.0 } else { BOUNDS[i - 1] };
            let upper = BOUNDS.get(i).copied().unwrap_or(lower);
            let middle = (lower + upper) / 2.0;
            new.count += more;
            new.told += more * middle;
            new.squares += more * (middle * middle + (upper - lower).powi(2) / 12.0);
        }
        // What a call lost on other nodes before it came here is not this one's.
        let elsewhere = (counts.elsewhere - self.seen_elsewhere).max(0.0);
        new.seconds = (times.sum - self.seen.sum - elsewhere).max(0.0);
        (self.seen, self.seen_elsewhere) = (times, counts.elsewhere);
        self.sums[LAST] = new;
        self.sums[LATELY].add(new, kept);
    }
}

impl Latencies {
    /// Takes in what was counted up to now, `seconds` after the last time; only nodes in `compared` are compared, and the others forgotten.
    pub(super) fn learn(&mut self, counts: &[CallCounts], faults: &[u64], compared: &[bool], seconds: f64) {
        let kept = KEPT.powf(seconds);
        self.nodes.resize(compared.len(), Node { faults_seen: 0, faults: [0.0; 2], slowness: 1.0 });
        for count in counts.iter().filter(|c| c.lane == Lane::Read) {
            let window = self.windows.entry((count.id, count.node)).or_insert_with(Window::new);
            window.add(count, kept);
            if !compared.get(count.node).is_some_and(|compared| *compared) {
                window.sums = Default::default();
            }
        }
        for ((node, &total), &compared) in self.nodes.iter_mut().zip(faults).zip(compared) {
            let new = total.saturating_sub(node.faults_seen) as f64;
            (node.faults_seen, node.faults) = (total, [new, node.faults[LATELY] * kept + new]);
            if !compared {
                (node.faults, node.slowness) = ([0.0; 2], 1.0);
            }
        }
        let (lately, last) = (self.ranges(LATELY), self.ranges(LAST));
        for ((node, lately), last) in self.nodes.iter_mut().zip(lately).zip(last) {
            node.slowness = follow(node.slowness, both(last, lately), seconds);
        }
    }

    /// How many times as long as on the fastest node calls take there; 1 when nothing is known.
    pub(super) fn slowness(&self, node: usize) -> f64 {
        self.nodes.get(node).map_or(1.0, |node| node.slowness)
    }

    /// Per node, between which bounds its slowness lies, if its calls say anything.
    fn ranges(&self, which: usize) -> Vec<Option<(f64, f64)>> {
        let usual = self.usual(which);
        let (mut all, mut calls) = (0.0, 0.0);
        // Per node: what its calls took, what they would have taken on the fastest node, and how sure that is.
        let mut totals = vec![(0.0, 0.0, 0.0); self.nodes.len()];
        for ((method, node), window) in &self.windows {
            let sums = &window.sums[which];
            let (true, Some(usual)) = (sums.says_something(), usual.get(method)) else { continue };
            let expected = sums.count * usual;
            (all, calls) = (all + expected, calls + sums.count);
            let (took, would_take, variance) = totals[*node];
            totals[*node] = (took + sums.seconds, would_take + expected, variance + sums.variance());
        }
        let usual_call = if calls > 0.0 { all / calls } else { 1.0 };
        let range = |(node, (took, expected, variance)): (&Node, (f64, f64, f64))| {
            let failed = node.faults[which] * usual_call;
            let (took, expected) = (took + PENALTY * failed, expected + failed);
            let error = SURE * (variance + node.faults[which] * (PENALTY * usual_call).powi(2) / 4.0).sqrt();
            (expected > 0.0).then(|| ((took - error) / expected, (took + error) / expected))
        };
        self.nodes.iter().zip(totals).map(range).collect()
    }

    /// Per method the mean time on the fastest node, told with care: a node that was fast a few times sets no standard.
    fn usual(&self, which: usize) -> HashMap<usize, f64> {
        let mut usual = HashMap::new();
        // What takes longer on all nodes than it did makes none of them slow.
        let least = |usual: &mut HashMap<usize, f64>, which: usize, from: f64| {
            let mut found: HashMap<usize, f64> = HashMap::new();
            for ((method, _), window) in self.windows.iter().filter(|(_, w)| w.sums[which].count >= from) {
                let at_most = window.sums[which].at_most();
                found.entry(*method).and_modify(|least| *least = least.min(at_most)).or_insert(at_most);
            }
            usual.extend(found);
        };
        least(&mut usual, LATELY, 0.5);
        if which == LAST {
            least(&mut usual, LAST, ENOUGH);
        }
        usual
    }
}

/// What both ranges have in common; the newer one where they contradict each other.
fn both(last: Option<(f64, f64)>, lately: Option<(f64, f64)>) -> Option<(f64, f64)> {
    match (last, lately) {
        (Some(last), Some(lately)) => {
            let (least, most) = (last.0.max(lately.0), last.1.min(lately.1));
            Some(if least <= most { (least, most) } else { last })
        }
        (last, lately) => last.or(lately),
    }
}

/// The slowness after another `seconds`, in which it was seen to lie in `range`: a peak EWMA.
fn follow(slowness: f64, range: Option<(f64, f64)>, seconds: f64) -> f64 {
    match range {
        Some((least, _)) if least >= slowness => least,
        Some((least, most)) if most < slowness => {
            slowness.powf(0.5f64.powf(seconds / HALVED_WHEN_FAST)).max(least).max(1.0)
        }
        _ => slowness.powf(0.5f64.powf(seconds / HALVED_UNSEEN)).max(1.0),
    }
}

#[cfg(test)]
mod tests;
