//! One of the processes: asks at its pace, and writes down when it was let pass.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use dbopt_diesel::core::limit::{Config, Limited, Limiter, Parts, Verdict, WhenLost, Who};
use dbopt_diesel::{Intent, Op};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep};

use super::Options;

static OP: Op = Op::new("Worker::check", Intent::Read);
static LIMITED: Limited = Limited::new(&OP);

/// Microseconds of the clock that all processes of a machine share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

pub(super) async fn run(options: &Options, redis: &str, log: &Path) -> Result<()> {
    let rate = format!("{}/s", options.limit).parse()?;
    // On a busy machine an answer may be late all the same; what is admitted without one is above the limit, and not what is judged here.
    let when_redis_is_lost = WhenLost::Closed;
    let mut config = Config { timeout: Duration::from_millis(40), when_redis_is_lost, ..Config::default() };
    let none = "".parse()?;
    (config.per_user, config.global) = if options.user { (rate, none) } else { (none, rate) };
    let limiter =
        Limiter::new(&config, Some((redis, "limits"))).map_err(|problems| anyhow::anyhow!(problems.join("; ")))?;
    for (_, task) in limiter.tasks() {
        tokio::spawn(task);
    }
    while limiter.status().redis != "up" {
        sleep(Duration::from_millis(5)).await;
    }
    let mut log = BufWriter::new(File::create(log)?);
    let begin = Instant::now();
    for i in 0..options.checks {
        let due = begin + Duration::from_secs_f64(i as f64 / options.pace());
        if i % 16 == 0 && due > Instant::now() {
            log.flush()?;
            tokio::time::sleep_until(due).await;
        }
        let before = now();
        let admitted = match limiter.check(&OP, Some(&LIMITED), Who::User("everybody"), Parts::All) {
            Verdict::Admitted(_) => true,
            Verdict::Refused(_) => false,
            Verdict::Ask(asking) => asking.answer().await.is_ok(),
        };
        if admitted {
            log.write_all(&before.to_le_bytes())?;
            log.write_all(&now().to_le_bytes())?;
        }
    }
    log.flush()?;
    let status = limiter.status();
    limiter.shutdown().await;
    println!(
        "asked Redis {} times, fetched {}, gave back {}, failed {}",
        status.asked, status.leased, status.returned, status.failed
    );
    Ok(())
}
