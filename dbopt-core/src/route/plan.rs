//! The ordered list of places where a call may run. Pure.

use std::time::Duration;

use super::balance::{Schedule, Turn};
use crate::backend::Role;
use crate::cluster::{Lag, NodeView, Topology};
use crate::op::{Intent, Lane, Op};
use crate::position::Position;

/// What must be true of a target's data before the call may run there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing, or it is known already.
    Any,
    /// It must be checked to show this position, after a short wait if need be.
    Reaches(Position),
}

/// One place where a call may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The node's place in the topology.
    pub node: usize,
    /// The lane.
    pub lane: Lane,
    /// What to check first.
    pub freshness: Freshness,
    /// Whether the primary serves a read there that belongs on a replica.
    pub stands_in: bool,
}

/// Where a call may run, best first; without allocation.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    targets: [Option<Target>; Plan::CAPACITY],
    len: usize,
    primary: Option<usize>,
}

impl Plan {
    /// How many targets a plan holds; a cluster's further replicas are reached by later calls' turns.
    pub const CAPACITY: usize = 8;

    const EMPTY: Plan = Plan { targets: [None; Plan::CAPACITY], len: 0, primary: None };

    /// The targets, best first.
    pub fn targets(&self) -> impl Iterator<Item = Target> + '_ {
        self.targets[..self.len].iter().flatten().copied()
    }

    /// The target at place `i`.
    pub fn get(&self, i: usize) -> Option<Target> {
        self.targets.get(i).copied().flatten()
    }

    /// The primary when it was made: a target there is none any more once another node is.
    pub fn primary(&self) -> Option<usize> {
        self.primary
    }

    fn push(&mut self, target: Target, reserve: usize) {
        if self.len + reserve < Plan::CAPACITY {
            self.targets[self.len] = Some(target);
            self.len += 1;
        }
    }
}

/// What a call and its caller ask of the data.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    /// Replicas further behind serve no reads.
    pub max_lag: Duration,
    /// What the caller has written, or was given.
    pub token: Option<Position>,
    /// The caller has written something whose position is not known.
    pub primary_only: bool,
    /// A replica known to be further behind than this is not waited for.
    pub worth_waiting: Duration,
}

/// What is known of the nodes since the snapshot was taken.
pub trait Signs {
    /// Calls met errors there that point at the node.
    fn is_suspect(&self, node: usize) -> bool;
    /// The furthest position that its readers are known to see.
    fn visible(&self, node: usize) -> Option<Position>;
    /// Calls have lately waited in vain for it to catch up.
    fn keeps_waiting(&self, node: usize) -> bool;
    /// How many reads it has to do for this instance.
    fn load(&self, node: usize) -> u32;
}

/// The targets of a call of `op`.
///
/// Writes and critical calls: the primary. Reads: the replicas that answer, are not suspect, are close enough behind and have a weight, the one
/// that `turn` chooses first and the others by weight; those that already show the caller's own writes come first, then one that may after
/// a short wait; then the primary's read lane; last, in case that refuses too, replicas that are suspect, cut off or not back yet but not known
/// to be too far behind.
pub fn plan(op: &Op, topology: &Topology, wishes: Wishes, turn: Turn<'_>, signs: &impl Signs) -> Plan {
    let mut plan = Plan { primary: topology.primary, ..Plan::EMPTY };
    let lane = op.lane();
    let on = |node, freshness| Target { node, lane, freshness, stands_in: false };
    if lane != Lane::Read || op.intent() == Intent::Write || op.wants_primary() || wishes.primary_only {
        if let Some(primary) = topology.primary {
            plan.push(on(primary, Freshness::Any), 0);
        }
        return plan;
    }
    let limit = op.staleness_limit().map_or(wishes.max_lag, |own| own.min(wishes.max_lag));
    let (mut serving, mut showing) = (0u64, 0u64);
    for (i, node) in topology.nodes.iter().enumerate().take(Schedule::MAX_NODES) {
        if is_replica(node)
            && is_close_enough(node.lag, op, limit)
            && !signs.is_suspect(i)
            && turn.schedule.weight(i) > 0.0
        {
            serving |= 1 << i;
            let shows_own_writes = match wishes.token {
                None => true,
                Some(token) => signs.visible(i).is_some_and(|position| position.covers(token)),
            };
            showing |= u64::from(shows_own_writes) << i;
        }
    }
    let room_for_primary = usize::from(topology.primary.is_some());
    if let Some(first) = turn.choose(showing, |node| signs.load(node)) {
        plan.push(on(first, Freshness::Any), room_for_primary);
        for i in turn.ranked(showing & !(1 << first)) {
            plan.push(on(i, Freshness::Any), room_for_primary);
        }
    } else if let Some(token) = wishes.token {
        let worth_it = |i: &usize| !topology.nodes[*i].lag.exceeds(wishes.worth_waiting) && !signs.keeps_waiting(*i);
        let hopeful = (0..topology.nodes.len().min(Schedule::MAX_NODES))
            .filter(|i| serving & (1 << i) != 0 && worth_it(i))
            .fold(0, |set, i| set | 1 << i);
        if let Some(i) = turn.choose(hopeful, |node| signs.load(node)) {
            plan.push(on(i, Freshness::Reaches(token)), room_for_primary);
        }
    }
    if let Some(primary) = topology.primary {
        // What its caller has written can be read nowhere else; and a database without replicas is no substitute for any.
        let stands_in = wishes.token.is_none() && topology.nodes().nth(1).is_some();
        plan.push(Target { stands_in, ..on(primary, Freshness::Any) }, 0);
    }
    // Should the primary refuse too, another replica may still answer; own writes are checked.
    let freshness = wishes.token.map_or(Freshness::Any, Freshness::Reaches);
    let count = topology.nodes.len();
    for i in (0..count).map(|step| (turn.number % count + step) % count) {
        let node = &topology.nodes[i];
        let may =
            node.state.serves_at_need() && node.role == Some(Role::Replica) && is_close_enough(node.lag, op, limit);
        if may && !plan.targets().any(|t| t.node == i) {
            plan.push(on(i, freshness), 0);
        }
    }
    plan
}

fn is_replica(node: &NodeView) -> bool {
    node.state.serves() && node.role == Some(Role::Replica)
}

/// A method that states its own limit insists on knowing the lag; for others unknown lag is served, because it means that the
/// primary does not answer the monitor and cannot be asked instead.
fn is_close_enough(lag: Lag, op: &Op, limit: Duration) -> bool {
    match op.staleness_limit() {
        Some(_) => lag.is_within(limit),
        None => !lag.exceeds(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::NodeState;
    use crate::position::Lsn;
    use proptest::prelude::*;
    use std::sync::Arc;

    static READ: Op = Op::new("read", Intent::Read);
    static WRITE: Op = Op::new("write", Intent::Write);
    static CRITICAL_READ: Op = Op::new("critical", Intent::Read).critical();
    static STRICT: Op = Op::new("strict", Intent::Read).max_staleness(Duration::from_secs(1));
    static PRIMARY_READ: Op = Op::new("primary", Intent::Read).from_primary();

    const WISHES: Wishes = Wishes {
        max_lag: Duration::from_secs(5),
        token: None,
        primary_only: false,
        worth_waiting: Duration::from_millis(20),
    };

    fn at(lsn: u64) -> Position {
        Position { timeline: 1, lsn: Lsn(lsn) }
    }

    fn node(role: Role, lag_ms: u64, lsn: u64) -> NodeView {
        NodeView {
            name: Arc::from("n"),
            state: NodeState::Healthy,
            role: Some(role),
            position: Some(at(lsn)),
            lag: Lag::Known(Duration::from_millis(lag_ms)),
            cause: None,
            host: Default::default(),
            healthy_since: None,
            details: Default::default(),
        }
    }

    /// A primary and three replicas with these lags.
    fn cluster(lags: [u64; 3]) -> Topology {
        let mut nodes = vec![node(Role::Primary, 0, 20_000)];
        nodes.extend(lags.iter().map(|&ms| node(Role::Replica, ms, 20_000 - ms)));
        Topology { epoch: 1, primary: Some(0), nodes, ..Topology::default() }
    }

    struct Seen<'a> {
        topology: &'a Topology,
        suspects: &'a [usize],
        slow: &'a [usize],
    }

    impl Signs for Seen<'_> {
        fn is_suspect(&self, node: usize) -> bool {
            self.suspects.contains(&node)
        }
        fn visible(&self, node: usize) -> Option<Position> {
            self.topology.nodes[node].position
        }
        fn keeps_waiting(&self, node: usize) -> bool {
            self.slow.contains(&node)
        }
        fn load(&self, _: usize) -> u32 {
            0
        }
    }

    /// The turns of three replicas of the same weight.
    fn schedule() -> Schedule {
        Schedule::new(&[0.0, 1.0, 1.0, 1.0], true)
    }

    fn planned(op: &'static Op, topology: &Topology, wishes: Wishes, number: usize, seen: &Seen<'_>) -> Plan {
        plan(op, topology, wishes, Turn { schedule: &schedule(), number }, seen)
    }

    fn order(op: &'static Op, topology: &Topology, wishes: Wishes, turn: usize, suspects: &[usize]) -> Vec<usize> {
        let seen = Seen { topology, suspects, slow: &[] };
        planned(op, topology, wishes, turn, &seen).targets().map(|t| t.node).collect()
    }

    #[test]
    fn reads_go_round_the_replicas_and_end_at_the_primary() {
        let t = cluster([0, 0, 0]);
        assert_eq!(order(&READ, &t, WISHES, 0, &[]), [1, 2, 3, 0]);
        assert_eq!(order(&READ, &t, WISHES, 1, &[]), [2, 1, 3, 0]);
    }

    #[test]
    fn writes_and_critical_calls_know_the_primary_only() {
        let t = cluster([0, 0, 0]);
        for op in [&WRITE, &CRITICAL_READ, &PRIMARY_READ] {
            assert_eq!(order(op, &t, WISHES, 3, &[]), [0]);
        }
    }

    #[test]
    fn a_replica_over_the_limit_or_suspect_is_skipped() {
        let t = cluster([6000, 0, 0]);
        assert_eq!(order(&READ, &t, WISHES, 0, &[2]), [3, 0, 2]);
        assert_eq!(order(&READ, &t, WISHES, 0, &[1, 2, 3]), [0, 2, 3]);
    }

    #[test]
    fn a_replica_without_a_weight_is_the_last_resort() {
        let t = cluster([0, 0, 0]);
        let schedule = Schedule::new(&[0.0, 1.0, 0.0, 2.0], true);
        let seen = Seen { topology: &t, suspects: &[], slow: &[] };
        let order = plan(&READ, &t, WISHES, Turn { schedule: &schedule, number: 0 }, &seen);
        assert_eq!(order.targets().map(|t| t.node).collect::<Vec<_>>(), [3, 1, 0, 2]);
    }

    #[test]
    fn the_primary_stands_in_for_replicas_but_not_for_itself() {
        let t = cluster([6000, 6000, 6000]);
        let seen = Seen { topology: &t, suspects: &[], slow: &[] };
        let stands_in = |op, wishes| planned(op, &t, wishes, 0, &seen).get(0).unwrap().stands_in;
        assert!(stands_in(&READ, WISHES));
        assert!(!stands_in(&READ, Wishes { token: Some(at(1)), ..WISHES }), "its own writes");
        assert!(!stands_in(&READ, Wishes { primary_only: true, ..WISHES }));
        assert!(!stands_in(&PRIMARY_READ, WISHES) && !stands_in(&CRITICAL_READ, WISHES));
        let alone =
            Topology { epoch: 1, primary: Some(0), nodes: vec![node(Role::Primary, 0, 9)], ..Topology::default() };
        assert!(!planned(&READ, &alone, WISHES, 0, &seen).get(0).unwrap().stands_in);
    }

    #[test]
    fn a_methods_own_limit_is_stricter_and_wants_the_lag_known() {
        let mut t = cluster([2000, 500, 0]);
        t.nodes[3].lag = Lag::Unknown;
        assert_eq!(order(&STRICT, &t, WISHES, 0, &[]), [2, 0]);
        assert_eq!(order(&READ, &t, WISHES, 0, &[]), [1, 2, 3, 0]);
    }

    #[test]
    fn own_writes_decide_among_replicas() {
        let t = cluster([10, 0, 400]);
        let token = |lsn| Wishes { token: Some(at(lsn)), ..WISHES };
        assert_eq!(order(&READ, &t, token(19_995), 0, &[])[..2], [2, 0]);
        let waits = planned(&READ, &t, token(20_001), 0, &Seen { topology: &t, suspects: &[], slow: &[] });
        assert_eq!(waits.get(0).map(|t| (t.node, t.freshness)), Some((1, Freshness::Reaches(at(20_001)))));
        assert_eq!(waits.get(1).map(|t| t.node), Some(0));
        let elsewhere = planned(&READ, &t, token(20_001), 0, &Seen { topology: &t, suspects: &[], slow: &[1] });
        assert_eq!(elsewhere.get(0).map(|t| t.node), Some(2), "a replica that kept others waiting is not waited for");
        // Replica 3 is known to be too far behind to be worth a wait.
        assert_eq!(order(&READ, &t, token(20_001), 3, &[1, 2])[0], 0);
    }

    #[test]
    fn without_a_primary_reads_take_what_there_is_and_writes_nothing() {
        let mut t = cluster([0, 0, 0]);
        t.primary = None;
        t.nodes[0].state = NodeState::Unreachable;
        for n in &mut t.nodes[1..] {
            n.lag = Lag::Unknown;
        }
        assert_eq!(order(&READ, &t, WISHES, 0, &[]), [1, 2, 3]);
        assert!(order(&STRICT, &t, WISHES, 0, &[]).is_empty());
        assert!(order(&WRITE, &t, WISHES, 0, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn no_read_is_planned_where_it_must_not_run(lags in proptest::array::uniform3(0u64..10_000), token in proptest::option::of(0u64..22_000), turn: usize, suspect in 0usize..6) {
            let t = cluster(lags);
            let wishes = Wishes { token: token.map(at), ..WISHES };
            let seen = Seen { topology: &t, suspects: &[suspect], slow: &[] };
            let plan = planned(&READ, &t, wishes, turn, &seen);
            let targets: Vec<Target> = plan.targets().collect();
            let primary = targets.iter().position(|t| t.node == 0).expect("the primary is in every plan");
            for (place, target) in targets.iter().enumerate().filter(|(place, _)| *place != primary) {
                prop_assert!(lags[target.node - 1] <= 5000);
                prop_assert!(place > primary || target.node != suspect);
                if let (Some(token), Freshness::Any) = (token, target.freshness) {
                    prop_assert!(seen.visible(target.node).unwrap().covers(at(token)));
                }
            }
        }

        #[test]
        fn turns_spread_reads_evenly(start in 0usize..1000) {
            let t = cluster([0, 0, 0]);
            let seen = Seen { topology: &t, suspects: &[], slow: &[] };
            let schedule = schedule();
            let mut firsts = [0; 4];
            for number in start..start + 300 {
                let turn = Turn { schedule: &schedule, number };
                firsts[plan(&READ, &t, WISHES, turn, &seen).targets().next().unwrap().node] += 1;
            }
            prop_assert_eq!(firsts, [0, 100, 100, 100]);
        }
    }
}
