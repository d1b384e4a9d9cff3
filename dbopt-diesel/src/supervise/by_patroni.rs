//! A change of leader by plan where Patroni makes it: prepared over SQL, so that callers do not see it.

use std::sync::Arc;
use std::time::Duration;

use dbopt_core::cluster::{Patroni, PatroniMember};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::Error;
use super::closed::{self, Closed};
use super::link::Link;

/// How long a server may take to say what it is.
const LOOK: Duration = Duration::from_secs(5);
/// How long a leader is closed that is not stopped: calls wait meanwhile.
const CLOSED: Duration = Duration::from_secs(10);
/// How long the next leader may take to be seen, once Patroni has named it.
const SEEN: Duration = Duration::from_secs(30);
const BETWEEN: Duration = Duration::from_millis(50);

/// Has Patroni change the leader, and closes the old one to writes beforehand: applications hold their writes then, and what runs
/// comes to its end.
///
/// ```no_run
/// use dbopt_diesel::Config;
/// use dbopt_diesel::supervise::PatroniSwitchover;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let done = PatroniSwitchover::new(&Config::load()?)?.run(Some("db2")).await?;
/// println!("{} leads", done.to);
/// # Ok(()) }
/// ```
pub struct PatroniSwitchover {
    patroni: Patroni,
    links: Vec<Link>,
    lease: Duration,
}

/// A switchover that was made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HandedOver {
    /// The one that leads now, and takes writes.
    pub to: Arc<str>,
    /// Patroni's words.
    pub said: String,
    /// Why the old leader was not closed beforehand, if it was not: callers of writes under way may have seen an error.
    pub unprepared: Option<String>,
    /// From the old leader's closing, or the order, until the new leader was seen to take writes.
    pub took: Duration,
}

impl PatroniSwitchover {
    /// For the servers and the members of these settings; nothing is connected yet.
    ///
    /// # Errors
    /// When they name no servers, or an address cannot be used.
    pub fn new(config: &crate::Config) -> Result<Self, Error> {
        let lease = config.supervise.lease;
        Ok(PatroniSwitchover { patroni: Patroni::new(&config.cluster.patroni)?, links: Link::all(config)?, lease })
    }

    /// Makes the member `to` the leader, or the one that Patroni chooses; returns when it takes writes. Where the leader cannot be closed (the role
    /// lacks the rights, it is none of the servers) it is done all the same, and callers may see their connections end.
    ///
    /// # Errors
    /// When Patroni refuses or does not answer; the leader takes writes again then. When a server that may lead next is closed to writes. When
    /// the next leader is not seen to take writes.
    ///
    /// # Cancel safety
    /// An order that was sent is carried out. A leader that was closed opens by itself, as it does when this process is killed; only in the
    /// instant in which its settings are written it does not: [`open`](Self::open) it then.
    pub async fn run(&mut self, to: Option<&str>) -> Result<HandedOver, Error> {
        let leader = self.patroni.leader().await?;
        self.look(LOOK).await;
        self.refuse_closed(to)?;
        let old = self.leads(&leader);
        let timeline = old.and_then(|old| self.links[old].seen.as_ref()).map_or(0, |seen| seen.timeline);
        let began = Instant::now();
        let (closed, unprepared) = match old.map(|old| &self.links[old]) {
            None => (
                None,
                Some(format!("Patroni's leader `{}` is no primary among the servers in [database]", leader.name)),
            ),
            Some(link) => match Closed::close(link).await {
                Ok(closed) => (Some(closed), None),
                Err(error) => (None, Some(error.to_string())),
            },
        };
        if let Some(why) = &unprepared {
            tracing::warn!(
                "the leader is not closed beforehand, so callers of writes may see their connections end: {why}"
            );
        }
        let since = closed.as_ref().map_or(began, Closed::since);
        let said = match self.order(closed.as_ref(), to).await {
            Ok(said) => said,
            Err(error) => {
                if let Some(closed) = &closed {
                    closed.open().await;
                }
                return Err(error);
            }
        };
        let to = self.next_leader(old, timeline, &said).await?;
        Ok(HandedOver { to, said, unprepared, took: since.elapsed() })
    }

    /// Opens every server that is closed to writes, as a switchover leaves it that was killed in the wrong instant; what became of each.
    pub async fn open(&mut self) -> Vec<(Arc<str>, Result<(), Error>)> {
        self.look(LOOK).await;
        let mut done = Vec::new();
        for link in &self.links {
            let outcome = match &link.seen {
                None => Err(link.refused(&link.trouble)),
                Some(seen) if !seen.read_only => continue,
                Some(_) => closed::open(link).await,
            };
            done.push((link.name.clone(), outcome));
        }
        done
    }

    async fn order(&self, closed: Option<&Closed<'_>>, to: Option<&str>) -> Result<String, Error> {
        let mut order = std::pin::pin!(self.patroni.switchover(to));
        if let Some(closed) = closed {
            tokio::select! {
                said = &mut order => return Ok(said?),
                () = closed.hold(CLOSED, self.lease) => {}
            }
        }
        Ok(order.await?)
    }

    async fn look(&mut self, patience: Duration) {
        join_all(self.links.iter_mut().map(|link| link.look(patience, false))).await;
    }

    /// The server of Patroni's leader, if it is one of ours and says that it is a primary.
    fn leads(&self, leader: &PatroniMember) -> Option<usize> {
        let is_primary = |link: &&Link| link.seen.as_ref().is_some_and(|seen| !seen.standby);
        let is_there = |link: &Link| {
            leader
                .server
                .as_ref()
                .is_some_and(|server| *server.host == *link.place.host && server.port == link.place.port)
        };
        let named = self.links.iter().position(|link| is_there(link) || link.name == leader.name);
        // A host may have several names: where one server alone takes writes, it is meant.
        let mut primaries = self.links.iter().enumerate().filter(|(_, link)| is_primary(link)).map(|(i, _)| i);
        named
            .filter(|i| is_primary(&&self.links[*i]))
            .or_else(|| primaries.next().filter(|_| primaries.next().is_none()))
    }

    /// A server that is closed would lead and take no writes.
    fn refuse_closed(&self, to: Option<&str>) -> Result<(), Error> {
        let closed = |link: &&Link| link.seen.as_ref().is_some_and(|seen| seen.read_only);
        let concerned = |link: &&Link| {
            let leads = link.seen.as_ref().is_some_and(|seen| !seen.standby);
            leads || to.is_none_or(|to| *link.name == *to)
        };
        match self.links.iter().filter(closed).find(concerned) {
            None => Ok(()),
            Some(link) => Err(Error::Switchover(format!(
                "{} is closed to writes (default_transaction_read_only): if another switchover was killed, open it with `dbopt switchover --open`",
                link.name
            ))),
        }
    }

    async fn next_leader(&mut self, old: Option<usize>, timeline: u32, said: &str) -> Result<Arc<str>, Error> {
        let give_up = Instant::now() + SEEN;
        loop {
            self.look(LOOK / 5).await;
            let mut closed = "";
            for (_, link) in self.links.iter().enumerate().filter(|(i, _)| Some(*i) != old) {
                match &link.seen {
                    Some(seen) if !seen.standby && seen.timeline > timeline && !seen.read_only => {
                        return Ok(link.name.clone());
                    }
                    Some(seen) if !seen.standby && seen.read_only => {
                        closed = ": open it with `dbopt switchover --open`"
                    }
                    _ => {}
                }
            }
            if Instant::now() > give_up {
                let text =
                    format!("Patroni says: {said}; and no server in [database] is seen to take writes since{closed}");
                return Err(Error::Switchover(text));
            }
            sleep(BETWEEN).await;
        }
    }
}

impl std::fmt::Debug for PatroniSwitchover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PatroniSwitchover").field("patroni", &self.patroni).finish_non_exhaustive()
    }
}
