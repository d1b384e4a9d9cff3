//! What people are told by a coordinator, through the channels of `[alerts]`.

use std::sync::Arc;
use std::time::Duration;

use dbopt_core::alert::{Alerting, Measured, NodeCondition, NodeReading, Readings, Rule};
use dbopt_core::failover::{Memory, Sight, View};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Error, Failover};

/// How long the last news may take to be delivered.
const FAREWELL: Duration = Duration::from_secs(5);
/// A replica may receive nothing for so long when its sender changes.
const IDLE: Duration = Duration::from_secs(2);

/// The alerts of a coordinator. Their keys are those of the applications that use the same settings, so that whoever joins by key hears once.
pub(super) struct Notices {
    alerting: Arc<Alerting>,
    deliveries: JoinSet<()>,
    /// Whether another coordinator has the votes, and tells.
    stands_by: bool,
}

/// What is told of.
pub(super) struct Scene<'a> {
    pub(super) view: &'a View,
    pub(super) memory: &'a Memory,
    /// The last primary that was seen, now or before.
    pub(super) lead: Option<Arc<str>>,
    pub(super) failover: Option<&'a Failover>,
    /// Whether a node's agent reaches it.
    pub(super) reached: &'a dyn Fn(&str) -> bool,
    /// The node that its agent is at work on.
    pub(super) rejoining: Option<usize>,
    /// Why a node did not answer.
    pub(super) troubles: Vec<&'a str>,
}

impl Notices {
    /// After these settings; none if they name no channel.
    pub(super) fn new(config: &crate::Config) -> Result<Option<Self>, Error> {
        let mut alerts = config.alerts.clone();
        if !config.supervise.alerts || !alerts.enabled || alerts.channels().is_empty() {
            return Ok(None);
        }
        if let Some(problem) = alerts.problems().first() {
            return Err(Error::Settings(problem.clone()));
        }
        // Of calls, caches and lag it knows nothing.
        let unknown = |rule: &Rule| rule.is_of_instance() || matches!(rule, Rule::Lag | Rule::Unreached);
        alerts.off.extend(Rule::ALL.iter().filter(|rule| unknown(rule)).map(|rule| rule.name().to_owned()));
        if alerts.instance.is_empty() {
            alerts.instance = "dbopt supervise".to_owned();
        }
        let alerting = Alerting::new(alerts).map_err(|problems| Error::Settings(problems.join("; ")))?;
        Ok(Some(Notices { alerting, deliveries: JoinSet::new(), stands_by: true }))
    }

    /// Tells what is new. Waits for nothing.
    pub(super) fn observe(&mut self, scene: &Scene<'_>) {
        if self.deliveries.is_empty() {
            for (_, delivery) in self.alerting.tasks() {
                self.deliveries.spawn(delivery);
            }
        }
        let view = scene.view;
        let another = view.nodes.iter().any(|node| node.seen.as_ref().is_some_and(|seen| seen.taken && !node.voted));
        let stood_by = std::mem::replace(&mut self.stands_by, view.votes() < view.quorum() && another);
        if self.stands_by {
            return;
        }
        if stood_by {
            // What was before its time was told by another one.
            self.alerting.observe(&Readings { primary: scene.lead.clone(), ..Readings::default() });
        }
        self.alerting.observe(&scene.readings());
    }

    /// Waits until everything is told, for a few seconds at most.
    pub(super) async fn end(&self) {
        if !self.deliveries.is_empty() {
            self.alerting.shutdown(Instant::now() + FAREWELL).await;
        }
    }
}

impl Scene<'_> {
    fn readings(&self) -> Readings {
        let leader = self.memory.leader_of(self.view);
        let seen = leader.and_then(|node| self.view.nodes[node].seen.as_ref());
        Readings {
            nodes: (0..self.view.nodes.len()).map(|node| self.reading(node, leader)).collect(),
            primary: leader.map(|node| self.view.nodes[node].name.clone()),
            timeline: seen.map(|seen| seen.timeline),
            failover: self.failover.map(|failover| Measured {
                to: failover.to.clone(),
                outage: failover.took.as_secs_f64(),
                lost_bytes: Some(failover.lost_bytes),
                abandoned: None,
            }),
            ..Readings::default()
        }
    }

    fn reading(&self, node: usize, leader: Option<usize>) -> NodeReading {
        let sight = &self.view.nodes[node];
        let (condition, cause) = self.condition(node, sight, leader);
        NodeReading { name: sight.name.clone(), condition, cause, lag: None, unreached: None, paused: false }
    }

    fn condition(&self, node: usize, sight: &Sight, leader: Option<usize>) -> (NodeCondition, Option<String>) {
        let helped = (self.reached)(&sight.name);
        let back =
            if helped { "its agent brings it back as a replica" } else { "no agent reaches it: bring it back by hand" };
        let Some(seen) = &sight.seen else {
            if self.rejoining == Some(node) {
                return (NodeCondition::Returning, None);
            }
            let trouble = self.troubles.get(node).copied().unwrap_or_default();
            return (NodeCondition::Unreachable, Some(format!("{trouble}; {back}")));
        };
        if !self.memory.is_ours(seen) {
            return (NodeCondition::Foreign, None);
        }
        match (seen.standby, leader) {
            (true, _) if seen.streams() || seen.is_frozen() || sight.idle_for < IDLE => (NodeCondition::Fine, None),
            (true, _) => (NodeCondition::Disconnected, Some(format!("its receiver does not stream; {back}"))),
            (false, Some(leader)) if leader == node => (NodeCondition::Fine, None),
            (false, Some(leader)) => {
                let name = &self.view.nodes[leader].name;
                (
                    NodeCondition::SecondPrimary,
                    Some(format!("{name} is the primary; it takes no writes any more, and {back}")),
                )
            }
            (false, None) => (NodeCondition::Unknown, None),
        }
    }
}
