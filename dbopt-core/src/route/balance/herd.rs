//! A hundred instances share five replicas, in simulated time: do they run together?

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Balancer, Turn};
use crate::backend::Role;
use crate::cluster::{HostReading, Lag, NodeState, NodeView, Topology};
use crate::observe::{Calls, Outcome};
use crate::op::{Intent, Lane, Op};
use crate::route::Config;

const INSTANCES: usize = 100;
const REPLICAS: usize = 5;
/// Each replica works on so many reads at once.
const WORKERS: usize = 4;
/// What a read takes, in microseconds, when it need not wait: 1000 reads a second for each replica.
const SERVICE: u64 = 4000;
/// Reads a second, of all instances together: 70 % of what the replicas can do.
const READS: u64 = 3500;
const SECOND: u64 = 1_000_000;
/// How long a window is in which loads are compared.
const WINDOW: u64 = SECOND / 2;

static READ: Op = Op::new("Things::read", Intent::Read);

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Balanced,
    /// Everybody sends all reads to the replica that was the fastest in the last second.
    AlwaysTheBest,
}

struct Instance {
    balancer: Balancer,
    calls: Calls,
    load: [u32; REPLICAS],
    best: usize,
}

/// How a simulation went.
struct Course {
    /// Per window, the reads that came to each replica.
    windows: Vec<[u64; REPLICAS]>,
    /// Per second, the weights that the first instance gave.
    weights: Vec<Vec<f64>>,
    /// When each read came and what it took, in microseconds.
    took: Vec<(u64, u64)>,
}

impl Course {
    /// The most that one replica got in a window between two seconds, as a multiple of the mean.
    fn most(&self, from: u64, until: u64) -> f64 {
        let windows = &self.windows[(from * SECOND / WINDOW) as usize..(until * SECOND / WINDOW) as usize];
        let share = |window: &[u64; REPLICAS]| {
            let (all, most) = (window.iter().sum::<u64>(), window.iter().max().copied().unwrap_or(0));
            most as f64 * REPLICAS as f64 / all as f64
        };
        windows.iter().map(share).fold(0.0, f64::max)
    }

    fn p99_ms(&self, from: u64, until: u64) -> f64 {
        let within = |at: &u64| (from * SECOND..until * SECOND).contains(at);
        let mut took: Vec<u64> = self.took.iter().filter(|(at, _)| within(at)).map(|(_, took)| *took).collect();
        took.sort_unstable();
        took[took.len() * 99 / 100] as f64 / 1e3
    }
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn topology(cpus: [Option<f64>; REPLICAS]) -> Topology {
    let node = |cpu| NodeView {
        name: "r".into(),
        state: NodeState::Healthy,
        role: Some(Role::Replica),
        position: None,
        lag: Lag::Known(Duration::ZERO),
        cause: None,
        host: HostReading { cpu, ..HostReading::default() },
        healthy_since: None,
        details: Default::default(),
    };
    Topology { epoch: 1, primary: None, nodes: cpus.map(node).into(), ..Topology::default() }
}

/// Runs for so many seconds. `slowness` tells how many times as long as usual a replica takes at a second, `others` which share of its
/// processors others use; each instance learns once a second, at a moment of its own.
fn run(way: Way, seconds: u64, slowness: impl Fn(usize, u64) -> f64, others: impl Fn(usize) -> Option<f64>) -> Course {
    let start = Instant::now();
    let mut dice = Dice(0x2545_F491_4F6C_DD1D);
    let mut instances: Vec<Instance> = (0..INSTANCES)
        .map(|i| Instance {
            balancer: Balancer::new(Config::default(), vec![1.0; REPLICAS]),
            calls: Calls::new(REPLICAS),
            load: [0; REPLICAS],
            best: i % REPLICAS,
        })
        .collect();
    let mut free_at = [[0u64; WORKERS]; REPLICAS];
    let mut worked = [0u64; REPLICAS];
    let mut backlog = [0u64; REPLICAS];
    let mut cluster = topology([None; REPLICAS]);
    let mut ends: BinaryHeap<Reverse<(u64, usize, usize, u64)>> = BinaryHeap::new();
    let mut course = Course {
        windows: vec![[0; REPLICAS]; (seconds * SECOND / WINDOW) as usize],
        weights: Vec::new(),
        took: Vec::new(),
    };
    instances.iter().for_each(|instance| instance.balancer.look(&cluster, &[], start));
    let (mut now, mut next_look) = (0u64, 0u64);
    while now < seconds * SECOND {
        now += (-(1.0 - dice.fraction()).ln() * SECOND as f64 / READS as f64) as u64;
        while next_look <= now {
            let turn = (next_look / (SECOND / INSTANCES as u64)) as usize % INSTANCES;
            if turn == 0 {
                let used = |i: usize| {
                    others(i).map(|share| (share + worked[i] as f64 / (WORKERS as u64 * SECOND) as f64).min(1.0))
                };
                cluster = topology(std::array::from_fn(used));
                worked = [0; REPLICAS];
                backlog = std::array::from_fn(|i| free_at[i].iter().sum::<u64>());
                course.weights.push(instances[0].balancer.status().iter().map(|node| node.weight).collect());
            }
            let instance = &mut instances[turn];
            if way == Way::Balanced {
                let counts = instance.calls.counts();
                instance.balancer.look(&cluster, &counts, start + Duration::from_micros(next_look));
            } else {
                // What all instances know: how long a read would have waited there when the second began.
                instance.best = (0..REPLICAS).min_by_key(|node| backlog[*node]).unwrap_or(0);
            }
            next_look += SECOND / INSTANCES as u64;
        }
        while let Some(Reverse((at, who, node, took))) = ends.peek().copied().filter(|Reverse(end)| end.0 <= now) {
            ends.pop();
            instances[who].load[node] -= 1;
            instances[who]
                .calls
                .method(&READ)
                .series(node, Lane::Read)
                .record(Outcome::Ok, Duration::from_micros(took));
            course.took.push((at - took, took));
        }
        let who = (dice.fraction() * INSTANCES as f64) as usize;
        let instance = &mut instances[who];
        let node = match way {
            Way::AlwaysTheBest => instance.best,
            Way::Balanced => {
                let turn = Turn { schedule: &instance.balancer.schedule(), number: instance.balancer.next_turn() };
                turn.choose((1 << REPLICAS) - 1, |node| instance.load[node]).expect("all serve")
            }
        };
        instance.load[node] += 1;
        if let Some(window) = course.windows.get_mut((now / WINDOW) as usize) {
            window[node] += 1;
        }
        let takes = (SERVICE as f64 * slowness(node, now / SECOND) * (0.5 + dice.fraction())) as u64;
        let worker = free_at[node].iter_mut().min().expect("some work");
        let end = now.max(*worker) + takes;
        *worker = end;
        worked[node] += takes;
        ends.push(Reverse((end, who, node, end - now)));
    }
    course
}

#[test]
fn a_hundred_instances_do_not_run_together() {
    // One replica takes three times as long for ten seconds, and is then as fast as the others again.
    let slowness = |node, second| if node == 0 && (5..15).contains(&second) { 3.0 } else { 1.0 };
    let (balanced, best) =
        (run(Way::Balanced, 30, slowness, |_| None), run(Way::AlwaysTheBest, 10, slowness, |_| None));
    let describe = |name, course: &Course| {
        let parts =
            || [(1, 5), (6, 15), (15, 30)].into_iter().filter(|(_, until)| 2 * until <= course.windows.len() as u64);
        let most: Vec<f64> = parts().map(|(from, until)| course.most(from, until)).collect();
        let p99: Vec<f64> = parts().map(|(from, until)| course.p99_ms(from, until)).collect();
        println!("{name}: most {most:.2?} of the mean, p99 {p99:.1?} ms");
    };
    describe("balanced", &balanced);
    describe("always the best", &best);
    let last = balanced.windows.last().expect("a window");
    assert!(balanced.most(1, 5) < 1.25, "all alike: {}", balanced.most(1, 5));
    assert!(balanced.most(6, 30) < 1.5, "four share what the fifth cannot do: {}", balanced.most(6, 30));
    assert!(last[0] * 4 * REPLICAS as u64 > last.iter().sum::<u64>(), "the fifth is back: {last:?}");
    assert!(best.most(1, 10) > 3.0, "this is what a herd looks like: {}", best.most(1, 10));
}

#[test]
fn what_all_instances_see_of_a_hot_machine_makes_no_swing() {
    // Others use 55 % of one machine, and the reads the rest: with its full part it would be over 100 %.
    let course = run(Way::Balanced, 35, |_, _| 1.0, |node| Some(if node == 0 { 0.55 } else { 0.1 }));
    let weights: Vec<f64> = course.weights[20..].iter().map(|weights| weights[0]).collect();
    let (least, most) = weights.iter().fold((f64::MAX, 0.0f64), |(a, b), w| (a.min(*w), b.max(*w)));
    println!("the hot one weighs {least:.2} to {most:.2}");
    assert!(most < 0.9, "it gets less: {most}");
    assert!(most - least < 0.35, "it swings from {least} to {most}");
    assert!(course.most(20, 35) < 1.4, "{}", course.most(20, 35));
}
