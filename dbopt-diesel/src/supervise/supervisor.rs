//! Look, decide, act, again.

use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use dbopt_core::failover::{Config, Memory, Place, Reason, Rules, Step, View, decide};
use dbopt_core::position::Lsn;
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::link::Link;
use super::notices::Notices;
use super::{Error, NodeAgent};

/// Looks at what is about to be done, and may end the coordinator instead.
type Hook = Box<dyn FnMut(&Step) -> ControlFlow<()> + Send + Sync>;

/// A coordinator; see the [module](super).
pub struct Supervisor {
    pub(super) links: Vec<Link>,
    pub(super) config: Config,
    pub(super) rules: Rules,
    pub(super) memory: Memory,
    pub(super) agent: Option<Arc<dyn NodeAgent>>,
    /// The node that its agent is at work on.
    pub(super) rejoining: Option<(usize, JoinHandle<()>)>,
    hook: Option<Hook>,
    /// Whether this coordinator asks for votes; after it met another one it rests until then.
    campaign_from: Instant,
    /// Agents are asked again from then on: one that fails is not asked all the time.
    pub(super) agent_from: Instant,
    pub(super) last: Option<Step>,
    pub(super) lead: Option<Lead>,
    pub(super) failovers: Vec<Failover>,
    /// The primary that the last failover left, which may come back.
    left: Option<Left>,
    pub(super) notices: Option<Notices>,
}

/// The last primary, as it was seen last.
pub(super) struct Lead {
    pub(super) node: usize,
    timeline: u32,
    end: Lsn,
    answered: Instant,
}

/// A primary that was left, and where.
struct Left {
    node: usize,
    timeline: u32,
    fork: Lsn,
    /// Whether it was said that it has more.
    told: bool,
}

/// A failover that this coordinator made.
#[derive(Debug, Clone)]
pub struct Failover {
    /// The primary that was lost.
    pub from: Arc<str>,
    /// The one that took over.
    pub to: Arc<str>,
    /// From its last answer until the other one was seen to be the primary.
    pub took: Duration,
    /// How much log of the old primary the new one lacks, at least: as far as this coordinator has seen it, before and after its return.
    pub lost_bytes: u64,
}

impl Supervisor {
    /// A coordinator for the servers of these settings; nothing is connected yet.
    ///
    /// # Errors
    /// When they name no servers, or a URL cannot be used.
    pub fn new(config: &crate::Config) -> Result<Self, Error> {
        if let Some(problem) = config.supervise.problems().first() {
            return Err(Error::Settings(problem.clone()));
        }
        let links = Link::all(config)?;
        let unknown = |name: &&String| links.iter().all(|link| *link.name != ***name);
        if let Some(name) = config.supervise.agents.keys().find(unknown) {
            return Err(Error::Settings(format!("supervise.agents.{name}: none of [[database.nodes]] has this name")));
        }
        let names: Vec<Arc<str>> = links.iter().map(|link| link.name.clone()).collect();
        Ok(Supervisor {
            rules: Rules::new(&config.supervise, &names),
            config: config.supervise.clone(),
            links,
            memory: Memory::default(),
            agent: None,
            rejoining: None,
            hook: None,
            campaign_from: Instant::now(),
            agent_from: Instant::now(),
            last: None,
            lead: None,
            failovers: Vec::new(),
            left: None,
            notices: Notices::new(config)?,
        })
    }

    /// Where the other servers reach this one, if not at the host and port of its URL.
    #[must_use]
    pub fn place(mut self, node: &str, host: &str, port: u16) -> Self {
        for link in self.links.iter_mut().filter(|link| *link.name == *node) {
            link.place = Place { host: host.to_owned(), port };
        }
        self
    }

    /// Who reaches the servers' files: lost ones are then brought back as replicas.
    #[must_use]
    pub fn with_agent(mut self, agent: Arc<dyn NodeAgent>) -> Self {
        self.agent = Some(agent);
        self
    }

    /// Shows each step to `hook` before it is done; `Break` ends [`run`](Self::run) there and then, with nothing tidied up.
    #[must_use]
    pub fn before_each(mut self, hook: impl FnMut(&Step) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// The failovers that it made.
    pub fn failovers(&self) -> &[Failover] {
        &self.failovers
    }

    /// Supervises until the future is dropped, or the hook ends it.
    ///
    /// # Cancel safety
    /// May be dropped at any point: another coordinator, or this one when it is called again, finishes what was begun or takes it back.
    pub async fn run(&mut self) {
        while let ControlFlow::Continue(pause) = self.turn().await {
            self.rest(pause).await;
        }
    }

    /// Looks once, and does one step; says how soon the next turn should be.
    pub async fn turn(&mut self) -> ControlFlow<(), Duration> {
        let began = Instant::now();
        let view = self.look(true).await;
        let now = Instant::now();
        let step = decide(&view, &self.memory, &self.rules, now);
        self.tell_of(&step, &view);
        self.tell_people(&view);
        if let Some(hook) = &mut self.hook
            && hook(&step).is_break()
        {
            return ControlFlow::Break(());
        }
        self.memory.took(&step, now);
        if let Err(error) = self.act(&step).await {
            tracing::warn!(%error, "a step failed; the servers are looked at again");
            self.last = Some(step);
            return ControlFlow::Continue(self.config.recheck().min(Duration::from_millis(200)));
        }
        // Waiting for an answer in vain was a pause, too.
        let pause = self.pause(&step).saturating_sub(began.elapsed());
        self.last = Some(step);
        ControlFlow::Continue(pause)
    }

    fn pause(&self, step: &Step) -> Duration {
        let counting = self.links.iter().any(|link| (1..self.config.misses).contains(&link.misses()));
        match step {
            Step::Wait(Reason::Settling) => Duration::from_millis(50),
            Step::Watch { .. } | Step::Wait(Reason::TooFewNodes | Reason::Another) if !counting => self.config.interval,
            // Its receiver learns it any moment.
            Step::Wait(Reason::StillHeard { .. }) => self.config.recheck() / 2,
            Step::Watch { .. } | Step::Wait(_) if self.memory.is_busy() => self.config.recheck() / 2,
            Step::Watch { .. } | Step::Wait(_) => self.config.recheck(),
            _ => Duration::ZERO,
        }
    }

    /// Asks all servers at once.
    pub(super) async fn look(&mut self, campaign: bool) -> View {
        let campaign = campaign && Instant::now() >= self.campaign_from;
        let hasty = self.memory.is_busy();
        let (timeout, misses) = (self.config.timeout, self.config.misses);
        if self.rejoining.as_ref().is_some_and(|(_, task)| task.is_finished()) {
            self.rejoining = None;
        }
        let away = self.rejoining.as_ref().map(|(node, _)| *node);
        join_all(self.links.iter_mut().enumerate().map(async |(i, link)| {
            // It may be stopped and wiped at any moment: it has no vote, and nobody is made a primary who is about to be a replica.
            if Some(i) == away {
                return link.leave();
            }
            let patience = match link.misses() {
                0 => timeout,
                // Nobody waits for those that are known to be lost, in the middle of a failover never.
                n if n >= misses && (hasty || n % 4 != 0) => (timeout / 10).max(Duration::from_millis(50)),
                // It is asked anew instead of waited for.
                _ => timeout / 2,
            };
            link.look(patience, campaign).await;
        }))
        .await;
        let free = self.agent.as_ref().filter(|_| self.rejoining.is_none() && Instant::now() >= self.agent_from);
        let sights = self.links.iter().map(|link| link.sight(free.is_some_and(|agent| agent.reaches(&link.name))));
        let view = View { nodes: sights.collect() };
        self.memory.note(&view);
        self.note_lead(&view);
        self.give_way(&view).await;
        view
    }

    /// Without a majority, and with another coordinator about, votes are of no use to either.
    async fn give_way(&mut self, view: &View) {
        let another = view.nodes.iter().any(|node| node.seen.as_ref().is_some_and(|seen| seen.taken && !node.voted));
        if view.votes() >= view.quorum() || !another {
            return;
        }
        let patience = self.config.timeout;
        join_all(self.links.iter_mut().map(|link| link.stand_down(patience))).await;
        // Two that wait for the same time meet again.
        let chance = RandomState::new().hash_one(0u8) % 1000;
        self.campaign_from = Instant::now() + self.config.interval.mul_f64(0.5 + chance as f64 / 1000.0);
    }

    fn note_lead(&mut self, view: &View) {
        let Some(node) = self.memory.leader_of(view) else { return };
        let Some(seen) = &view.nodes[node].seen else { return };
        let lead = Lead { node, timeline: seen.timeline, end: seen.position, answered: Instant::now() };
        let before = self.lead.replace(lead);
        let Some(before) = before.filter(|before| before.node != node) else { return self.note_return(view, node) };
        let fork = seen.forked_at.unwrap_or(seen.position);
        let failover = Failover {
            from: view.nodes[before.node].name.clone(),
            to: view.nodes[node].name.clone(),
            took: before.answered.elapsed(),
            lost_bytes: before.end.bytes_since(fork),
        };
        tracing::warn!(
            from = &*failover.from, to = &*failover.to, took = ?failover.took, lost_bytes = failover.lost_bytes,
            timeline = seen.timeline, "another primary"
        );
        self.failovers.push(failover);
        self.left = Some(Left { node: before.node, timeline: before.timeline, fork, told: false });
    }

    /// A primary that was left tells, when it is back, how much was lost.
    fn note_return(&mut self, view: &View, leader: usize) {
        let (Some(left), Some(failover)) = (&mut self.left, self.failovers.last_mut()) else { return };
        let there = view.nodes[left.node].seen.as_ref().filter(|_| left.node != leader);
        let Some(seen) = there.filter(|seen| !seen.standby && seen.timeline == left.timeline) else { return };
        let lost = seen.position.bytes_since(left.fork);
        if lost > failover.lost_bytes {
            failover.lost_bytes = lost;
            // It may go on writing until it is fenced.
            if !std::mem::replace(&mut left.told, true) {
                tracing::warn!(
                    node = &*failover.from,
                    lost_bytes = lost,
                    "the old primary is back, and tells of more lost log"
                );
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some((_, task)) = self.rejoining.take() {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.links.iter().map(|link| &link.name);
        f.debug_struct("Supervisor").field("nodes", &names.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}
