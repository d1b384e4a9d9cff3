//! Thousands of random operations: whatever happens, nothing is lost and nothing is exceeded.

use std::collections::VecDeque;

use proptest::prelude::*;
use tokio::time::{advance, timeout};

use super::*;
use crate::backend::Health;

const BUDGET: u32 = 12;

/// A small generator, so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Three pools of one budget, the callers that wait for them, and what they were lent.
struct World {
    budget: Arc<Budget>,
    benches: Vec<Bench>,
    waiting: VecDeque<(bool, Instant, JoinHandle<Outcome>)>,
    held: Vec<Lease<FakeCluster>>,
    dice: Dice,
}

impl World {
    fn new(seed: u64) -> Self {
        let (cluster, budget) = (FakeCluster::default(), Budget::new(BUDGET));
        let config = Config { max: BUDGET, max_waiting: 30, ..Config::default() };
        let benches: Vec<Bench> = ["a", "b", "c"]
            .map(|name| {
                let (node, pool) = pool_on(&cluster, name, &budget, config.clone());
                pool.set_share(share(1, 4));
                Bench { node, pool }
            })
            .into();
        World { budget, benches, waiting: VecDeque::new(), held: Vec::new(), dice: Dice(seed | 1) }
    }

    async fn step(&mut self) {
        let which = self.dice.below(3);
        match self.dice.below(40) {
            0..10 => self.call(which, true),
            10..13 => self.call(which, false),
            13..15 => self.cancel(),
            15..26 => self.give_back(),
            26 => self.benches[which].node.kill(),
            27..30 => self.benches[which].node.revive(),
            30 => self.share(),
            31 => self.benches[which].pool.drop_idle(),
            32 => self.benches[which].pool.retry_now(),
            33 => self.benches[which].refuse(Reason::ServerFull, "too many clients"),
            34 => {
                *self.benches[which].node.connect_delay.lock() = Duration::from_millis(self.dice.below(40) as u64 * 100)
            }
            35 => {
                *self.benches[which].node.recovery.lock() = [None, Some(Duration::from_millis(20))][self.dice.below(2)]
            }
            36 => self.benches[which].node.panics.store(self.dice.below(3) == 0, Ordering::SeqCst),
            37 => advance(Duration::from_secs(self.dice.below(200) as u64)).await,
            _ => advance(Duration::from_millis(self.dice.below(800) as u64)).await,
        }
        if self.dice.below(3) == 0 {
            settle().await;
        }
        if self.dice.below(5) == 0 {
            self.benches[which].pool.maintain();
        }
        self.collect().await;
        self.check();
    }

    fn call(&mut self, which: usize, may_wait: bool) {
        let pool = self.benches[which].pool.clone();
        let task =
            tokio::spawn(async move { if may_wait { acquire(&pool).await } else { acquire_at_once(&pool).await } });
        self.waiting.push_back((may_wait, Instant::now(), task));
    }

    fn cancel(&mut self) {
        if !self.waiting.is_empty() {
            let at = self.dice.below(self.waiting.len());
            self.waiting[at].2.abort();
            self.waiting.remove(at);
        }
    }

    fn give_back(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let at = self.dice.below(self.held.len());
        let mut lease = self.held.swap_remove(at);
        match self.dice.below(8) {
            0 => lease.health = Health::Busy,
            1 => lease.health = Health::InTransaction,
            2 => lease.health = Health::Closed,
            3 => return lease.close(),
            _ => {}
        }
        drop(lease);
    }

    /// Any three shares that fit into the budget, also none at all.
    fn share(&mut self) {
        let mut left = BUDGET as usize;
        for at in 0..3 {
            let max = self.dice.below(left + 1);
            let min = self.dice.below(max + 1);
            self.benches[at].pool.set_share(share(min, max));
            left -= max;
        }
    }

    async fn collect(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some((may_wait, since, task)) = self.waiting.pop_front() else { return };
            if task.is_finished() {
                self.held.extend(task.await.expect("no caller panics"));
            } else {
                self.waiting.push_back((may_wait, since, task));
            }
        }
    }

    fn check(&mut self) {
        let open: usize = self.benches.iter().map(Bench::open).sum();
        assert!(open <= BUDGET as usize && self.budget.open() <= BUDGET as usize, "{open} are open");
        let counted: usize = self.benches.iter().map(|bench| bench.pool.store.open()).sum();
        assert_eq!(counted, self.budget.open());
        for Bench { pool, .. } in &self.benches {
            let lobby = pool.lobby.lock();
            assert!(lobby.ready.is_empty() || lobby.waiting.is_empty(), "someone waits although a connection is ready");
            assert!(lobby.here + lobby.opening <= BUDGET as usize + lobby.opening);
        }
    }

    /// Everybody who waits is answered in time, and everything is as if nothing had happened.
    async fn end(mut self) {
        // Long enough for the longest attempt, and for the longest wait of those who may wait.
        for second in 0..12 {
            sleep(Duration::from_millis(1000)).await;
            self.collect().await;
            if second == 5 {
                let nested = self.waiting.iter().filter(|(may_wait, ..)| !may_wait).count();
                assert_eq!(nested, 0, "nobody who must not wait has waited for others");
            }
        }
        assert!(self.waiting.is_empty(), "{} callers were never answered", self.waiting.len());
        for Bench { node, pool } in &self.benches {
            node.revive();
            node.panics.store(false, Ordering::SeqCst);
            *node.connect_delay.lock() = Duration::ZERO;
            *node.recovery.lock() = Some(Duration::ZERO);
            pool.set_share(share(1, 4));
        }
        self.held.clear();
        // Slow attempts of before end, and those that failed are forgotten.
        sleep(Duration::from_secs(3)).await;
        for bench in &self.benches {
            bench.pool.retry_now();
            bench.pool.maintain();
        }
        settle().await;
        // Every place is there: none was lost on the way.
        for bench in &self.benches {
            let held = timeout(Duration::from_secs(1), bench.all_in_use(4)).await.expect("all four places are free");
            assert_eq!((held.len(), bench.open()), (4, 4));
        }
        for Bench { pool, .. } in &self.benches {
            pool.close();
        }
        settle().await;
        for bench in &self.benches {
            let lobby = bench.pool.lobby.lock();
            assert_eq!((lobby.here, lobby.opening, lobby.waiting.len(), lobby.taken_seats()), (0, 0, 0, 0));
            assert_eq!((bench.open(), bench.pool.store.open()), (0, 0));
        }
        assert_eq!(self.budget.open(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_whatever_happens(seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        // The panics of the fake driver are part of the game.
        runtime.block_on(async {
            let mut world = World::new(seed);
            for _ in 0..1000 {
                world.step().await;
            }
            world.end().await;
        });
    }
}

/// The same on several threads and the real clock, for the races that one thread cannot have.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_when_many_threads_come_and_go() {
    let bench = bench(0, 3);
    let mut tasks = Vec::new();
    for seed in 1..=16u64 {
        let (pool, mut dice) = (bench.pool.clone(), Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        tasks.push(tokio::spawn(async move {
            let mut served = 0;
            for _ in 0..10_000 {
                let patience = dice.below(6);
                let giving_up = async {
                    for _ in 0..patience {
                        yield_now().await;
                    }
                };
                let mut lease = tokio::select! {
                    biased;
                    outcome = acquire(&pool) => outcome.expect("the node is well"),
                    () = giving_up => continue,
                };
                served += 1;
                match dice.below(100) {
                    0 => lease.health = Health::Closed,
                    1 => lease.health = Health::Busy,
                    2..30 => yield_now().await,
                    _ => {}
                }
            }
            served
        }));
    }
    let mut served = 0;
    for task in tasks {
        served += task.await.unwrap();
    }
    assert!(served > 1000, "{served}");
    let until = Instant::now() + Duration::from_secs(5);
    while bench.pool.in_use() > 0 || bench.pool.lobby.lock().opening > 0 {
        assert!(Instant::now() < until, "{:?}", bench.pool.status());
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bench.pool.status().waiting, 0);
    let held = timeout(Duration::from_secs(5), bench.all_in_use(3)).await.expect("all three places are free");
    assert_eq!((held.len(), bench.open()), (3, 3));
    assert!(bench.node.most_open.load(Ordering::SeqCst) <= 3);
}
