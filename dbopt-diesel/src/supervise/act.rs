//! Steps are done here, each on the sessions that hold the votes.

use std::sync::Arc;
use std::time::Duration;

use dbopt_core::failover::{Conninfo, Order, Step};
use futures_util::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep};

use super::agent::Rejoin;
use super::link::{APPLICATION, Link};
use super::{Error, Supervisor};

/// How long a statement may take that changes something small.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long frozen receivers may take to end.
const RECEIVERS: Duration = Duration::from_secs(3);
/// A checkpoint writes all that is dirty.
const CHECKPOINT: Duration = Duration::from_secs(120);

impl Supervisor {
    /// Does what was decided, while the votes are kept alive.
    pub(super) async fn act(&mut self, step: &Step) -> Result<(), Error> {
        if let Step::Rejoin { node, leader } = step {
            return self.rejoin(*node, *leader).await;
        }
        let this = &*self;
        tokio::select! {
            result = this.perform(step) => result,
            () = this.stay() => Ok(()),
        }
    }

    async fn perform(&self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Freeze { orders, .. } => {
                self.give(orders).await?;
                try_join_all(orders.iter().map(|order| receives_nothing(&self.links[order.node]))).await.map(drop)
            }
            Step::Release { orders } => self.give(orders).await,
            Step::Settle { order } => self.give(std::slice::from_ref(order)).await,
            Step::Follow { leader, orders } => {
                // Before anybody comes: the log that they need must stay.
                for order in orders {
                    if let Some(slot) = self.links[order.node].seen.as_ref().and_then(|seen| seen.slot.as_deref()) {
                        self.make_slot(*leader, slot).await?;
                    }
                }
                self.give(orders).await
            }
            Step::Promote { node, .. } => self.promote(*node).await,
            Step::Open { node } => self.open(*node).await,
            Step::Fence { order } => self.fence(order).await,
            Step::Synchronise { nodes } => {
                let value = self.rules.synchronous().unwrap_or_default();
                let settings = [("synchronous_standby_names", value)];
                try_join_all(nodes.iter().map(|node| self.links[*node].set(&settings, PATIENCE))).await.map(drop)
            }
            Step::Checkpoint { node } => {
                self.links[*node].run("CHECKPOINT", CHECKPOINT, "a checkpoint").await.map(drop)
            }
            Step::Watch { .. } | Step::Wait(_) | Step::Rejoin { .. } => Ok(()),
        }
    }

    /// Keeps the votes alive; never ends.
    pub(super) async fn stay(&self) {
        loop {
            sleep(self.config.lease / 4).await;
            join_all(self.links.iter().map(|link| link.keep(self.config.lease / 4))).await;
        }
    }

    /// Waits for the next look, keeping the votes alive.
    pub(super) async fn rest(&self, pause: Duration) {
        tokio::select! { () = self.stay() => {}, () = sleep(pause) => {} }
    }

    async fn give(&self, orders: &[Order]) -> Result<(), Error> {
        let given = join_all(orders.iter().map(|order| self.tell(order.node, &order.conninfo))).await;
        given.into_iter().collect()
    }

    pub(super) async fn tell(&self, node: usize, conninfo: &Conninfo) -> Result<(), Error> {
        self.links[node].set(&[("primary_conninfo", &conninfo.to_string())], PATIENCE).await
    }

    /// On the session with the vote: had another coordinator taken it over, the session would be gone. Asked for at once after all votes were
    /// seen to be there.
    pub(super) async fn promote(&self, node: usize) -> Result<(), Error> {
        let quorum = self.links.len() / 2 + 1;
        let alive =
            join_all(self.links.iter().map(async |link| link.has_voted() && link.keep(self.config.timeout).await))
                .await;
        let votes = alive.iter().filter(|alive| **alive).count();
        if votes < quorum || !alive[node] {
            return Err(Error::NoMajority { votes, quorum });
        }
        let patience = self.config.patience;
        let sql = format!("SELECT pg_promote(true, {})", patience.as_secs());
        match self.links[node].run(&sql, patience + PATIENCE, "the promotion").await?.as_deref() {
            Some("t") => Ok(()),
            _ => Err(self.links[node].refused("it is not a primary yet; its log tells why")),
        }
    }

    pub(super) async fn open(&self, node: usize) -> Result<(), Error> {
        let link = &self.links[node];
        let mut settings = vec![("default_transaction_read_only", "off".to_owned())];
        if let Some(seen) = link.seen.as_ref().filter(|seen| !seen.standby) {
            let conninfo = seen.conninfo.clone().unwrap_or_default();
            let epoch = conninfo.mark().map_or(0, |mark| mark.epoch);
            settings.push(("primary_conninfo", conninfo.released(epoch).to_string()));
        }
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        link.set(&settings, PATIENCE).await
    }

    /// New transactions are refused, and those under way end with their sessions.
    async fn fence(&self, order: &Order) -> Result<(), Error> {
        self.close(order).await?;
        self.end_sessions(order.node, "'client backend', 'walsender'").await
    }

    /// New transactions are refused.
    pub(super) async fn close(&self, order: &Order) -> Result<(), Error> {
        let conninfo = order.conninfo.to_string();
        let settings = [("default_transaction_read_only", "on"), ("primary_conninfo", conninfo.as_str())];
        self.links[order.node].set(&settings, PATIENCE).await
    }

    /// Superusers' sessions are out of our reach, unless we are one.
    pub(super) async fn end_sessions(&self, node: usize, kinds: &str) -> Result<(), Error> {
        let link = &self.links[node];
        let sql = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity LEFT JOIN pg_roles ON pg_roles.oid = usesysid \
             WHERE pid <> pg_backend_pid() AND backend_type IN ({kinds}) \
             AND application_name <> '{APPLICATION}' \
             AND (NOT coalesce(rolsuper, false) OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))"
        );
        link.run(&sql, PATIENCE, "its sessions' end").await.map(drop)
    }

    async fn make_slot(&self, leader: usize, slot: &str) -> Result<(), Error> {
        let slot = slot.replace('\'', "''");
        // One that has lost log is of no use to anybody.
        let drop = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}' AND wal_status = 'lost'"
        );
        let make = format!(
            "SELECT pg_create_physical_replication_slot('{slot}', true) \
             WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}')"
        );
        self.links[leader].run(&drop, PATIENCE, "a slot").await?;
        self.links[leader].run(&make, PATIENCE, "a slot").await.map(|_| ())
    }

    /// Has the node's agent at it, beside everything else: a primary may be lost meanwhile.
    async fn rejoin(&mut self, node: usize, leader: usize) -> Result<(), Error> {
        let Some(agent) = self.agent.clone() else { return Ok(()) };
        let conninfo = |node: usize| {
            let seen = self.links[node].seen.as_ref()?;
            seen.conninfo.as_ref().map(Conninfo::unfrozen).filter(|conninfo| conninfo.get("user").is_some())
        };
        let others = std::iter::once(node).chain(std::iter::once(leader)).chain(0..self.links.len());
        let base = others.clone().find_map(conninfo).unwrap_or_default();
        let epoch = self.links[leader].seen.as_ref().and_then(|seen| seen.mark()).map_or(0, |mark| mark.epoch);
        let (link, lead) = (&self.links[node], &self.links[leader]);
        let named = link.seen.as_ref().and_then(|seen| seen.slot.clone());
        let slot = named.unwrap_or_else(|| slot_name(&link.name));
        let fell_behind = lead.seen.as_ref().is_some_and(|head| head.lost_slots.contains(&slot));
        self.make_slot(leader, &slot).await?;
        let order = Rejoin {
            node: link.name.clone(),
            leader: lead.place.clone(),
            conninfo: base.following(&lead.place, &link.name, epoch).to_string(),
            slot,
            fell_behind,
        };
        let name = link.name.clone();
        self.links[node].close();
        let task = tokio::spawn(async move {
            let began = Instant::now();
            match agent.rejoin(order).await {
                Ok(way) => tracing::info!(node = &*name, %way, took = ?began.elapsed(), "the node is a replica again"),
                Err(error) => {
                    tracing::error!(node = &*name, %error, "the node could not be made a replica again; it is tried again");
                }
            }
        });
        self.rejoining = Some((node, task));
        self.agent_from = Instant::now() + self.config.rejoin_after;
        Ok(())
    }
}

/// Slots allow lower-case letters, digits and underscores only.
fn slot_name(node: &Arc<str>) -> String {
    let legal = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' };
    node.to_ascii_lowercase().chars().map(legal).take(63).collect()
}

/// Waits until a frozen replica's receiver has ended, for more than an instant: between two attempts to connect there is none, either.
async fn receives_nothing(link: &Link) -> Result<(), Error> {
    let give_up = Instant::now() + RECEIVERS;
    let sql = "SELECT count(*) FROM pg_stat_wal_receiver WHERE coalesce(status, 'streaming') = 'streaming'";
    let mut quiet = 0;
    while quiet < 3 {
        let receivers = link.run(sql, PATIENCE, "its receiver").await?;
        quiet = if receivers.as_deref() == Some("0") { quiet + 1 } else { 0 };
        if Instant::now() > give_up {
            return Err(link.refused("its receiver does not end"));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
