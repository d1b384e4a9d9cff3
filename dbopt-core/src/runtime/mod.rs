//! Everything put together: the path of a call, the settings, the background work, the state over HTTP.

mod advice;
mod alerts;
mod balancing;
mod bulkhead;
mod cached;
mod caching;
mod call;
pub mod config;
mod discovery;
mod events;
mod hedging;
mod history;
mod hosts;
#[cfg(feature = "http")]
pub mod http;
mod insight;
mod limiting;
mod outbox;
mod resilience;
mod status;
mod summary;
mod takeover;
mod tasks;
mod transaction;
mod waiting;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;

pub use balancing::StandInStatus;
pub use cached::{CachedCall, CachedMethod, CallKey, Look, Next, Sharing, TextKey};
pub use caching::{Caching, PatternError, Warmed};
pub use call::{Attempt, Begun, Call};
pub use config::{Config, Secret};
pub use events::{Event, EventKind};
pub use history::{History, NodeSample, Sample};
pub use status::{Health, NodeStatus, OpenCircuit, Status};
pub use summary::{ConnectionPool, Database};
pub use transaction::{AsyncFnOnceRef, AsyncFnRef};

use crate::alert::Alerting;
use crate::backend::{Backend, Endpoint, Site};
use crate::cache::Cache;
use crate::cluster::{Cluster, Follower, HostSource, NodeState, Resolver, Watched, Watcher};
use crate::error::{ConfigError, Error, Reason, Refusal};
use crate::limit::Limiter;
use crate::observe::Calls;
use crate::op::{Intent, Lane, Op};
use crate::pool::{Budget, Demand, Pool, share_out};
use crate::query::Insight;
use crate::query::advise::Advisor;
use crate::route::balance::Balancer;
use crate::timer::Timers;
use advice::IndexAdvisor;
use balancing::StandIns;
use bulkhead::Bulkheads;
use discovery::Discovery;
use events::Events;
use hedging::Hedges;
use history::Samples;
use outbox::Outbox;
use resilience::Resilience;
use takeover::Takeovers;
use tasks::Tasks;
use waiting::WaitingRoom;

/// What an application gives the runtime in code, besides its settings.
#[derive(Clone, Default)]
pub struct Extras {
    /// Who tells how busy the nodes' machines are, in place of `cluster.host.source`.
    pub host_source: Option<Arc<dyn HostSource>>,
    /// Who knows the addresses of `database.discover`, in place of the system.
    pub resolver: Option<Arc<dyn Resolver>>,
    /// Whom the backend tells of statements, where it does; made of the same settings.
    pub insight: Option<Arc<Insight>>,
    /// Who finds out which indexes are missing.
    pub advisor: Option<Arc<dyn Advisor>>,
}

impl fmt::Debug for Extras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extras")
            .field("host_source", &self.host_source.is_some())
            .field("resolver", &self.resolver.is_some())
            .field("advisor", &self.advisor.is_some())
            .finish()
    }
}

/// How long a shutdown waits for Redis to take what waits in the journal.
const FLUSH: Duration = Duration::from_secs(5);

/// How long a shutdown waits for the last alerts to be taken.
const FAREWELL: Duration = Duration::from_secs(2);

static CONNECT: Op = Op::new("Db::connect", Intent::Read);

/// An application's access to its cluster, whatever the driver.
pub struct Runtime<B: Backend> {
    config: Config,
    cluster: Arc<Cluster>,
    /// One pool per lane, for every node in the order of the configuration, and then for every slot.
    pools: Vec<[Arc<Pool<B>>; 3]>,
    budget: Arc<Budget>,
    calls: Calls,
    cache: Arc<Cache>,
    limiter: Arc<Limiter>,
    alerting: Arc<Alerting>,
    insight: Arc<Insight>,
    index_advisor: IndexAdvisor,
    bulkheads: Bulkheads,
    events: Events,
    samples: Samples,
    outbox: Outbox,
    resilience: Resilience,
    balancer: Balancer,
    stand_ins: StandIns,
    hedges: Hedges,
    waiting_room: WaitingRoom,
    takeovers: Takeovers,
    discovery: Option<Arc<Discovery>>,
    timers: Timers,
    closing: AtomicBool,
    tasks: Tasks,
}

impl<B: Backend> Runtime<B> {
    /// Checks the settings, asks every node what it is, opens the minimum of connections and starts the background work.
    ///
    /// # Errors
    /// When the settings cannot be used, or no node at all can be reached: each one's cause is listed.
    pub async fn connect(backend: B, config: Config) -> Result<Arc<Self>, Error> {
        Self::connect_with(backend, config, Extras::default()).await
    }

    /// The same with what only code can give.
    ///
    /// # Errors
    /// As for [`Runtime::connect`].
    pub async fn connect_with(backend: B, config: Config, extras: Extras) -> Result<Arc<Self>, Error> {
        let backend = Arc::new(backend);
        let endpoints = config.endpoints(|url| backend.check(url))?;
        let discovery = Discovery::new(&config, &*backend, &endpoints, &extras)?;
        if let Some(discovery) = &discovery {
            discovery.begin().await?;
        }
        let place = |e: &Endpoint| backend.place(&e.url).map(|(host, port)| (Arc::from(host), port));
        let named = endpoints.iter().map(|e| Watched { name: e.name.clone(), place: place(e), vacant: false });
        let watched = named.chain(discovery.iter().flat_map(|d| d.watched())).collect();
        let sites: Vec<Site> =
            endpoints.iter().cloned().map(Site::from).chain(discovery.iter().flat_map(|d| d.sites())).collect();
        let cluster = Cluster::new(watched, config.cluster.clone(), config.routing.max_lag);
        let mut watchers: Vec<Watcher<B>> = sites
            .iter()
            .enumerate()
            .map(|(i, site)| Watcher::new(backend.clone(), site.clone(), i, cluster.clone()))
            .collect();
        for _ in 0..config.cluster.probe_misses {
            let unheard = |i: usize| cluster.topology().nodes[i].state == NodeState::Unknown;
            join_all(watchers.iter_mut().enumerate().filter(|(i, _)| unheard(*i)).map(|(_, w)| w.ask())).await;
        }
        let mut follower =
            Follower::new(&config.cluster, cluster.clone()).map_err(|problems| ConfigError { problems })?;
        if let Some(follower) = &mut follower {
            follower.begin().await.map_err(|problems| ConfigError { problems })?;
        }
        let cache =
            Cache::new(config.cache.clone(), config.routing.max_lag).map_err(|problems| ConfigError { problems })?;
        let limiter = limiting::limiter(&config).map_err(|problems| ConfigError { problems })?;
        let alerting = Alerting::new(config.alerts.clone()).map_err(|problems| ConfigError { problems })?;
        let insight = extras.insight.clone().unwrap_or_else(|| Insight::new(config.insight.clone()));
        let index_advisor = IndexAdvisor::new(extras.advisor.clone(), sites.clone());
        let services = (limiter, alerting, insight, index_advisor);
        let runtime = Self::assemble(&backend, config, (&sites, discovery), cluster, cache, services);
        runtime.refuse_if_unreachable()?;
        runtime.share_budget();
        runtime.balance();
        runtime.warm().await;
        runtime.make_outbox().await?;
        runtime.warn_of_few_replicas();
        let hosts = hosts::watchers(&runtime, &backend, &sites, &extras);
        let planner = insight::Planner::new(Arc::downgrade(&runtime), backend, sites);
        tasks::start(&runtime, (watchers, follower), hosts, planner);
        Ok(runtime)
    }

    fn assemble(
        backend: &Arc<B>,
        config: Config,
        (sites, discovery): (&[Site], Option<Arc<Discovery>>),
        cluster: Arc<Cluster>,
        cache: Arc<Cache>,
        (limiter, alerting, insight, index_advisor): (Arc<Limiter>, Arc<Alerting>, Arc<Insight>, IndexAdvisor),
    ) -> Arc<Self> {
        let budget = Budget::new(config.pool.max);
        let pool_config = Arc::new(config.pool.clone());
        let pools = sites
            .iter()
            .map(|site| {
                Lane::ALL.map(|lane| {
                    let (backend, site, budget) = (backend.clone(), site.clone(), budget.clone());
                    Pool::new(backend, site, lane, budget, pool_config.clone(), &config.breaker)
                })
            })
            .collect();
        Arc::new(Runtime {
            calls: Calls::new(sites.len()),
            cache,
            limiter,
            alerting,
            insight,
            index_advisor,
            bulkheads: Bulkheads::default(),
            events: Events::default(),
            samples: Samples::default(),
            outbox: Outbox::default(),
            resilience: Resilience::new(&config.retry),
            balancer: Balancer::new(config.routing.clone(), config.capacities()),
            stand_ins: StandIns::new(&config),
            hedges: Hedges::new(&config.routing),
            waiting_room: WaitingRoom::new(config.failover.seats(config.pool.max_waiting)),
            takeovers: Takeovers::default(),
            timers: Timers::default(),
            discovery,
            config,
            cluster,
            pools,
            budget,
            closing: AtomicBool::new(false),
            tasks: Tasks::default(),
        })
    }

    fn refuse_if_unreachable(&self) -> Result<(), Error> {
        let topology = self.cluster.topology();
        if topology.nodes.iter().any(|n| n.state.serves_at_need()) {
            return Ok(());
        }
        let refusals = topology
            .nodes()
            .map(|node| Refusal {
                node: node.name.clone(),
                lane: Lane::Read,
                reason: Reason::Other,
                detail: node.cause.clone().unwrap_or_else(|| "no answer".into()),
                retry_after: None,
            })
            .collect();
        Err(Error::Unavailable { method: CONNECT.name(), refusals })
    }

    /// Opens every pool's minimum. A pool that cannot is reported and goes on trying: the application may start without it.
    async fn warm(&self) {
        let warming = self.pools.iter().flatten().map(|pool| pool.warm());
        for refusal in join_all(warming).await.into_iter().filter_map(Result::err) {
            tracing::warn!("not pre-warmed: {refusal}");
        }
    }

    /// Shares the budget out again, after what the nodes are now.
    fn share_budget(&self) {
        let topology = self.cluster.topology();
        self.follow_takeover(&topology);
        self.tell_circuits(&topology);
        let serving = topology.serving_replicas() > 0;
        // Of those that return pools are made ready before calls come.
        let ready = |i: usize| topology.nodes[i].state.serves() || topology.nodes[i].state == NodeState::Returning;
        let demand = |i: usize, lane: Lane| match (topology.primary == Some(i), lane) {
            (true, Lane::Write) => Demand::Write,
            (true, Lane::Critical) => Demand::Critical,
            (true, Lane::Read) if serving => Demand::Fallback,
            (true, Lane::Read) => Demand::PrimaryReads,
            (false, _) if topology.nodes[i].state == NodeState::Vacant => Demand::Vacant,
            (false, Lane::Read) if ready(i) => Demand::ServingReplica,
            (false, _) => Demand::Idle,
        };
        let all: Vec<(&Arc<Pool<B>>, Demand, f64)> = self
            .pools
            .iter()
            .enumerate()
            .flat_map(|(i, lanes)| lanes.iter().map(move |pool| (i, pool)))
            .map(|(i, pool)| (pool, demand(i, pool.lane()), self.balancer.capacity(i)))
            .collect();
        let demands: Vec<_> = all.iter().map(|(pool, demand, capacity)| (pool.lane(), *demand, *capacity)).collect();
        let knobs = &self.config.pool;
        let shares = share_out(&demands, knobs.min, knobs.max, knobs.write_share, knobs.critical_share);
        for ((pool, demand, _), share) in all.into_iter().zip(shares) {
            pool.set_share(share);
            if matches!(demand, Demand::Idle | Demand::Vacant) {
                pool.drop_idle();
            } else {
                pool.retry_now();
            }
        }
        self.resilience.pools_followed();
        if topology.primary.is_some() {
            self.waiting_room.call_in();
        }
    }

    /// Begins a call of `op`; the macros write the steps that follow.
    pub fn call(self: &Arc<Self>, op: &'static Op) -> Call<'_, B> {
        Call::new(self, op)
    }

    /// The settings in use.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is known of statements.
    pub fn insight(&self) -> &Arc<Insight> {
        &self.insight
    }

    /// The cluster as this instance sees it.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Whether the node is one that is found in DNS.
    fn is_slot(&self, node: usize) -> bool {
        node >= self.config.node_count()
    }

    fn pool(&self, node: usize, lane: Lane) -> &Arc<Pool<B>> {
        &self.pools[node][lane.index()]
    }

    /// Refuses new calls, waits for those that run (for `grace` at most), stops the background work and closes every connection.
    pub async fn shutdown(&self, grace: Duration) {
        self.closing.store(true, Ordering::Relaxed);
        let idle = async {
            while self.pools.iter().flatten().any(|pool| pool.in_use() > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(grace, idle).await.is_err() {
            tracing::warn!(?grace, "calls were still running at the end of the grace period");
        }
        let undelivered = self.cache.shutdown(tokio::time::Instant::now() + FLUSH).await;
        if undelivered > 0 {
            tracing::warn!(
                undelivered,
                "Redis was not told of all invalidations: what they concern is served elsewhere until it expires"
            );
        }
        self.limiter.shutdown().await;
        self.alerting.shutdown(tokio::time::Instant::now() + FAREWELL).await;
        self.tasks.stop();
        for pool in self.pools.iter().flatten() {
            pool.close();
        }
    }

    /// Replaces every pooled connection, those in use as they come back: after a change of the schema, what they have prepared may
    /// not fit any more.
    pub fn renew_connections(&self) {
        for pool in self.pools.iter().flatten() {
            pool.renew();
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn maintain(&self) {
        self.tell_circuits_of_answers();
        for pool in self.pools.iter().flatten() {
            pool.maintain();
        }
    }
}

impl<B: Backend> fmt::Debug for Runtime<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = self.cluster.topology();
        let names: Vec<_> = topology.nodes().map(|node| &node.name).collect();
        f.debug_struct("Runtime").field("nodes", &names).finish_non_exhaustive()
    }
}

impl<B: Backend> Drop for Runtime<B> {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

pub(crate) fn config_error(problem: impl Into<String>) -> ConfigError {
    ConfigError { problems: vec![problem.into()] }
}
