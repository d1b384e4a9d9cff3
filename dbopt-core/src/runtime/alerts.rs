//! What the rules of alerts look at, gathered once a second.

use std::sync::{Arc, Weak};

use tokio::time::{MissedTickBehavior, interval};

use super::Runtime;
use crate::alert::{Alerting, Measured, NodeCondition, NodeReading, Readings, Totals};
use crate::backend::Backend;
use crate::cluster::NodeState;
use crate::observe::HistogramCounts;

/// Judges the state for as long as the runtime lives.
pub(super) async fn watch<B: Backend>(runtime: Weak<Runtime<B>>, alerting: Arc<Alerting>) {
    let mut ticks = interval(alerting.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(runtime) = runtime.upgrade() else { return };
        runtime.events.note_alerts(&alerting.observe(&runtime.readings()));
    }
}

/// A node's state in the words of the alerts.
fn condition(state: NodeState) -> NodeCondition {
    match state {
        NodeState::Healthy | NodeState::Degraded => NodeCondition::Fine,
        NodeState::Lagging => NodeCondition::Lagging,
        NodeState::Returning => NodeCondition::Returning,
        NodeState::Diverged => NodeCondition::Diverged,
        NodeState::Duplicate => NodeCondition::Duplicate,
        NodeState::Unreachable => NodeCondition::Unreachable,
        NodeState::Disconnected => NodeCondition::Disconnected,
        NodeState::Foreign => NodeCondition::Foreign,
        NodeState::Fenced => NodeCondition::SecondPrimary,
        NodeState::Unknown | NodeState::Vacant => NodeCondition::Unknown,
    }
}

impl<B: Backend> Runtime<B> {
    /// From what is in memory; no server is asked.
    fn readings(&self) -> Readings {
        let topology = self.cluster.topology();
        let nodes = topology.nodes().map(|node| NodeReading {
            name: node.name.clone(),
            condition: condition(node.state),
            cause: node.cause.clone(),
            lag: node.lag.seconds(),
            unreached: node.details.reached.unreached().map(|time| time.as_secs_f64()),
            paused: node.details.paused,
        });
        let primary = topology.primary.and_then(|i| topology.nodes.get(i));
        let cache = self.cache.status();
        Readings {
            nodes: nodes.collect(),
            primary: primary.map(|node| node.name.clone()),
            timeline: primary.and_then(|node| node.position).map(|position| position.timeline),
            failover: topology.takeover.as_ref().map(|takeover| Measured {
                to: takeover.to.clone(),
                outage: takeover.outage.as_secs_f64(),
                lost_bytes: takeover.lost_bytes,
                abandoned: takeover.abandoned,
            }),
            in_use: self.in_use(),
            max: self.budget.max(),
            totals: Totals { lookups: cache.hits + cache.misses, hits: cache.hits, ..self.call_totals() },
            redis_up: (cache.redis != "not configured").then_some(cache.redis == "up"),
            journal: cache.journal,
        }
    }

    /// All calls since the start, as the alerts count them.
    pub(super) fn call_totals(&self) -> Totals {
        let count_application = self.config.alerts.error_rate.application;
        let mut totals = Totals::default();
        for counts in self.calls.counts() {
            totals.calls += counts.latency.count();
            totals.errors += counts.infrastructure_errors;
            if count_application {
                totals.errors += counts.application_errors;
            }
            match &mut totals.latency {
                Some(all) => HistogramCounts::add(all, &counts.latency),
                none => *none = Some(counts.latency),
            }
        }
        for (_, refused, _) in self.calls.refused_and_rerun() {
            totals.calls += refused;
            totals.errors += refused;
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::prometheus::{LOST, OPEN, STRAY};
    use crate::alert::rules::{Past, judge};
    use crate::alert::state::Verdict;
    use crate::alert::{Config, Rule, Traffic};

    /// The rules for Prometheus name states, the built-in ones conditions: both mean the same.
    #[test]
    fn prometheus_takes_the_same_states_for_bad_as_the_alerts_do() {
        for state in NodeState::ALL {
            let node = NodeReading {
                name: "db2".into(),
                condition: condition(state),
                cause: None,
                lag: None,
                unreached: None,
                paused: false,
            };
            let readings = Readings { nodes: vec![node], primary: Some("db1".into()), ..Readings::default() };
            let found = judge(&Config::default(), &readings, &Traffic::default(), &Past::default());
            let verdict = |rule| found.iter().find(|found| found.key.0 == rule).map(|found| found.verdict);
            for (rule, states) in [(Rule::Node, &LOST[..]), (Rule::Stray, &STRAY[..])] {
                let is_bad = verdict(rule) == Some(Verdict::Bad);
                assert_eq!(is_bad, states.contains(&state.name()), "{} {}", rule.name(), state.name());
            }
            let is_open = verdict(Rule::Node) == Some(Verdict::Between);
            assert_eq!(is_open, OPEN.contains(&state.name()), "{}", state.name());
        }
    }
}
