//! What a coordinator says: to the log, and to people.

use dbopt_core::failover::{Reason, Step, View};

use super::Supervisor;
use super::notices::Scene;

impl Supervisor {
    /// Waits until what people are to be told is told, for a few seconds at most. To be called once it does nothing more.
    pub async fn farewell(&self) {
        if let Some(notices) = &self.notices {
            notices.end().await;
        }
    }

    /// Tells people what is wrong with the servers, where the settings say how.
    pub(super) fn tell_people(&mut self, view: &View) {
        let Some(notices) = &mut self.notices else { return };
        let agent = self.agent.as_ref();
        notices.observe(&Scene {
            view,
            memory: &self.memory,
            lead: self.lead.as_ref().map(|lead| view.nodes[lead.node].name.clone()),
            failover: self.failovers.last(),
            reached: &|name| agent.is_some_and(|agent| agent.reaches(name)),
            rejoining: self.rejoining.as_ref().map(|(node, _)| *node),
            troubles: self.links.iter().map(|link| link.trouble.as_str()).collect(),
        });
    }

    /// A line for each step, and for each change of what is waited for.
    pub(super) fn tell_of(&self, step: &Step, view: &View) {
        if self.last.as_ref() == Some(step) {
            return;
        }
        let name = |node: &usize| &*view.nodes[*node].name;
        let names = |orders: &[dbopt_core::failover::Order]| {
            orders.iter().map(|order| name(&order.node)).collect::<Vec<_>>().join(", ")
        };
        match step {
            Step::Watch { leader } => tracing::info!(primary = name(leader), "all is well"),
            Step::Wait(Reason::StillHeard { by }) => {
                tracing::warn!(
                    replica = name(by),
                    "the primary does not answer us, but a replica hears it: nothing is done"
                )
            }
            Step::Wait(Reason::Suspect | Reason::Settling) => {
                let lost: Vec<_> = self.links.iter().filter(|link| link.misses() > 0).collect();
                let troubles: Vec<_> = lost.iter().map(|link| link.trouble.as_str()).collect();
                tracing::warn!(because = troubles.join("; "), "the primary does not answer; it is asked again");
            }
            Step::Wait(why) => tracing::warn!("{why}"),
            Step::Freeze { epoch, orders } => {
                tracing::warn!(epoch, nodes = names(orders), "replicas are kept from receiving");
            }
            Step::Promote { epoch, node } => tracing::warn!(epoch, node = name(node), "promote"),
            Step::Release { orders } => tracing::warn!(nodes = names(orders), "the attempt is given up"),
            Step::Settle { order } => tracing::info!(node = name(&order.node), "the attempt ends with this primary"),
            Step::Follow { leader, orders } => tracing::info!(nodes = names(orders), primary = name(leader), "follow"),
            Step::Open { node } => tracing::info!(node = name(node), "it may take writes again"),
            Step::Fence { order } => {
                tracing::warn!(
                    node = name(&order.node),
                    "a stale primary is set read-only and its sessions are ended; it has to be rewound or copied anew"
                );
            }
            Step::Synchronise { nodes } => {
                tracing::info!(
                    nodes = nodes.iter().map(name).collect::<Vec<_>>().join(", "),
                    "writes wait for replicas"
                );
            }
            Step::Checkpoint { node } => tracing::info!(node = name(node), "checkpoint"),
            Step::Rejoin { node, leader } => {
                tracing::warn!(node = name(node), primary = name(leader), "its agent makes it a replica again");
            }
        }
    }
}
