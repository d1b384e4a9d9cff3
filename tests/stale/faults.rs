//! What goes wrong while the processes work. Each fault ends by itself and leaves everything healed.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use super::worker::Order;
use super::world::World;

/// What can be made to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Replicas apply the log late, each by another time.
    Lag,
    /// A replica stops applying the log.
    Pause,
    /// Many reads of the database take long between what they saw and their return.
    SlowFill,
    /// Redis stands still and goes on.
    Freeze,
    /// Redis is emptied, again and again.
    Flush,
    /// Redis has no memory left, and evicts nothing.
    Full,
    /// Redis evicts what was not used for long.
    Evict,
    /// Redis cannot write its snapshot, and refuses writes (MISCONF).
    Misconf,
    /// The connections that hear of invalidations are closed.
    PushCut,
    /// Redis answers late.
    SlowRedis,
    /// One process does not reach Redis.
    Partition,
    /// The database closes connections, in the middle of whatever they do.
    Terminate,
    /// Redis is killed and comes back empty.
    RedisKill,
    /// Redis is killed and comes back with what it held a while ago.
    RedisRestore,
    /// A process is killed and another one takes its place.
    Kill,
    /// Some of the others at once.
    Mix,
}

impl Fault {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Each once, those with the longest consequences last.
    pub(crate) fn all() -> Vec<Fault> {
        Fault::value_variants().to_vec()
    }
}

/// Makes `fault` happen for about `length`.
pub(crate) async fn inflict(world: &World, fault: Fault, rng: &mut Rng, length: Duration) -> Result<()> {
    match fault {
        Fault::Lag => lag(world, rng, length).await,
        Fault::Pause => {
            let replica = world.cluster.replica(rng.usize(1..=3));
            replica.pause_replay().await?;
            sleep(length).await;
            Ok(replica.resume_replay().await?)
        }
        Fault::SlowFill => {
            world.tell(&Order::Slow(400));
            sleep(length).await;
            world.tell(&Order::Slow(20));
            Ok(())
        }
        Fault::Freeze => {
            let redis = world.redis()?;
            redis.freeze().await?;
            sleep(length).await;
            Ok(redis.thaw().await?)
        }
        Fault::Flush => {
            repeat(length, Duration::from_millis(300), async || drop(world.redis_command(&["FLUSHALL"]).await)).await;
            Ok(())
        }
        Fault::Full => {
            world.insist(&["CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"]).await?;
            sleep(length).await;
            world.insist(&["CONFIG", "SET", "maxmemory", "0"]).await
        }
        Fault::Evict => evict(world, rng, length).await,
        Fault::Misconf => misconf(world, length).await,
        Fault::PushCut => {
            let cut = async || drop(world.redis_command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await);
            repeat(length, Duration::from_millis(400), cut).await;
            Ok(())
        }
        Fault::SlowRedis => {
            for seat in &world.seats {
                seat.proxy.delay(Duration::from_micros(rng.u64(500..12_000)));
            }
            sleep(length).await;
            world.seats.iter().for_each(|seat| seat.proxy.heal());
            Ok(())
        }
        Fault::Partition => {
            let proxy = &world.seats[rng.usize(..world.seats.len())].proxy;
            match rng.u8(0..4) {
                0 => proxy.stall(),
                1 => proxy.blackhole(),
                2 => proxy.reset(),
                _ => proxy.cut(),
            }
            sleep(length).await;
            proxy.heal();
            Ok(())
        }
        Fault::Terminate => terminate(world, rng, length).await,
        Fault::RedisKill => kill_redis(world, length, false).await,
        Fault::RedisRestore => kill_redis(world, length, true).await,
        Fault::Kill => {
            let seat = rng.usize(..world.seats.len());
            world.kill(seat).await?;
            sleep(length / 4).await;
            world.spawn(seat).await?;
            sleep(length * 3 / 4).await;
            Ok(())
        }
        Fault::Mix => mix(world, rng, length).await,
    }
}

async fn lag(world: &World, rng: &mut Rng, length: Duration) -> Result<()> {
    for replica in world.cluster.replicas() {
        replica.delay_replay(Duration::from_millis(rng.u64(1..3000))).await?;
    }
    sleep(length).await;
    for replica in world.cluster.replicas() {
        replica.delay_replay(Duration::ZERO).await?;
    }
    Ok(())
}

async fn evict(world: &World, rng: &mut Rng, length: Duration) -> Result<()> {
    // The first takes anything; the second only what expires, so that the cache's own marks stay and say that all is well.
    let policy = if rng.bool() { "allkeys-lru" } else { "volatile-lru" };
    world.insist(&["CONFIG", "SET", "maxmemory-policy", policy]).await?;
    // In turns: a limit that makes it evict, and room to fill again.
    repeat(length, Duration::from_millis(150), async || {
        let used = match world.redis_command(&["INFO", "memory"]).await {
            Ok(redis::Value::BulkString(text)) => memory(&String::from_utf8_lossy(&text)),
            Ok(redis::Value::VerbatimString { text, .. }) => memory(&text),
            _ => None,
        };
        let Some(used) = used else { return };
        for limit in [used.saturating_sub(30_000), used + 10_000] {
            let _ = world.redis_command(&["CONFIG", "SET", "maxmemory", &limit.to_string()]).await;
        }
    })
    .await;
    world.insist(&["CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction"]).await
}

fn memory(info: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix("used_memory:"))?.trim().parse().ok()
}

async fn misconf(world: &World, length: Duration) -> Result<()> {
    let _disk = world.disk.lock().await;
    // A folder where the snapshot should go, so that writing it fails for every user.
    let snapshot = world.cluster.dir().join("redis/dump.rdb");
    let _ = std::fs::remove_file(&snapshot);
    std::fs::create_dir_all(snapshot.join("in the way"))?;
    world.insist(&["CONFIG", "SET", "save", "3600 1"]).await?;
    world.insist(&["BGSAVE"]).await?;
    sleep(length).await;
    std::fs::remove_dir_all(&snapshot)?;
    world.insist(&["CONFIG", "SET", "save", "", "stop-writes-on-bgsave-error", "no"]).await?;
    world.insist(&["BGSAVE"]).await?;
    sleep(Duration::from_millis(200)).await;
    world.insist(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "yes"]).await
}

async fn terminate(world: &World, rng: &mut Rng, length: Duration) -> Result<()> {
    let nodes = world.cluster.nodes();
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name LIKE 'dbopt%' AND pid <> pg_backend_pid() AND random() < 0.2";
    let until = Instant::now() + length;
    while Instant::now() < until {
        nodes[rng.usize(..nodes.len())].execute(sql).await?;
        sleep(Duration::from_millis(rng.u64(100..500))).await;
    }
    Ok(())
}

async fn kill_redis(world: &World, length: Duration, restore: bool) -> Result<()> {
    let _disk = world.disk.lock().await;
    let redis = world.redis()?;
    let snapshot = world.cluster.dir().join("redis/dump.rdb");
    if restore {
        world.insist(&["SAVE"]).await?;
        sleep(length / 2).await;
    } else {
        let _ = std::fs::remove_file(&snapshot);
    }
    redis.kill().await?;
    sleep(length / 4).await;
    redis.start().await?;
    ensure!(!restore || snapshot.exists(), "Redis came back without its snapshot");
    sleep(length / 4).await;
    let _ = std::fs::remove_file(&snapshot);
    Ok(())
}

/// Two or three at once, of those that do not undo each other.
async fn mix(world: &World, rng: &mut Rng, length: Duration) -> Result<()> {
    let mut groups = [
        vec![Fault::Lag, Fault::Pause],
        vec![Fault::SlowFill],
        vec![Fault::Freeze, Fault::Flush, Fault::Evict, Fault::RedisKill, Fault::RedisRestore],
        vec![Fault::SlowRedis, Fault::Partition],
        vec![Fault::PushCut, Fault::Terminate],
    ];
    rng.shuffle(&mut groups);
    let count = rng.usize(2..=3);
    let chosen = groups[..count].iter().map(|group| (group[rng.usize(..group.len())], Rng::with_seed(rng.u64(..))));
    let chosen: Vec<_> = chosen.collect();
    let all = chosen.into_iter().map(async |(fault, mut rng)| Box::pin(inflict(world, fault, &mut rng, length)).await);
    futures_util::future::try_join_all(all).await.map(drop)
}

async fn repeat(length: Duration, pause: Duration, mut deed: impl AsyncFnMut()) {
    let until = Instant::now() + length;
    while Instant::now() < until {
        deed().await;
        sleep(pause).await;
    }
}
