//! The state of everything, for people and programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::{ConnectionPool, Database, Event, Runtime, StandInStatus};
use crate::alert::AlertStatus;
use crate::backend::{Backend, Role};
use crate::breaker::{CircuitStatus, State};
use crate::cache::store::CacheStatus;
use crate::cluster::{Feeder, HostReading, NodeState, NodeView, Receiver, Topology};
use crate::limit::{LimitStatus, MethodChecks};
use crate::observe::{
    CacheCounts, CallCounts, CircuitCounts, Gauges, HedgeCounts, HistogramCounts, LimitCounts, NodeGauges, PoolGauges,
    StatementCounts, TakeoverCounts, WaitCounts, openmetrics,
};
use crate::op::Lane;
use crate::pool::PoolStatus;
use crate::query::InsightStatus;
use crate::rate::Scope;
use crate::route::balance::NodeBalance;

/// The state of an instance: what it thinks of the cluster, its pools and its calls.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Whether calls can be served.
    pub health: Health,
    /// The name of the primary, if one is known.
    pub primary: Option<Arc<str>>,
    /// Every node, in the order of the configuration.
    pub nodes: Vec<NodeStatus>,
    /// What is wrong with the cluster as a whole.
    pub warnings: Vec<String>,
    /// The calls that reached the database, in few figures.
    pub database: Database,
    /// The connections of the whole instance, in few figures.
    pub connection_pool: ConnectionPool,
    /// The connections of the whole instance.
    pub connections: Connections,
    /// Reads that the primary serves in place of replicas.
    pub primary_reads: StandInStatus,
    /// Reads that were asked of a second replica.
    pub hedges: HedgeCounts,
    /// Calls that wait, or waited, for a node to become the primary.
    pub primary_waits: WaitCounts,
    /// The failovers since the start of this instance.
    pub failovers: TakeoverCounts,
    /// Every circuit that is not closed, with its last cause; the others are beside their pools.
    pub open_circuits: Vec<OpenCircuit>,
    /// What the cache did.
    pub cache: CacheStatus,
    /// What the rate limits did.
    pub limits: LimitStatus,
    /// Every alert that lasts.
    pub alerts: Vec<AlertStatus>,
    /// What is known of statements.
    pub insight: InsightStatus,
    /// What happened lately, newest first.
    pub events: Vec<Event>,
    /// Every method that was called, on each node and lane where it ran.
    pub methods: Vec<MethodStatus>,
}

/// Whether calls can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Reads and writes, on every configured node.
    Ok,
    /// Some node is not used, or no primary is known: reads or writes may be refused.
    Degraded,
    /// No node is usable.
    Down,
}

/// One node.
#[derive(Debug, Clone, Serialize)]
pub struct NodeStatus {
    /// The name.
    pub name: Arc<str>,
    /// What it says it is.
    pub role: Option<Role>,
    /// What it is good for.
    pub state: NodeState,
    /// Why it is not healthy.
    pub cause: Option<String>,
    /// The position its readers see, such as `1-0/16B3748`.
    pub position: Option<String>,
    /// How far behind it is in seconds; absent while unknown.
    pub lag_seconds: Option<f64>,
    /// The log that it has still to replay, in bytes; absent while unknown.
    pub lag_bytes: Option<u64>,
    /// For how many seconds a write of the primary has not reached it: 0 where all have; absent for what is no replica, or was never heard.
    pub unreached_seconds: Option<f64>,
    /// What a replica's receiver does.
    pub receiver: Option<Receiver>,
    /// Where a replica gets its log from: a node's name, or what the replica calls the server.
    pub upstream: Option<String>,
    /// For how many seconds calls have been sent there, in a row; absent while they are not.
    pub serving_seconds: Option<f64>,
    /// How often it was lost since the start.
    pub losses: u64,
    /// How busy its machine is; what nobody can tell is absent.
    pub host: HostReading,
    /// Why there are no statistics of its machine.
    pub host_absent: Option<String>,
    /// What somebody should know about it, whatever its state.
    pub notes: Vec<String>,
    /// Calls that ran there, by lane.
    pub calls: BTreeMap<&'static str, u64>,
    /// Its pools.
    pub pools: Vec<PoolStatus>,
    /// What its part of the reads is made of; absent for the primary.
    pub balance: Option<NodeBalance>,
}

/// A circuit that refuses calls.
#[derive(Debug, Clone, Serialize)]
pub struct OpenCircuit {
    /// The node.
    pub node: Arc<str>,
    /// The lane.
    pub lane: &'static str,
    /// Open or half-open.
    pub state: State,
    /// The last failure.
    pub cause: Option<Arc<str>>,
    /// When the next test connection is due, in seconds.
    pub test_in_seconds: Option<f64>,
}

/// The connections of an instance.
#[derive(Debug, Clone, Serialize)]
pub struct Connections {
    /// Open, over all nodes and lanes.
    pub open: usize,
    /// Lent to calls.
    pub in_use: usize,
    /// The most that may be open.
    pub max: usize,
    /// `in_use` as a share of `max`, in percent.
    pub utilization_percent: f64,
}

/// One method on one node and lane.
#[derive(Debug, Clone, Serialize)]
pub struct MethodStatus {
    /// The method.
    pub method: &'static str,
    /// The node.
    pub node: Arc<str>,
    /// The lane.
    pub lane: &'static str,
    /// Calls.
    pub count: u64,
    /// Calls whose body returned an error of its own.
    pub application_errors: u64,
    /// Calls that failed for the node's or dbopt's reasons.
    pub infrastructure_errors: u64,
    /// The mean time of a call, in milliseconds.
    pub mean_ms: f64,
    /// The time that half of the calls stayed below, in milliseconds.
    pub p50_ms: f64,
    /// The time that 99 of 100 calls stayed below, in milliseconds.
    pub p99_ms: f64,
}

impl<B: Backend> Runtime<B> {
    /// The state of this instance right now.
    pub fn status(&self) -> Status {
        let topology = self.cluster.topology();
        let counts = self.calls.counts_by_server();
        let nodes = self.node_statuses(&topology, &counts);
        let in_use = self.in_use();
        let circuits = nodes.iter().flat_map(|node| node.pools.iter().map(|pool| open_circuit(&node.name, pool)));
        Status {
            open_circuits: circuits.flatten().collect(),
            health: self.health(),
            primary: topology.primary.map(|i| topology.nodes[i].name.clone()),
            nodes,
            warnings: self.warnings(&topology),
            database: self.database(),
            connection_pool: ConnectionPool::new(self.budget.open(), in_use, self.budget.max()),
            connections: Connections {
                open: self.budget.open(),
                in_use,
                max: self.budget.max(),
                utilization_percent: 100.0 * in_use as f64 / self.budget.max() as f64,
            },
            primary_reads: self.stand_ins.status(),
            hedges: self.hedges.counts(),
            primary_waits: self.waiting_room.counts(),
            failovers: self.takeover_counts(),
            cache: self.cache.status(),
            limits: self.limiter.status(),
            alerts: self.alerting.active(),
            insight: self.insight.status(),
            events: self.events.latest(),
            methods: counts
                .iter()
                .map(|counts| (counts, &topology.nodes[counts.node]))
                .filter(|(_, node)| node.state != NodeState::Vacant)
                .map(|(counts, node)| method(counts, &node.name))
                .collect(),
        }
    }

    /// What is wrong with the cluster as a whole.
    fn warnings(&self, topology: &Topology) -> Vec<String> {
        let found = self.discovery.iter().flat_map(|discovery| discovery.notes());
        self.few_replicas().into_iter().chain(found).chain(topology.warnings.iter().cloned()).collect()
    }

    /// Every node that is there.
    fn node_statuses(&self, topology: &Topology, counts: &[CallCounts]) -> Vec<NodeStatus> {
        let balance = self.balancer.status();
        topology
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.state != NodeState::Vacant)
            .map(|(i, node)| NodeStatus {
                name: node.name.clone(),
                role: node.role,
                state: node.state,
                cause: node.cause.clone(),
                position: self.cluster.visible(topology, i).map(|p| p.to_string()),
                lag_seconds: node.lag.seconds(),
                lag_bytes: node.details.lag_bytes,
                unreached_seconds: node.details.reached.unreached().map(|time| time.as_secs_f64()),
                receiver: node.details.receiver,
                upstream: node.details.feeder.as_ref().map(|feeder| self.feeder(feeder)),
                serving_seconds: node.healthy_since.map(|since| since.elapsed().as_secs_f64()),
                losses: node.details.losses,
                host: node.host,
                host_absent: node.details.host_absent.clone(),
                notes: node.details.notes.clone(),
                calls: calls_by_lane(counts, i),
                balance: balance.get(i).copied().filter(|_| topology.primary != Some(i)),
                pools: self.pools[i].iter().map(|pool| pool.status()).filter(|p| p.max > 0).collect(),
            })
            .collect()
    }

    /// Connections lent to calls, over all nodes and lanes.
    pub(super) fn in_use(&self) -> usize {
        self.pools.iter().flatten().map(|pool| pool.in_use()).sum()
    }

    /// Whether calls can be served, from what is known; no server is asked.
    pub fn health(&self) -> Health {
        let topology = self.cluster.topology();
        // A replica that is cut off from its primary still serves reads.
        if !topology.nodes.iter().any(|node| node.state.serves_at_need()) {
            Health::Down
        } else if topology.nodes().all(|node| node.state.serves()) && topology.primary.is_some() {
            Health::Ok
        } else {
            Health::Degraded
        }
    }

    fn feeder(&self, feeder: &Feeder) -> String {
        let name = feeder.node.map(|node| self.cluster.name(node).to_string());
        name.unwrap_or_else(|| feeder.address.to_string())
    }

    /// All metrics in the OpenMetrics text format.
    pub fn metrics(&self) -> String {
        let topology = self.cluster.topology();
        let nodes = self.node_statuses(&topology, &self.calls.counts_by_server());
        let primary = topology.primary.map(|i| &topology.nodes[i].name);
        let shown = |n: &NodeView| if n.state == NodeState::Vacant { String::new() } else { n.name.to_string() };
        let names: Vec<String> = topology.nodes.iter().map(shown).collect();
        let gauges = Gauges {
            uptime: self.samples.uptime(),
            states: NodeState::ALL.map(NodeState::name).to_vec(),
            replicas: [topology.serving_replicas(), self.config.alerts.replicas.minimum],
            nodes: nodes
                .iter()
                .map(|n| NodeGauges {
                    node: n.name.to_string(),
                    state: n.state.name(),
                    up: n.state.serves(),
                    primary: primary == Some(&n.name),
                    lag_seconds: n.lag_seconds,
                    lag_bytes: n.lag_bytes,
                    unreached_seconds: n.unreached_seconds,
                    losses: n.losses,
                    host: [n.host.cpu, n.host.memory, n.host.disk],
                    weight: n.balance.map(|balance| balance.weight),
                })
                .collect(),
            pools: nodes.iter().flat_map(|n| n.pools.iter().map(move |p| pool_gauges(&n.name, p))).collect(),
            circuits: nodes.iter().flat_map(|n| n.pools.iter().map(move |p| circuit_counts(&n.name, p))).collect(),
            reads_shed: self.stand_ins.status().shed,
            hedges: self.hedges.counts(),
            retries: self.retry_counts(),
            waits: self.waiting_room.counts(),
            takeovers: self.takeover_counts(),
            cache: self.cache.is_enabled().then(|| self.cache_counts(&self.cache.status())),
            limits: self.config.limit.enabled.then(|| limit_counts(&self.limiter.status())),
            statements: self.insight.is_enabled().then(|| self.statement_counts(&nodes)),
            alerts: self.alerting.is_enabled().then(|| self.alerting.counts()),
        };
        openmetrics(&self.calls, &names, gauges).unwrap_or_default()
    }
}

impl<B: Backend> Runtime<B> {
    /// What was counted of statements on the nodes that are there now.
    fn statement_counts(&self, nodes: &[NodeStatus]) -> StatementCounts {
        let mut counts = self.insight.counts();
        counts.series.retain(|series| nodes.iter().any(|node| node.name == series.node));
        counts
    }

    fn cache_counts(&self, status: &CacheStatus) -> CacheCounts {
        let names: BTreeMap<usize, &'static str> = self.calls.names().into_iter().collect();
        let named = |counts: Vec<(usize, [u64; 3])>| {
            counts.into_iter().filter_map(|(id, counts)| Some((*names.get(&id)?, counts))).collect()
        };
        let memory = self.cache.lookups().into_iter();
        CacheCounts {
            memory: memory.filter_map(|(id, l)| Some((*names.get(&id)?, l.hits, l.misses))).collect(),
            redis: named(self.cache.lookups_in_redis()),
            redis_up: (status.redis != "not configured").then_some(status.redis == "up"),
            left: named(self.cache.left()),
            entries: status.l1_entries,
            bytes: status.l1_bytes,
            loads: [status.loads, status.shared_loads, status.stale_served],
            load_seconds: status.load_seconds,
            stored: [status.l2_stored, status.l2_fenced],
            invalidations: [status.invalidations, status.invalidations_missed],
            invalidation_seconds: status.invalidation_mean_ms * status.invalidations as f64 / 1e3,
            journal: status.journal,
        }
    }
}

fn limit_counts(status: &LimitStatus) -> LimitCounts {
    let outcomes = |m: &MethodChecks| {
        let counts =
            [("admitted", m.admitted), ("refused", m.refused), ("bypassed", m.bypassed), ("degraded", m.degraded)];
        counts.map(|(outcome, count)| (m.method, m.scope.name(), outcome, count))
    };
    let callers = status.limits.iter().filter(|limit| limit.scope == Scope::User);
    LimitCounts {
        checks: status.methods.iter().flat_map(outcomes).collect(),
        callers: callers.map(|limit| (limit.name.clone(), limit.callers)).collect(),
        permits: [status.leased, status.expired, status.returned],
        questions: [status.asked, status.batches, status.failed],
        redis_up: (status.redis != "not configured").then_some(status.redis == "up"),
        instances: status.instances,
    }
}

fn calls_by_lane(counts: &[CallCounts], node: usize) -> BTreeMap<&'static str, u64> {
    let of = |lane: Lane| {
        let here = counts.iter().filter(|c| c.node == node && c.lane == lane);
        here.map(|c| c.latency.count()).sum()
    };
    Lane::ALL.map(|lane| (lane.name(), of(lane))).into()
}

fn method(counts: &CallCounts, node: &Arc<str>) -> MethodStatus {
    let ms = |seconds: f64| seconds * 1e3;
    let latency: &HistogramCounts = &counts.latency;
    let count = latency.count();
    MethodStatus {
        method: counts.method,
        node: node.clone(),
        lane: counts.lane.name(),
        count,
        application_errors: counts.application_errors,
        infrastructure_errors: counts.infrastructure_errors,
        mean_ms: if count == 0 { 0.0 } else { ms(latency.sum / count as f64) },
        p50_ms: ms(latency.quantile(0.5).unwrap_or(0.0)),
        p99_ms: ms(latency.quantile(0.99).unwrap_or(0.0)),
    }
}

fn pool_gauges(node: &Arc<str>, pool: &PoolStatus) -> PoolGauges {
    PoolGauges {
        node: node.to_string(),
        lane: pool.lane,
        open: pool.open,
        in_use: pool.in_use,
        waiting: pool.waiting,
        max: pool.max,
    }
}

fn open_circuit(node: &Arc<str>, pool: &PoolStatus) -> Option<OpenCircuit> {
    let CircuitStatus { state, cause, test_in_seconds, .. } = &pool.circuit;
    let (state, test_in_seconds) = (*state, *test_in_seconds);
    let open = OpenCircuit { node: node.clone(), lane: pool.lane, state, cause: cause.clone(), test_in_seconds };
    (state != State::Closed).then_some(open)
}

fn circuit_counts(node: &Arc<str>, pool: &PoolStatus) -> CircuitCounts {
    let circuit = &pool.circuit;
    CircuitCounts {
        node: node.to_string(),
        lane: pool.lane,
        state: circuit.state as u8,
        refused: circuit.refused,
        transitions: circuit.transitions.iter().map(|c| (c.from.name(), c.to.name(), c.count)).collect(),
    }
}
