//! A change of primary by plan, with nothing lost.

use std::time::Duration;

use dbopt_core::failover::{Conninfo, Order, View};
use tokio::time::{Instant, sleep};

use super::drain::drain;
use super::{Error, Supervisor};

/// How long the replica may take to replay the last of the log: writes wait meanwhile.
const CATCH_UP: Duration = Duration::from_secs(10);
/// How many steps it takes to take it back, at most.
const ROUNDS: usize = 6;
const STATEMENT: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Makes `to`, or the replica that has most, the primary. Sessions of the old primary end, so callers see a lost connection at most once;
    /// returns when the other one is the primary. What is left (replicas that follow, the old primary that becomes one) is done by
    /// [`run`](Self::run), here or by another coordinator.
    ///
    /// # Errors
    /// When the votes cannot be had (another coordinator runs: stop it, or have it do it), or the replica does not catch up. Then the old
    /// primary takes writes again.
    pub async fn switchover(&mut self, to: Option<&str>) -> Result<String, Error> {
        let view = self.look(true).await;
        if view.votes() < view.quorum() {
            return Err(Error::NoMajority { votes: view.votes(), quorum: view.quorum() });
        }
        let refused = |why: String| Err(Error::Switchover(why));
        let Some(old) = self.memory.leader_of(&view) else { return refused("there is no primary".into()) };
        let new = match self.successor(&view, old, to) {
            Ok(new) => new,
            Err(why) => return refused(why),
        };
        tracing::warn!(from = &*self.links[old].name, to = &*self.links[new].name, "switchover");
        let this = &*self;
        let outcome = tokio::select! {
            outcome = this.hand_over(&view, old, new) => outcome,
            // Votes are kept alive beside it.
            () = this.stay() => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "the switchover is taken back, unless the other one is a primary by now");
            for _ in 0..ROUNDS {
                let _ = self.turn().await;
            }
            return Err(error);
        }
        Ok(self.links[new].name.to_string())
    }

    fn successor(&self, view: &View, old: usize, to: Option<&str>) -> Result<usize, String> {
        let fit = view.standbys().filter(|(_, node, seen)| node.voted && seen.streams() && !seen.read_only);
        let head = view.nodes[old].seen.as_ref().map_or(0, |seen| seen.timeline);
        let mut fit = fit.filter(|(_, _, seen)| seen.timeline == head);
        match to {
            Some(name) => fit
                .find(|(_, node, _)| *node.name == *name)
                .map(|(i, ..)| i)
                .ok_or_else(|| format!("{name} is no replica that streams from the primary")),
            None => fit
                .max_by_key(|(_, _, seen)| seen.position)
                .map(|(i, ..)| i)
                .ok_or_else(|| "no replica streams from the primary".into()),
        }
    }

    async fn hand_over(&self, view: &View, old: usize, new: usize) -> Result<(), Error> {
        let epoch =
            view.answering().filter_map(|(_, _, seen)| seen.mark()).map(|mark| mark.epoch).max().unwrap_or(0) + 1;
        if let Some(value) = self.rules.synchronous() {
            self.links[new].set(&[("synchronous_standby_names", value)], STATEMENT).await?;
        }
        let before = view.nodes[old].seen.as_ref().and_then(|seen| seen.conninfo.clone()).unwrap_or_default();
        let own = before.mark().map_or(0, |mark| mark.epoch);
        // Whoever finds it like this, with nobody promoted, opens it again.
        let aside = Order { node: old, conninfo: before.frozen(own, Some(&self.links[old].name), None) };
        self.close(&aside).await?;
        drain(&self.links[old]).await?;
        self.end_sessions(old, "'client backend'").await?;
        self.catch_up(old, new).await?;
        let told = view.nodes[new].seen.as_ref().and_then(|seen| seen.conninfo.clone()).unwrap_or_default();
        let conninfo = Conninfo::frozen(&told, epoch, Some(&self.links[old].name), None);
        self.tell(new, &conninfo).await?;
        self.promote(new).await
    }

    async fn catch_up(&self, old: usize, new: usize) -> Result<(), Error> {
        let give_up = Instant::now() + CATCH_UP;
        loop {
            let end =
                self.links[old].run("SELECT pg_current_wal_lsn()", STATEMENT, "its end").await?.unwrap_or_default();
            let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn");
            let there = self.links[new].run(&sql, STATEMENT, "its position").await?;
            // Sessions that were ended may write their last word: the end must stay.
            let still = self.links[old].run("SELECT pg_current_wal_lsn()", STATEMENT, "its end").await?;
            if there.as_deref() == Some("t") && still.as_deref() == Some(&end) {
                return Ok(());
            }
            if Instant::now() > give_up {
                let name = &self.links[new].name;
                return Err(Error::Switchover(format!("{name} did not reach {end} within {CATCH_UP:?}")));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}
