//! What choosing a replica costs: the plan of a read by turns in order, as a baseline, and as it is balanced, in alternating rounds:
//! `cargo bench -p dbopt-core --bench plan`. `BENCH_ROUNDS` and `BENCH_CALLS` change how much is done; `BENCH_ONLY=2` runs one contender
//! alone, for an instruction counter.
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dbopt_core::backend::Role;
use dbopt_core::cluster::{Lag, NodeState, NodeView, Topology};
use dbopt_core::op::{Intent, Op};
use dbopt_core::position::Position;
use dbopt_core::route::balance::{Schedule, Turn};
use dbopt_core::route::{Plan, Signs, Wishes, plan};
use tokio::time::Instant;

static READ: Op = Op::new("Things::read", Intent::Read);

const REPLICAS: usize = 3;

const WISHES: Wishes =
    Wishes { max_lag: Duration::from_secs(5), token: None, primary_only: false, worth_waiting: Duration::from_secs(2) };

/// Nothing is suspect; loads are read as the runtime reads them.
struct Quiet(Vec<AtomicU32>);

impl Signs for Quiet {
    fn is_suspect(&self, node: usize) -> bool {
        self.0[node].load(Ordering::Relaxed) == u32::MAX
    }
    fn visible(&self, _: usize) -> Option<Position> {
        None
    }
    fn keeps_waiting(&self, _: usize) -> bool {
        false
    }
    fn load(&self, node: usize) -> u32 {
        self.0[node].load(Ordering::Relaxed)
    }
}

fn quiet(load: u32) -> Quiet {
    Quiet((0..=REPLICAS).map(|_| AtomicU32::new(load)).collect())
}

fn cluster() -> Topology {
    let node = |i| NodeView {
        name: Arc::from("n"),
        state: NodeState::Healthy,
        role: Some(if i == 0 { Role::Primary } else { Role::Replica }),
        position: None,
        lag: Lag::Known(Duration::ZERO),
        cause: None,
        host: Default::default(),
        healthy_since: None,
        details: Default::default(),
    };
    Topology { epoch: 1, primary: Some(0), nodes: (0..=REPLICAS).map(node).collect(), ..Topology::default() }
}

/// The least that any plan does: the replicas that may serve, from another one at each turn, and then the primary.
fn in_order(topology: &Topology, number: usize, signs: &Quiet) -> [Option<usize>; Plan::CAPACITY] {
    let mut targets = [None; Plan::CAPACITY];
    let serves = |i: &usize| {
        let node = &topology.nodes[*i];
        let replica = node.state == NodeState::Healthy && node.role == Some(Role::Replica);
        replica && !node.lag.exceeds(WISHES.max_lag) && !signs.is_suspect(*i)
    };
    let serving = (0..topology.nodes.len()).filter(serves);
    let skipped = number.checked_rem(serving.clone().count()).unwrap_or(0);
    let order = serving.clone().skip(skipped).chain(serving.take(skipped)).chain(topology.primary);
    for (place, node) in targets.iter_mut().zip(order) {
        *place = Some(node);
    }
    targets
}

const NAMES: [&str; 4] = ["in order (baseline)", "round robin", "weighted, idle", "weighted, busy"];

fn round(which: usize, calls: usize, topology: &Topology) -> f64 {
    let weights = [0.0, 1.0, 0.8, 1.0];
    let schedule = Schedule::new(if which == 1 { &[0.0, 1.0, 1.0, 1.0] } else { &weights }, which > 1);
    let signs = quiet(if which == 3 { 3 } else { 0 });
    let start = Instant::now();
    for number in 0..calls {
        if which == 0 {
            black_box(in_order(black_box(topology), number, &signs));
        } else {
            let turn = Turn { schedule: &schedule, number };
            black_box(plan(&READ, black_box(topology), WISHES, turn, &signs));
        }
    }
    start.elapsed().as_secs_f64() * 1e9 / calls as f64
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let topology = cluster();
    let calls = number("BENCH_CALLS", 200_000);
    if let Some(which) = std::env::var("BENCH_ONLY").ok().and_then(|text| text.parse().ok()) {
        round(which, calls, &topology);
        return;
    }
    let mut nanos = vec![Vec::new(); NAMES.len()];
    for _ in 0..number("BENCH_ROUNDS", 15) {
        for (which, nanos) in nanos.iter_mut().enumerate() {
            nanos.push(round(which, calls, &topology));
        }
    }
    let baseline = nanos[0].clone();
    for (name, nanos) in NAMES.iter().zip(&mut nanos) {
        let mut ratios: Vec<f64> = nanos.iter().zip(&baseline).map(|(own, base)| own / base).collect();
        let ratio = median(&mut ratios);
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        println!("{name:22} {:6.1} ns  {ratio:.2} [{least:.2}-{most:.2}]", median(nanos));
    }
}
