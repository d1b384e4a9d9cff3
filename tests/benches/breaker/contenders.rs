//! The same call behind each circuit breaker.

use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dbopt_diesel::core::breaker::{Admission, Circuit, Config, Refused};
use dbopt_diesel::core::op::Lane;
use recloser::{AsyncRecloser, Recloser};
use tower::{Service, ServiceExt};
use tower_resilience_circuitbreaker::{CircuitBreaker, CircuitBreakerLayer, DefaultClassifier};

pub(crate) const NAMES: [&str; 5] = ["no breaker", "dbopt", "recloser", "failsafe", "tower-resilience"];

/// How many of them guard functions; the last one guards services only.
pub(crate) const SYNC: usize = 4;

type Failsafe =
    failsafe::StateMachine<failsafe::failure_policy::SuccessRateOverTimeWindow<failsafe::backoff::EqualJittered>, ()>;

#[derive(Clone)]
pub(crate) struct Contenders {
    dbopt: Arc<Circuit>,
    recloser: AsyncRecloser,
    plain_recloser: Arc<Recloser>,
    failsafe: Failsafe,
    tower: CircuitBreaker<Work, DefaultClassifier>,
}

/// The same call as a service.
#[derive(Clone)]
pub(crate) struct Work;

impl Service<u64> for Work {
    type Response = u64;
    type Error = u64;
    type Future = Ready<Result<u64, u64>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), u64>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, n: u64) -> Self::Future {
        ready(call(n))
    }
}

/// A call that goes well.
#[inline(always)]
fn call(n: u64) -> Result<u64, u64> {
    black_box(Ok(n))
}

async fn call_later(n: u64) -> Result<u64, u64> {
    call(n)
}

/// As a pool and a call use it: a look before, a note of the outcome after.
#[inline(always)]
fn guarded<T, E>(circuit: &Arc<Circuit>, work: impl FnOnce() -> Result<T, E>) -> Result<Result<T, E>, Refused> {
    let admitted = circuit.admit()?;
    let done = work();
    note(circuit, admitted, done.is_ok());
    Ok(done)
}

async fn guarded_later<T, E>(
    circuit: &Arc<Circuit>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<Result<T, E>, Refused> {
    let admitted = circuit.admit()?;
    let done = work.await;
    note(circuit, admitted, done.is_ok());
    Ok(done)
}

#[inline(always)]
fn note(circuit: &Circuit, admitted: Admission, went_well: bool) {
    match admitted {
        Admission::Pass if went_well => circuit.succeeded(),
        Admission::Pass => circuit.failed(dbopt_diesel::core::breaker::Failure::Fault, "it failed"),
        Admission::Test(probe) => probe.succeeded(),
    }
}

impl Contenders {
    pub(crate) fn new() -> Self {
        let recloser = || Recloser::custom().error_rate(0.5).closed_len(100).open_wait(Duration::from_secs(30)).build();
        let minute = Duration::from_secs(60);
        let backoff = failsafe::backoff::equal_jittered(Duration::from_secs(30), Duration::from_secs(120));
        let policy = failsafe::failure_policy::success_rate_over_time_window(0.5, 5, minute, backoff);
        Contenders {
            dbopt: Circuit::new("node".into(), Lane::Write, &Config::default()),
            recloser: AsyncRecloser::from(recloser()),
            plain_recloser: Arc::new(recloser()),
            failsafe: failsafe::Config::new().failure_policy(policy).build(),
            tower: CircuitBreakerLayer::builder()
                .failure_rate_threshold(0.5)
                .build()
                .expect("it is valid")
                .layer_fn(Work),
        }
    }

    #[inline(never)]
    pub(crate) fn run(&self, which: usize, calls: usize) {
        use failsafe::CircuitBreaker as _;
        let calls = calls as u64;
        match which {
            0 => (0..calls).for_each(|n| black_box(call(n)).map_or((), |_| ())),
            1 => (0..calls).for_each(|n| drop(black_box(guarded(&self.dbopt, || call(n))))),
            2 => (0..calls).for_each(|n| drop(black_box(self.plain_recloser.call(|| call(n))))),
            3 => (0..calls).for_each(|n| drop(black_box(self.failsafe.call(|| call(n))))),
            _ => panic!("it guards no functions"),
        }
    }

    pub(crate) async fn run_async(&self, which: usize, calls: usize) {
        use failsafe::futures::CircuitBreaker as _;
        let mut service = self.tower.clone();
        for n in 0..calls as u64 {
            match which {
                0 => drop(black_box(call_later(n).await)),
                1 => drop(black_box(guarded_later(&self.dbopt, call_later(n)).await)),
                2 => drop(black_box(self.recloser.call(call_later(n)).await)),
                3 => drop(black_box(self.failsafe.call(call_later(n)).await)),
                _ => drop(black_box(service.ready().await.expect("it is closed").call(n).await)),
            }
            if n % 128 == 127 {
                tokio::task::yield_now().await;
            }
        }
    }
}
